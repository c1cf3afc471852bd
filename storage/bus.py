"""Events handed to groups of consumers from their rows: leases, acknowledgements, dead letters.

A group's events are in partitions by key. Who holds a partition's lease is given its next events in order; a lease
that runs out is another's, which is given what was not acknowledged, again. The lease's fence grows with each: an
acknowledgement with an older one is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Self

from schemas.alerts import Alert, AlertCode, Severity
from storage.alerts import raise_alert
from storage.commits import committing
from storage.statements import load

if TYPE_CHECKING:
    from asyncpg import Record

    from storage.database import Connection

_SQL: Final = load("bus")

TRIES_MAX: Final = 5
"""So often an event is handed out; then it is put aside and those behind it go on."""
RETRY_PAUSE: Final = timedelta(seconds=1)
"""After a first failure, twice as long after each further one. What stands behind waits too, to stay in order."""
RETRY_PAUSE_MAX: Final = timedelta(seconds=30)
ERROR_CHARACTERS_MAX: Final = 1000
NO_REASON: Final = "no reason told"
LEASE_RAN_OUT: Final = "whoever held it died, or let its lease run out"
COMPONENT: Final = "EventBus"


class NoSuchGroup(Exception):
    """There is no group of that name."""

    def __init__(self, group: str) -> None:
        super().__init__(f"there is no group {group}")


@dataclass(frozen=True)
class BusEvent:
    """One event as the outbox has it; ``payload`` is its topic's JSON object."""

    position: int
    event_id: str
    topic: str
    key: str
    occurred_at: datetime
    payload: str

    @classmethod
    def of(cls, row: Record) -> Self:
        """The event of a row that has its columns, and maybe others."""
        return cls(**{column.name: row[column.name] for column in fields(cls)})


@dataclass(frozen=True)
class Handed:
    """An event handed out; ``attempt`` above 1: it may have been before."""

    event: BusEvent
    attempt: int
    letter: bool = False
    """It was put back by a person, out of its order."""


@dataclass(frozen=True)
class Claimed:
    """A partition held, and its next events."""

    partition: int
    fence: int
    handed: tuple[Handed, ...]


async def claim(
    connection: Connection, group: str, holder: str, *, limit: int, lease: timedelta
) -> Claimed | None:
    """Hold a partition with something to deliver, for ``lease``, and hand out its next events; None: there is none.

    What a dead holder was given comes again, with a higher attempt; after ``TRIES_MAX`` it is put aside.
    """
    async with committing(connection, "bus.taken"):
        row = await connection.fetchrow(_SQL["claim"], group, holder, lease)
        if row is None:
            return None
        partition, fence = row["partition"], row["fence"]
        letters = await connection.fetch(_SQL["due_letters"], group, partition, limit)
        if letters:
            return Claimed(partition, fence, await _hand_out_letters(connection, group, fence, letters))
        found = await connection.fetch(_SQL["batch"], partition, row["position"], limit)
        events = [BusEvent.of(each) for each in found]
        position, taken = row["position"], row["taken"]
        tries = max(row["tries"], 1) + 1 if events and events[0].position <= taken else 1
        if tries > TRIES_MAX:
            first, *events = events
            error = row["last_error"] or LEASE_RAN_OUT
            await bury(connection, group, partition, first.position, tries - 1, error, death=str(fence))
            position, tries = first.position, 2 if events and events[0].position <= taken else 1
        newest = events[-1].position if events else position
        await connection.execute(_SQL["note_taken"], group, partition, position, newest, tries)
    again = [tries, *(1 + (each.position <= taken) for each in events[1:])]
    return Claimed(partition, fence, tuple(map(Handed, events, again)))


async def _hand_out_letters(
    connection: Connection, group: str, fence: int, letters: Sequence[Record]
) -> tuple[Handed, ...]:
    """What a person has put back comes before everything else, and alone."""
    handed = []
    for letter in letters:
        if letter["tries"] >= TRIES_MAX:
            await bury_letter(connection, group, letter["position"], LEASE_RAN_OUT, death=str(fence))
        else:
            handed.append(Handed(BusEvent.of(letter), letter["tries"] + 1, letter=True))
    positions = [each.event.position for each in handed]
    await connection.execute(_SQL["count_letter_tries"], group, positions)
    return tuple(handed)


