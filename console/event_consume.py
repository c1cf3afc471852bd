"""``trading events consume``: one consumer of a group, for a person or a script."""

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from console.addresses import Addresses
from console.common import NO_OPTIONS, Common
from console.errors import EXIT_DONE, BadUsage, DependencyDown

if TYPE_CHECKING:
    from events.port import Batch, Consumer, Delivery, EventBus

ERROR_CHARACTERS: Final = 300


class CommandRefused(Exception):
    """The command did not take the event."""


async def consume(
    group: Annotated[str, Parameter(help="The group: its consumers share its events.")],
    /,
    *,
    since: Annotated[
        str | None,
        Parameter(
            help="Where a new group begins: after a position, or at a time (default: with what comes next)."
        ),
    ] = None,
    run: Annotated[
        str | None,
        Parameter(help="A shell command for each event, which reads its JSON; exit code 0: it is taken."),
    ] = None,
    limit: Annotated[int | None, Parameter(validator=Number(gte=1), help="End after so many.")] = None,
    common: Common = NO_OPTIONS,
) -> int:
    """Take part in a group of consumers: print each event as a JSON line, or run a command for it.

    An event is acknowledged once it is printed, or its command has ended well. Who is killed loses nothing: another
    is told the same again, with an attempt above 1. After 5 attempts an event is put aside: `trading events dead`.
    """
    from console.events import since_of
    from events.port import BATCH, BadAddress, BadGroup, BusUnavailable

    start = since_of(since)
    left = limit if limit is not None else sys.maxsize
    bus = _bus(common.addresses())
    try:
        await bus.create_group(group, since=start)
        async with bus.consumer(group, f"trading events consume {os.getpid()}") as consumer:
            while left:
                batch = await consumer.take(limit=min(left, BATCH))
                left -= await _take(consumer, batch, run)
    except (BadGroup, BadAddress) as error:
        raise BadUsage(str(error), do="see --help") from error
    except BusUnavailable as error:
        raise DependencyDown(str(error), do="is `trading up` running?") from error
    return EXIT_DONE


def _bus(addresses: Addresses) -> "EventBus":
    """The bus that this installation's events go to."""
    redis = addresses.get("event_redis_url")
    if redis:
        from events.redis_bus import RedisBus

        return RedisBus(redis)
    from events.postgres_bus import PostgresBus

    return PostgresBus(addresses.need("database_url"))


async def _take(consumer: "Consumer", batch: "Batch", command: str | None) -> int:
    """Handle and acknowledge one event after the other, up to one that is not taken; how many were."""
    from events.port import LeaseLost

    done = 0
    try:
        for delivery in batch.deliveries:
            try:
                await _handle(delivery, command)
            except CommandRefused as error:
                await consumer.fail(batch, done, str(error))
                break
            is_last = done + 1 == len(batch.deliveries)
            await consumer.acknowledge(batch, None if is_last else done + 1)
            done += 1
    except LeaseLost:
        position = batch.deliveries[done].event.position
        sys.stderr.write(f"trading: the event {position} took longer than its lease: it comes again\n")
    return done


async def _handle(delivery: "Delivery", command: str | None) -> None:
    from console.events import line_of

    line = line_of(delivery.event, attempt=delivery.attempt)
    if command is None:
        sys.stdout.write(line)
        sys.stdout.flush()
        return
    process = await asyncio.create_subprocess_shell(
        command, stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, errors = await process.communicate(line.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        last = errors.decode(errors="replace").strip()[-ERROR_CHARACTERS:]
        raise CommandRefused(f"exit code {process.returncode}{': ' + last if last else ''}")
