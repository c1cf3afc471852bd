"""The outbox read and numbered: what the relay writes, and what everyone who follows ``position`` reads.

A position is given once and never changes: contiguous from 1, in the order of the numbering transactions, and
for one key in the order in which its events were inserted. Who has read up to a position has missed nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from schemas.wire import Topic
from storage.commits import committing
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("events")

RELAY_KEY: Final = 0x7469_7265
"""Advisory lock of the one relay that numbers."""
WRITTEN: Final = "events_written"
"""Channel on which writers wake a relay that sleeps."""
NUMBERED: Final = "events_numbered"
"""Channel on which the relay wakes those who follow positions. Only a wake-up: what is new stands in the rows."""
COUNT_MAX: Final = 10_000
"""Counting goes no further: a backlog of that size is an alarm, however large it is."""


class NotInStream(Exception):
    """Nobody can begin to read there; the message says why."""


class AheadOfStream(NotInStream):
    """A reader claims to have read what was never there: it read another database, or this one was restored."""

    def __init__(self, position: int, newest: int) -> None:
        super().__init__(f"position {position} is ahead of the newest event, which has {newest}")


class EventsArchived(NotInStream):
    """A reader wants what has gone to cold storage."""

    def __init__(self, since: int | datetime, name: str, last: int) -> None:
        wanted = f"after position {since}" if isinstance(since, int) else f"from {since.isoformat()} on"
        super().__init__(
            f"what comes {wanted} is in cold storage, from {name} on; the stream begins after {last}"
        )


@dataclass(frozen=True)
class StreamEvent:
    """One numbered event."""

    position: int
    event_id: str
    topic: str
    key: str
    occurred_at: datetime
    payload: str
    """The topic's JSON object."""
    strategy: str | None
    """Whose signal it is about; None for what belongs to no strategy."""
    token_id: UUID | None = None
    """Of who sent that signal."""


async def try_lead(connection: Connection, key: int = RELAY_KEY) -> bool:
    """Take the relay's lock, or another one's who leads, for as long as this session lives, unless it is taken."""
    led: bool = await connection.fetchval(_SQL["try_lead"], key)
    return led


async def count_waiting(connection: Connection) -> int:
    """Committed events without a position, at most ``COUNT_MAX``."""
    count: int = await connection.fetchval(_SQL["count_waiting"], COUNT_MAX)
    return count


async def number_events(connection: Connection, *, limit: int) -> dict[str, int]:
    """Give the next positions to at most ``limit`` committed events, and wake who follows them.

    One transaction under the counter's row lock: however many try it, and wherever one dies, the positions
    stay contiguous and each event gets one.

    Returns:
        How many of each topic were numbered.
    """
    async with committing(connection, "relay.numbered"):
        await connection.fetchval(_SQL["lock_relay"])
        numbered = await connection.fetch(_SQL["number_events"], limit)
        if numbered:
            await connection.execute(_SQL["notify"], NUMBERED)
    return {row["topic"]: row["count"] for row in numbered}


async def set_asleep(connection: Connection, *, asleep: bool) -> None:
    """Say whether writers must notify. After True look once more: a writer may have read False before it."""
    async with committing(connection, "relay.asleep"):
        await connection.execute(_SQL["set_asleep"], asleep)


async def start_position(connection: Connection, since: int | datetime | None) -> int:
    """The position after which a reader begins: as named, before the first event of a time, or the newest.

    Every event that occurred at the time or later comes after it, and maybe some that occurred earlier.

    Raises:
        AheadOfStream: no event has that position yet.
        EventsArchived: events that come after it have left the database.
    """
    if isinstance(since, datetime):
        position = await position_before(connection, since)
    else:
        newest: int = await connection.fetchval(_SQL["newest_position"])
        if since is None:
            return newest
        if since > newest:
            raise AheadOfStream(since, newest)
        position = since
    statement = _SQL["archived_since"] if isinstance(since, datetime) else _SQL["archived_after"]
    archived = await connection.fetchrow(statement, since)
    if archived is not None:
        raise EventsArchived(since, archived["name"], archived["last"])
    return position


async def position_before(connection: Connection, at: datetime) -> int:
    """The position before the first event of a time or later that is not archived, or the newest."""
    newest: int = await connection.fetchval(_SQL["newest_position"])
    position: int | None = await connection.fetchval(_SQL["position_before_time"], at)
    return newest if position is None else position


async def oldest_position(connection: Connection) -> int | None:
    """The position of the oldest event that is not archived; None: there is none."""
    oldest: int | None = await connection.fetchval(_SQL["oldest_position"])
    return oldest


async def position_before_newest(
    connection: Connection, *, topics: Sequence[Topic] | None, count: int
) -> int:
    """The position after which the newest ``count`` events of these topics stand."""
    position: int | None = await connection.fetchval(_SQL["position_before_newest"], _names(topics), count)
    return position or 0


async def events_after(
    connection: Connection, position: int, *, limit: int, topics: Sequence[Topic] | None = None
) -> list[StreamEvent]:
    """The next events after ``position`` in their order, of these topics only where any are named."""
    rows = await connection.fetch(_SQL["events_after"], position, _names(topics), limit)
    return [StreamEvent(**dict(row)) for row in rows]


def _names(topics: Sequence[Topic] | None) -> list[str] | None:
    return [topic.value for topic in topics] if topics else None
