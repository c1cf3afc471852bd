"""Moves to cold storage: their records, what they take, and what may be removed, restored and dropped.

The functions of the database check for themselves what they are told: see migration 0023.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import asyncpg

from schemas.archives import Archive, ArchiveKind, Drop, DropGrant
from schemas.audit import AuditRow
from storage.audit_sealing import audit_row
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("archives")

LIST_MAX: Final = 10_000
WAITING_MAX: Final = 10_000
"""Rows behind all moves among which the oldest is looked for."""


class ArchiveRefused(Exception):
    """The database refuses to remove, bring back or drop this; the message says why. Nothing was changed."""


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (asyncpg.InsufficientPrivilegeError, asyncpg.LockNotAvailableError) as error:
        raise ArchiveRefused(str(error)) from error


@dataclass(frozen=True, slots=True)
class Plan:
    """What the next file is to hold: rows [``first``, ``stop``)."""

    first: int
    stop: int
    oldest_at: datetime
    newest_at: datetime


@dataclass(frozen=True, slots=True)
class SealedRow:
    """One leaf of the tree with its row; without it where its month was dropped."""

    sequence: int
    leaf: bytes
    row: AuditRow | None
    payload: str | None
    moved: bool = False
    """It came over from an earlier release without the text that was hashed, as the log itself says."""


@dataclass(frozen=True, slots=True)
class EventRow:
    """One numbered event as it stands in its table."""

    position: int
    event_id: str
    topic: str
    key: str
    occurred_at: datetime
    payload: str


@dataclass(frozen=True, slots=True)
class Held:
    """An event that a consumer group has not acknowledged."""

    group: str
    position: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is still here; None where nothing is."""

    oldest_at: datetime | None
    next_at: datetime | None
    """Of the row that goes next: where it is dated in the future, nothing behind it goes."""


async def unfinished(
    connection: Connection, kind: ArchiveKind, *, restored_before: datetime
) -> Archive | None:
    """The oldest move that is not over, or whose payloads were brought back before then."""
    return _archive(await connection.fetchrow(_SQL["unfinished"], kind.value, restored_before))


async def read(connection: Connection, kind: ArchiveKind, first: int) -> Archive | None:
    """The move that begins there."""
    return _archive(await connection.fetchrow(_SQL["read"], kind.value, first))


async def list_archives(
    connection: Connection, kind: ArchiveKind | None = None, *, limit: int = LIST_MAX
) -> list[Archive]:
    """All of them, or those of a kind; what occurred last comes first."""
    rows = await connection.fetch(_SQL["list"], kind and kind.value, limit)
    return [Archive.model_validate(dict(row)) for row in rows]


async def next_first(connection: Connection, kind: ArchiveKind) -> int:
    """Where the next move of that kind begins."""
    first: int = await connection.fetchval(_SQL["next_first"], kind.value)
    return first


async def plan(
    connection: Connection,
    kind: ArchiveKind,
    *,
    rows_max: int,
    bytes_max: int,
    now: datetime,
    age: timedelta,
) -> Plan | None:
    """The rows that follow what was moved before and are older than ``age``; None where there are none.

    Args:
        bytes_max: of payloads; a single row may be larger.
        age: of audit rows, 30 days count where it is shorter.
    """
    first = await next_first(connection, kind)
    if kind is ArchiveKind.AUDIT:
        row = await connection.fetchrow(_SQL["plan_audit"], first, rows_max, bytes_max, now, age)
    else:
        row = await connection.fetchrow(_SQL["plan_events"], first, rows_max, bytes_max, now - age)
    if row is None or row["stop"] is None:
        return None
    return Plan(first, row["stop"], row["oldest_at"], row["newest_at"])


async def held_event(connection: Connection, first: int, stop: int) -> Held | None:
    """The first event there that a consumer group has not acknowledged."""
    row = await connection.fetchrow(_SQL["held_event"], first, stop)
    return None if row is None or row["position"] is None else Held(row["group_name"], row["position"])


async def begin(
    connection: Connection,
    kind: ArchiveKind,
    planned: Plan,
    *,
    name: str,
    keep_until: datetime,
    now: datetime,
) -> None:
    """Record that this file is being written; where another was first, that one counts.

    Raises:
        ArchiveRefused: others have moved on since it was planned.
    """
    with _refusals():
        await connection.execute(
            _SQL["begin"], kind.value, planned.first, planned.stop, name, planned.oldest_at, planned.newest_at,
            keep_until, now,
        )  # fmt: skip


