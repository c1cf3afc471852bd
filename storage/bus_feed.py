"""What the relay reads and keeps of the Redis streams: the rows outlive Redis, never the other way round."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from storage.bus import BusEvent, bury, bury_letter
from storage.commits import committing
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("bus")

FEED_KEY: Final = 0x7469_6664
"""Advisory lock of the one that publishes to Redis."""
LETTERS_MAX: Final = 100


@dataclass(frozen=True)
class GroupCursors:
    """Up to where a group has acknowledged each partition; ``taken``: up to where it may have been handed any."""

    name: str
    generation: int
    positions: tuple[int, ...]
    taken: int


@dataclass(frozen=True)
class RelayState:
    """``newest``: the newest numbered event. ``published``: up to where events may have gone to Redis."""

    newest: int
    published: int
    rebuilds: int


@dataclass(frozen=True)
class Published:
    """An event to publish, and the partition of its key."""

    event: BusEvent
    partition: int


@dataclass(frozen=True)
class Death:
    """An event that a group of Redis' could not take. ``death`` names it, however often it is told."""

    group: str
    partition: int
    position: int
    tries: int
    error: str
    death: str
    letter: bool


@dataclass(frozen=True)
class LetterToSend:
    """A dead letter that a person has put back, and that is not in its stream yet."""

    group: str
    partition: int
    event: BusEvent


async def read_cursors(connection: Connection) -> list[GroupCursors]:
    """Every group's."""
    return [
        GroupCursors(row["group_name"], row["generation"], tuple(row["positions"]), row["taken"])
        for row in await connection.fetch(_SQL["cursors"])
    ]


async def read_relay(connection: Connection) -> RelayState:
    """How far numbering and publishing are."""
    row = await connection.fetchrow(_SQL["relay_state"])
    assert row is not None, "event_relay always has its one row"
    return RelayState(row["position"], row["published"], row["rebuilds"])


async def to_publish(
    connection: Connection, position: int, *, floors: Sequence[int], limit: int
) -> list[Published]:
    """The next events after ``position``; of each partition only those after its floor."""
    rows = await connection.fetch(_SQL["to_publish"], position, list(floors), limit)
    return [Published(BusEvent.of(row), row["partition"]) for row in rows]


async def begin_publishing(connection: Connection, position: int) -> None:
    """Say that events up to ``position`` may be in Redis from now on."""
    async with committing(connection, "bus.publishing"):
        await connection.execute(_SQL["begin_publishing"], position)


async def begin_rebuild(connection: Connection) -> int:
    """Count one more life of the streams; its number."""
    async with committing(connection, "bus.rebuilding"):
        rebuilds: int = await connection.fetchval(_SQL["begin_rebuild"])
    return rebuilds


async def save_copy(
    connection: Connection,
    acknowledged: Mapping[tuple[str, int], int],
    generations: Mapping[str, int],
    deaths: Iterable[Death],
    done: Iterable[tuple[str, int]],
) -> None:
    """Keep what the groups have come to in Redis. What is of a generation that a reset has ended counts no more."""
    cursors = [
        (group, partition, position, generations[group])
        for (group, partition), position in sorted(acknowledged.items())
        if group in generations
    ]
    async with committing(connection, "bus.copied"):
        for each in deaths:
            if each.letter:
                await bury_letter(connection, each.group, each.position, each.error, death=each.death)
            else:
                await bury(
                    connection, each.group, each.partition, each.position, each.tries, each.error,
                    death=each.death,
                )  # fmt: skip
        for group, position in done:
            await connection.execute(_SQL["letters_done"], group, [position])
        await connection.executemany(_SQL["copy_cursor"], cursors)


async def letters_to_send(connection: Connection, rebuild: int) -> list[LetterToSend]:
    """What was put back and is not in the streams of this life yet."""
    rows = await connection.fetch(_SQL["letters_to_send"], rebuild, LETTERS_MAX)
    return [LetterToSend(row["group_name"], row["partition"], BusEvent.of(row)) for row in rows]


async def letter_sent(connection: Connection, letter: LetterToSend, rebuild: int) -> None:
    """It is in its stream."""
    async with committing(connection, "bus.letter_sent"):
        await connection.execute(_SQL["letter_sent"], letter.group, letter.event.position, rebuild)
