"""The rows of sealing: what waits, the leaves, the head of the tree and its checkpoints.

A lock is a statement of its own: whoever seals, signs or publishes holds the head's row, and reads after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import asyncpg

from schemas.audit import AuditRow, previous_checkpoint
from storage.commits import committing
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("audit_sealing")

SEALER_KEY: Final = 0x7469_7365
"""Advisory lock of the one sealer."""


class RowGone(Exception):
    """A row that was written and waits for its leaf is not there: somebody with the owner's rights took it away."""

    def __init__(self, audit_id: int) -> None:
        super().__init__(f"audit row {audit_id} was taken away before it was sealed")


class LeafTaken(Exception):
    """Where the next leaf belongs, or for its row, there is one already: somebody wrote it by hand."""

    def __init__(self, sequence: int) -> None:
        super().__init__(f"a leaf stands where the next one belongs, at {sequence}")


@dataclass(frozen=True)
class Head:
    """The tree as it stands; ``checkpoint_size`` is that of the newest checkpoint outside the database."""

    size: int
    root: bytes
    frontier: bytes
    checkpoint_size: int | None


@dataclass(frozen=True)
class Checkpoint:
    """One that is signed; where ``published_at`` is None it may be outside the database, or not yet."""

    size: int
    root: bytes
    frontier: bytes
    note: str
    published_at: datetime | None


@dataclass(frozen=True)
class SealState:
    """How far sealing is."""

    size: int
    checkpoint_size: int | None
    published_at: datetime | None


async def try_lead(connection: Connection) -> bool:
    """Take the sealer's lock for as long as this session lives, unless another has it."""
    led: bool = await connection.fetchval(_SQL["try_lead"], SEALER_KEY)
    return led


async def keep_alive(connection: Connection) -> None:
    """Its session ends where nothing is asked of it for some seconds, while the store outside is slow."""
    await connection.execute(_SQL["keep_alive"])


async def read_head(connection: Connection) -> Head:
    row = await connection.fetchrow(_SQL["read_head"])
    assert row is not None, "audit_head always has its one row"
    return Head(**row)


async def lock_head(connection: Connection) -> Head:
    """As `read_head`, under its lock until the transaction ends."""
    await connection.execute(_SQL["lock_head"])
    return await read_head(connection)


async def read_waiting(connection: Connection, limit: int) -> list[AuditRow]:
    """Committed rows without a leaf, oldest id first.

    Raises:
        RowGone: one of them is not in the log.
    """
    found = await connection.fetch(_SQL["read_waiting"], limit)
    for row in found:
        if not row["is_there"]:
            raise RowGone(row["id"])
    return [audit_row(row) for row in found]


def audit_row(row: asyncpg.Record) -> AuditRow:
    """The row of a record that has the log's columns."""
    return AuditRow(
        id=row["id"],
        occurred_at=row["occurred_at"],
        correlation_id=row["correlation_id"],
        component=row["component"],
        actor=row["actor"],
        input_hash=row["input_hash"],
        decision=row["decision"],
        checks=row["checks"],
        references=row["refs"],
        previous_checkpoint=previous_checkpoint(row["previous_size"], row["previous_root"]),
    )


async def append_leaves(
    connection: Connection, first: int, rows: Sequence[AuditRow], leaves: Sequence[bytes]
) -> None:
    """Give ``rows`` the sequence numbers from ``first`` on, and take them off the queue.

    Raises:
        LeafTaken: there are leaves that no sealer has made.
    """
    ids = [row.id for row in rows]
    try:
        await connection.execute(
            _SQL["insert_leaves"], first, ids, [row.occurred_at for row in rows], list(leaves)
        )
    except asyncpg.UniqueViolationError as error:
        raise LeafTaken(first) from error
    await connection.execute(_SQL["forget_waiting"], ids)


async def grow_head(connection: Connection, size: int, root: bytes, frontier: bytes) -> None:
    """Under the head's lock."""
    await connection.execute(_SQL["grow_head"], size, root, frontier)


async def newest_checkpoint(connection: Connection, *, published: bool) -> Checkpoint | None:
    """The largest that is signed, or that is ``published``."""
    return _checkpoint(await connection.fetchrow(_SQL["newest_checkpoint"], published))


async def checkpoint_before(connection: Connection, size: int) -> Checkpoint | None:
    """The largest that is smaller."""
    return _checkpoint(await connection.fetchrow(_SQL["checkpoint_before"], size))


async def checkpoints_after(connection: Connection, size: int) -> list[Checkpoint]:
    """The larger ones, published or not."""
    return [Checkpoint(**row) for row in await connection.fetch(_SQL["checkpoints_after"], size)]


async def unpublished_checkpoints(connection: Connection) -> list[Checkpoint]:
    """Those that may not be outside yet, smallest first."""
    return [Checkpoint(**row) for row in await connection.fetch(_SQL["unpublished_checkpoints"])]


async def insert_checkpoint(connection: Connection, made: Checkpoint, *, now: datetime) -> None:
    """Under the head's lock."""
    await connection.execute(_SQL["insert_checkpoint"], made.size, made.root, made.frontier, made.note, now)


async def read_leaves(connection: Connection, first: int, end: int) -> list[bytes]:
    """The leaves of [first, end)."""
    return [row["leaf"] for row in await connection.fetch(_SQL["read_leaves"], first, end)]


async def mark_published(connection: Connection, checkpoint: Checkpoint, *, now: datetime) -> None:
    """It is outside: rows written from now on name it. One transaction; again is harmless."""
    async with committing(connection, "audit.checkpoint_published"):
        await connection.execute(_SQL["mark_published"], checkpoint.size, now)
        await connection.execute(_SQL["name_checkpoint"], checkpoint.size, checkpoint.root)


async def waiting_ids(connection: Connection) -> tuple[int, int] | None:
    """The oldest and the newest id that wait; None where nothing does."""
    row = await connection.fetchrow(_SQL["waiting_ids"])
    return None if row is None or row["oldest"] is None else (row["oldest"], row["newest"])


async def read_seal_state(connection: Connection) -> SealState:
    row = await connection.fetchrow(_SQL["read_state"])
    assert row is not None, "audit_head always has its one row"
    return SealState(**row)


async def make_partitions(connection: Connection, *, now: datetime, months: int) -> list[str]:
    """The names of the audit log's partitions that were made, for this month and the next ones."""
    made: list[str] = await connection.fetchval(_SQL["make_partitions"], now, months)
    return made


def _checkpoint(row: asyncpg.Record | None) -> Checkpoint | None:
    return None if row is None else Checkpoint(**row)
