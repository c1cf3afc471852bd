"""The bus on Redis Streams: what the relay publishes there, given out by consumer groups.

A partition is a stream, and an event's entry has its position as id, so that one is never there twice. A consumer
needs Redis alone. Redis is the only place of nothing: what was acknowledged is copied to PostgreSQL each second by
the relay (`events.redis_feed`), which makes everything here anew after it is lost. What that tells again has an
``attempt`` above 1, as every event has that may have been published before.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, cast

from events import port
from events.port import (
    BATCH,
    LEASE_SECONDS,
    NOTHING,
    BadGroup,
    Batch,
    BusUnavailable,
    Consumer,
    Delivery,
    LeaseLost,
    checked_group,
    no_such_group,
)
from events.redis_scripts import (
    CONNECT_SECONDS,
    LOST,
    SOCKET_SECONDS,
    WAKE,
    Scripts,
    connect,
    heard,
    pairs,
    told_as_unavailable,
)
from schemas.wire import PARTITIONS
from storage.bus import LEASE_RAN_OUT, TRIES_MAX, BusEvent, retry_pause, storable

JOIN_SECONDS_MAX: Final = 30.0
"""The relay makes groups; one that leads does so within a second."""
JOIN_PAUSE_SECONDS: Final = 0.1
FROM_NEXT: Final = "next"
REFUSED: Final = "refused: "
"""How the relay's answer begins to who asks for a group that cannot be."""


class RedisBus:
    """The adapter of ``TRADING_EVENT_BUS=redis``."""

    def __init__(self, url: str, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._url = url
        self._lease = timedelta(seconds=lease_seconds)

    async def create_group(self, group: str, *, since: int | datetime | None = None) -> None:
        """As in the port; the relay does it."""
        checked_group(group)
        start = FROM_NEXT if since is None else str(since) if isinstance(since, int) else since.isoformat()
        give_up_at = time.monotonic() + JOIN_SECONDS_MAX
        async with told_as_unavailable(), connect(self._url) as client:
            scripts = Scripts(client)
            while time.monotonic() < give_up_at:
                answer = await scripts.run("join", group, start)
                if answer == "THERE":
                    return
                if answer.startswith(REFUSED):
                    raise BadGroup(answer.removeprefix(REFUSED))
                await asyncio.sleep(JOIN_PAUSE_SECONDS)
        raise BusUnavailable(
            f"no relay makes the group {group}: is EVENT_BUS=redis set, and do operations run?"
        )

    @asynccontextmanager
    async def consumer(self, group: str, name: str) -> AsyncIterator[Consumer]:
        """As in the port."""
        async with connect(self._url) as client:
            wakes = _Wakes(client)
            try:
                yield _RedisConsumer(client, wakes, checked_group(group), self._lease)
            finally:
                await wakes.close()


class _Wakes:
    """Wake-ups, on a connection of their own; made anew once it fails, whatever state that left it in."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._listening: Any = None

    async def listen(self) -> None:
        """From now on nothing is missed. Raises as redis does."""
        if self._listening is None:
            self._listening = self._client.pubsub()
            await self._guarded(self._listening.subscribe(WAKE), SOCKET_SECONDS)

    async def wait(self) -> None:
        """Until one comes, or ``WAIT_SECONDS``. Raises as redis does."""
        seconds = port.WAIT_SECONDS
        message = self._listening.get_message(ignore_subscribe_messages=True, timeout=seconds)
        await self._guarded(message, seconds + SOCKET_SECONDS)

    async def close(self) -> None:
        """Listen no more."""
        listening, self._listening = self._listening, None
        if listening is not None:
            with suppress(*LOST):
                async with asyncio.timeout(CONNECT_SECONDS):
                    await listening.aclose()

    async def _guarded(self, work: Awaitable[Any], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await heard(work)
        except LOST:
            await self.close()
            raise


@dataclass(frozen=True)
class _Held:
    """A batch's entries by their ids in Redis."""

    partition: int
    fence: int
    ids: tuple[str, ...]


class _RedisConsumer:
    """One consumer, with a connection of its own for wake-ups."""

    def __init__(self, client: Any, wakes: _Wakes, group: str, lease: timedelta) -> None:
        self._scripts = Scripts(client)
        self._wakes = wakes
        self._group = group
        self._lease_ms = int(lease.total_seconds() * 1000)
        self._next = random.randrange(PARTITIONS)  # noqa: S311 - no secret: so that short lives reach all

    async def take(self, *, limit: int = BATCH) -> Batch:
        async with told_as_unavailable():
            await self._wakes.listen()
            answer = await self._ask(limit)
            if answer[0] != "GIVEN":
                await self._wakes.wait()
                answer = await self._ask(limit)
        if answer[0] == "NO GROUP":
            raise no_such_group(self._group)
        if answer[0] != "GIVEN":
            return NOTHING
        _, partition, fence, given = answer
        # Another one next, so that none is starved.
        self._next = (int(partition) + 1) % PARTITIONS
        held = _Held(int(partition), int(fence), tuple(entry[0] for entry in given))
        return Batch(held.partition, held.fence, tuple(map(_delivery, given)), held)

    async def acknowledge(self, batch: Batch, count: int | None = None) -> None:
        held = cast(_Held, batch.handle)
        if count is None:
            await self._settle(held, held.ids, lease_ms=0)
        else:
            await self._settle(held, held.ids[:count], lease_ms=self._lease_ms)

    async def fail(self, batch: Batch, count: int, error: str) -> None:
        held, failed = cast(_Held, batch.handle), batch.deliveries[count]
        await self._settle(
            held, held.ids[:count], lease_ms=0, failed=held.ids[count], attempt=failed.attempt,
            error=storable(error),
        )  # fmt: skip

    async def _ask(self, limit: int) -> Any:
        return await self._scripts.run(
            "take", self._group, self._lease_ms, limit, self._next, TRIES_MAX, LEASE_RAN_OUT
        )

    async def _settle(
        self,
        held: _Held,
        done: Sequence[str],
        *,
        lease_ms: int,
        failed: str = "",
        attempt: int = 1,
        error: str = "",
    ) -> None:
        pause_ms = int(retry_pause(attempt).total_seconds() * 1000)
        async with told_as_unavailable():
            answer = await self._scripts.run(
                "settle", self._group, held.partition, held.fence, lease_ms, pause_ms, failed, attempt, TRIES_MAX,
                error, *done,
            )  # fmt: skip
        if answer == "LOST":
            raise LeaseLost


def _delivery(entry: Sequence[Any]) -> Delivery:
    identity, tries, flat = entry
    fields = pairs(flat)
    letter = fields.get("letter")
    event = BusEvent(
        position=int(letter or str(identity).partition("-")[0]),
        event_id=fields["event_id"],
        topic=fields["topic"],
        key=fields["key"],
        occurred_at=datetime.fromisoformat(fields["occurred_at"]),
        payload=fields["payload"],
    )
    # What may have been published before may have been told before.
    return Delivery(event, int(tries) + int(fields["again"]), letter is not None)
