"""Relays and consumers of a delivery run: real processes to be killed, forked from one that has loaded everything.

Run as a program it reads orders as JSON lines, ``{"start": {...}}`` or ``{"kill": pid}``, and answers each with a
line: the new process's id, or the signal that the killed one died of. It ends with its input, its children with it.
Starting an interpreter for each of hundreds of lives would cost more than the run.
"""

import asyncio
import gc
import json
import os
import random
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from events import port, redis_feed
from events.port import Batch, BusUnavailable, Consumer, EventBus, LeaseLost
from events.postgres_bus import PostgresBus
from events.redis_bus import RedisBus
from events.redis_feed import RedisFeed
from observability.metrics import Metrics
from storage import bus
from workers import relay
from workers.chaos.delivery_judge import Told
from workers.leash import die_with_parent
from workers.relay import Relay

GROUP: Final = "delivery-run"
LEASE_SECONDS: Final = 1.0
"""What a killed consumer held is another's after so long."""
STANDBY_SECONDS: Final = 0.1
CHUNK: Final = 20
"""Events recorded at once; a batch holds up to five such."""
FAILS_ONE_IN: Final = 200
PAUSE_SECONDS: Final = 0.2


class LeadTold(Metrics):
    """Says in files which process numbers and which publishes."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def events_numbered(self, topics: Mapping[str, int]) -> None:
        """Counted, and told."""
        super().events_numbered(topics)
        if topics:
            (self._folder / "numbers").write_text(str(os.getpid()))

    def events_published(self, count: int) -> None:
        """Counted, and told."""
        super().events_published(count)
        if count:
            (self._folder / "publishes").write_text(str(os.getpid()))


def bus_of(order: dict[str, Any]) -> EventBus:
    """The adapter that an order names."""
    if order["redis"]:
        return RedisBus(order["redis"], lease_seconds=LEASE_SECONDS)
    return PostgresBus(order["dsn"], lease_seconds=LEASE_SECONDS)


async def be_relay(order: dict[str, Any]) -> None:
    """Number events, and publish them where they go to Redis."""
    metrics = LeadTold(Path(order["folder"]))
    async with asyncio.TaskGroup() as jobs:
        jobs.create_task(Relay(order["dsn"], metrics).run())
        if order["redis"]:
            jobs.create_task(RedisFeed(order["dsn"], order["redis"], metrics).run())


async def be_consumer(order: dict[str, Any]) -> None:
    """Record what is told in a file of our own, on the disk before it is acknowledged."""
    dice = random.Random(order["seed"])  # noqa: S311 - a run that can be repeated, no secret
    file = os.open(order["file"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    async with bus_of(order).consumer(GROUP, order["name"]) as consumer:
        while True:
            try:
                batch = await consumer.take()
                if batch.deliveries:
                    await _record(consumer, batch, file, dice)
            except LeaseLost:
                continue
            except BusUnavailable:
                await asyncio.sleep(PAUSE_SECONDS)


async def _record(consumer: Consumer, batch: Batch, file: int, dice: random.Random) -> None:
    for begin in range(0, len(batch.deliveries), CHUNK):
        if dice.randrange(FAILS_ONE_IN) == 0:
            await consumer.fail(batch, begin, "a failure that was wanted")
            return
        chunk = batch.deliveries[begin : begin + CHUNK]
        text = "".join(
            Told(
                time.monotonic_ns(), batch.partition, batch.fence, each.event.position, each.attempt,
                each.event.event_id, each.event.key, int(json.loads(each.event.payload)["row_version"]),
            ).line()
            for each in chunk
        )  # fmt: skip
        os.write(file, text.encode())
        os.fsync(file)
        if dice.random() < 0.5 and begin + CHUNK < len(batch.deliveries):
            await consumer.acknowledge(batch, begin + CHUNK)
    await consumer.acknowledge(batch)


def _be(order: dict[str, Any]) -> None:
    """In the child: become what was ordered, until killed."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        die_with_parent()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        asyncio.run(be_relay(order) if order["kind"] == "relay" else be_consumer(order))
    except BaseException as error:  # noqa: BLE001 - a forked child never returns
        sys.stderr.write(f"delivery run: a {order['kind']} ended: {type(error).__name__}: {error}\n")
        sys.stderr.flush()
    os._exit(1)


def _start(order: dict[str, Any]) -> dict[str, Any]:
    pid = os.fork()
    if pid == 0:
        _be(order)
    return {"pid": pid}


def _kill(pid: int) -> dict[str, Any]:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return {"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None}


def _hurry() -> None:
    """Fail-over and retries as fast as a short run needs them; what is promised does not depend on them."""
    relay.STANDBY_SECONDS = redis_feed.STANDBY_SECONDS = STANDBY_SECONDS  # type: ignore[misc]
    relay.RECONNECT_SECONDS = redis_feed.RECONNECT_SECONDS = STANDBY_SECONDS  # type: ignore[misc]
    redis_feed.TICK_SECONDS = PAUSE_SECONDS  # type: ignore[misc]
    bus.RETRY_PAUSE = timedelta(milliseconds=20)  # type: ignore[misc]
    port.WAIT_SECONDS = PAUSE_SECONDS  # type: ignore[misc]


def main() -> None:
    """Serve orders until there are none."""
    die_with_parent()
    _hurry()
    gc.freeze()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(_kill(order["kill"]) if "kill" in order else _start(order["start"])), flush=True)


if __name__ == "__main__":
    main()