async def acknowledge(
    connection: Connection, group: str, claimed: Claimed, count: int, *, lease: timedelta | None
) -> bool:
    """The first ``count`` that were handed out are done. Held on for ``lease``, or given up where it is None.

    Returns:
        False: the partition is another's by now, and nothing was changed; they may be delivered again.
    """
    async with committing(connection, "bus.acknowledged"):
        if not await _still_held(connection, group, claimed):
            return False
        await _done(connection, group, claimed, count)
        if lease is None:
            await connection.execute(_SQL["release"], group, claimed.partition)
        else:
            await connection.execute(_SQL["hold"], group, claimed.partition, lease)
    return True


async def fail(connection: Connection, group: str, claimed: Claimed, count: int, error: str) -> bool:
    """The first ``count`` are done, the one after them could not be taken: it is tried again later, or put aside.

    Returns:
        As `acknowledge`.
    """
    failed, partition = claimed.handed[count], claimed.partition
    text, death = storable(error), str(claimed.fence)
    async with committing(connection, "bus.failed"):
        if not await _still_held(connection, group, claimed):
            return False
        await _done(connection, group, claimed, count)
        if failed.attempt >= TRIES_MAX:
            if failed.letter:
                await bury_letter(connection, group, failed.event.position, text, death=death)
            else:
                position = failed.event.position
                await bury(connection, group, partition, position, failed.attempt, text, death=death)
                await connection.execute(_SQL["acknowledge"], group, partition, position)
        else:
            # An event's tries are counted by its place; a letter has its own count.
            tries = 0 if failed.letter else failed.attempt
            pause = retry_pause(failed.attempt)
            await connection.execute(_SQL["wait_after_failure"], group, partition, tries, text, pause)
        await connection.execute(_SQL["release"], group, partition)
    return True


def storable(error: str) -> str:
    """What a failure is told as: one line of printable characters, which every store keeps."""
    line = "".join(each if each.isprintable() else " " for each in error[:ERROR_CHARACTERS_MAX])
    return line.strip() or NO_REASON


def retry_pause(attempt: int) -> timedelta:
    """How long nothing is handed out after a failed attempt."""
    return min(RETRY_PAUSE * int(2 ** (attempt - 1)), RETRY_PAUSE_MAX)


async def bury(
    connection: Connection, group: str, partition: int, position: int, tries: int, error: str, *, death: str
) -> None:
    """Put an event aside, in the caller's transaction, and tell a person. One ``death`` counts once."""
    now = datetime.now(UTC)
    await connection.execute(_SQL["bury"], group, partition, position, tries, error, now, death)
    await _tell_of_dead(connection, group, error, now=now)


async def bury_letter(connection: Connection, group: str, position: int, error: str, *, death: str) -> None:
    """Put aside again what a person had put back."""
    now = datetime.now(UTC)
    await connection.execute(_SQL["bury_letter"], group, position, error, now, death)
    await _tell_of_dead(connection, group, error, now=now)


async def _tell_of_dead(connection: Connection, group: str, error: str, *, now: datetime) -> None:
    """Raise the group's alert."""
    dead = await connection.fetchval(_SQL["count_dead"], group)
    text = (
        f"{dead} events could not be taken by the group {group} and were put aside; the last: {error} "
        f"Look with `trading events dead {group}`, mend the consumer, then put them back."
    )
    alert = Alert(
        code=AlertCode.DEAD_EVENTS, severity=Severity.HIGH, subject=group, text=text, correlation_id=group
    )
    await raise_alert(connection, alert, component=COMPONENT, now=now)


async def _still_held(connection: Connection, group: str, claimed: Claimed) -> bool:
    """Locks the partition's row, so that nobody else takes it before the commit."""
    fence = await connection.fetchval(_SQL["lock_lease"], group, claimed.partition)
    return bool(fence == claimed.fence)


async def _done(connection: Connection, group: str, claimed: Claimed, count: int) -> None:
    done = claimed.handed[:count]
    if letters := [each.event.position for each in done if each.letter]:
        await connection.execute(_SQL["letters_done"], group, letters)
    elif done:
        await connection.execute(_SQL["acknowledge"], group, claimed.partition, done[-1].event.position)