async def mark_checked(
    connection: Connection,
    archive: Archive,
    *,
    rows_hash: str,
    object_hash: str,
    object_bytes: int,
    now: datetime,
) -> None:
    """Record that the copy was read back and holds what stands here."""
    await connection.execute(
        _SQL["mark_checked"], archive.kind.value, archive.first, now, rows_hash, object_hash, object_bytes
    )


async def sealed_rows(connection: Connection, first: int, stop: int, *, now: datetime) -> list[SealedRow]:
    """Leaves with their rows, in order; payloads only where they are here and old enough to go."""
    return [
        SealedRow(
            sequence=row["sequence"],
            leaf=row["leaf"],
            row=None if row["id"] is None else audit_row(row),
            payload=row["payload"],
            moved=row["moved"],
        )
        for row in await connection.fetch(_SQL["audit_rows"], first, stop, now)
    ]


async def moved_rows(connection: Connection, first: int, stop: int) -> set[int]:
    """Sequences of these rows that came over from an earlier release without the text that was hashed."""
    return {row["sequence"] for row in await connection.fetch(_SQL["moved"], first, stop)}


async def event_rows(connection: Connection, first: int, stop: int) -> list[EventRow]:
    """Events by position, as they stand."""
    return [EventRow(**dict(row)) for row in await connection.fetch(_SQL["event_rows"], first, stop)]


async def remove(connection: Connection, archive: Archive, *, now: datetime) -> int:
    """Remove what a checked copy holds. How many rows; 0 where they are gone.

    Raises:
        ArchiveRefused: the database does not find that the copy covers exactly these rows, or something of them
            is too young, or a consumer group has not acknowledged it.
    """
    with _refusals():
        if archive.kind is ArchiveKind.AUDIT:
            count: int = await connection.fetchval(_SQL["remove_payloads"], archive.first, now)
        else:
            count = await connection.fetchval(_SQL["remove_events"], archive.first, now)
    return count


async def restore(connection: Connection, first: int, payloads: Sequence[str], *, now: datetime) -> int:
    """Bring the payloads of one file back, in their order. How many; 0 where they are here.

    Raises:
        ArchiveRefused: they are not what the rows were hashed from.
    """
    with _refusals():
        count: int = await connection.fetchval(_SQL["restore_payloads"], first, payloads, now)
    return count


async def removed_between(
    connection: Connection, since: datetime, until: datetime, *, after: int
) -> Archive | None:
    """The next file, by its first row, with payloads of rows that occurred then."""
    return _archive(await connection.fetchrow(_SQL["removed_between"], since, until, after))


async def waiting(connection: Connection, kind: ArchiveKind) -> Waiting:
    """When that occurred which no move has taken yet."""
    first = await next_first(connection, kind)
    row = await connection.fetchrow(_SQL["waiting"], kind.value, first, WAITING_MAX)
    assert row is not None, "an aggregate has one row"
    return Waiting(**row)


async def is_dropped(connection: Connection, first: int, stop: int) -> bool:
    """Whether rows of that range are gone for ever, by right."""
    dropped: bool = await connection.fetchval(_SQL["is_dropped"], first, stop)
    return dropped


async def drop_partition(connection: Connection, grant: DropGrant, *, now: datetime) -> int:
    """Drop a month by a grant already verified. How many rows it had.

    Raises:
        ArchiveRefused: it is no month, too young, not sealed or not in cold storage; or the log is in use just now.
    """
    with _refusals():
        rows: int = await connection.fetchval(
            _SQL["drop_partition"],
            grant.partition,
            grant.nonce,
            grant.key_id,
            grant.person,
            grant.reason,
            now,
        )
    return rows


async def list_drops(connection: Connection) -> list[Drop]:
    """Months that are gone by right, oldest first."""
    return [Drop.model_validate(dict(row)) for row in await connection.fetch(_SQL["list_drops"])]


def _archive(row: asyncpg.Record | None) -> Archive | None:
    return None if row is None else Archive.model_validate(dict(row))
