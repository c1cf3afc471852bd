"""Rows as the database holds them, with the leaves that it keeps beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from audit.check.digests import NO_LEAF, Digest, Named
from audit.check.findings import Wrong
from schemas.audit import AuditRow, leaf_hash, leaf_text, previous_checkpoint
from storage.statements import load

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]

_SQL: Final = load("audit_check")

BATCH_ROWS: Final = 5_000
TOLD_MAX: Final = 20
"""Rows of one kind that are told one by one where they have no number."""


@dataclass(frozen=True)
class Head:
    """What the database says of its log."""

    size: int
    root: bytes
    waiting: int
    """Rows not sealed yet."""
    checkpoint_size: int | None = None
    """Of the newest checkpoint that is said to be outside."""


@dataclass(frozen=True)
class Unsealed:
    """A row without a leaf."""

    audit_id: int
    occurred_at: datetime
    correlation_id: str | None


async def read_head(connection: Connection) -> Head:
    row = await connection.fetchrow(_SQL["read_head"])
    if row is None:
        return Head(0, b"", 0)
    return Head(row["size"], row["root"], row["waiting"], row["checkpoint_size"])


async def read_batches(connection: Connection, start: int, end: int) -> AsyncIterator[Digest]:
    """The rows [start, end) in order, hashed anew. The next batch is asked for while one is being hashed."""
    following: asyncio.Task[Sequence[asyncpg.Record]] | None = None
    try:
        for first in range(start, end, BATCH_ROWS):
            records = await (following or _ask(connection, first, end))
            following = None
            if first + BATCH_ROWS < end:
                following = _ask(connection, first + BATCH_ROWS, end)
                await asyncio.sleep(0)  # Sends the question.
            if records:
                yield digest_rows(records)
    finally:
        if following is not None:
            following.cancel()


def _ask(connection: Connection, first: int, end: int) -> asyncio.Task[Sequence[asyncpg.Record]]:
    upto = min(first + BATCH_ROWS, end)
    return asyncio.ensure_future(connection.fetch(_SQL["read_rows"], first, upto))


def digest_rows(records: Sequence[asyncpg.Record]) -> Digest:
    """Hash a batch anew."""
    leaves: list[bytes] = []
    previous: list[str | None] = []
    wrong: dict[int, tuple[Wrong, str]] = {}
    payloads = elsewhere = 0
    for place, record in enumerate(records):
        (_, _, _, audit_id, at, correlation, component, actor, input_hash, decision, checks, references, size, root,
         payload) = record  # fmt: skip
        if audit_id is None:
            leaves.append(NO_LEAF)
            previous.append(None)
            wrong[place] = (Wrong.MISSING, "the leaf has no row")
            continue
        before = previous_checkpoint(size, root)
        row = AuditRow(
            audit_id, at, correlation, component, actor, input_hash, decision, checks, references, before
        )
        leaves.append(leaf_hash(leaf_text(row)))
        previous.append(before)
        if payload is None:
            elsewhere += 1
        else:
            payloads += 1
            if sha256(payload.encode()).hexdigest() != input_hash:
                wrong[place] = (Wrong.PAYLOAD_CHANGED, "the payload does not have the row's input_hash")
    first, count = records[0]["sequence"], len(records)
    sequences: Sequence[int] = range(first, first + count)
    if records[-1]["sequence"] != first + count - 1:
        sequences = [record["sequence"] for record in records]
    return Digest(
        sequences=sequences,
        leaves=leaves,
        stored=[record["leaf"] for record in records],
        previous=previous,
        name=lambda place: Named(records[place]["audit_id"], records[place]["correlation_id"]),
        wrong=wrong,
        payloads=payloads,
        elsewhere=elsewhere,
    )


async def unqueued_rows(connection: Connection, after_id: int) -> list[Unsealed]:
    """Rows that have no leaf and do not wait for one, the first ``TOLD_MAX``."""
    return [
        Unsealed(row["id"], row["occurred_at"], row["correlation_id"])
        for row in await connection.fetch(_SQL["unqueued_rows"], after_id, TOLD_MAX)
    ]


async def late_rows(connection: Connection, before: datetime) -> list[Unsealed]:
    """Rows of before then that still wait for their leaf, the first ``TOLD_MAX``."""
    return [
        Unsealed(row["id"], row["occurred_at"], row["correlation_id"])
        for row in await connection.fetch(_SQL["late_rows"], before, TOLD_MAX)
    ]


async def published_checkpoints(connection: Connection, after_size: int) -> dict[int, str]:
    """Size → note of what the database says is outside."""
    rows = await connection.fetch(_SQL["published_checkpoints"], after_size)
    return {row["size"]: row["note"] for row in rows}


async def sealed_id(connection: Connection, number: int) -> int:
    """The id of the row of that number; 0 where there is none."""
    return await connection.fetchval(_SQL["sealed_id"], number) or 0


def row_of(record: asyncpg.Record) -> AuditRow:
    """A stored row as its leaf is made of it."""
    return AuditRow(
        record["id"], record["occurred_at"], record["correlation_id"], record["component"], record["actor"],
        record["input_hash"], record["decision"], record["checks"], record["refs"],
        previous_checkpoint(record["previous_size"], record["previous_root"]),
    )  # fmt: skip


async def read_records(connection: Connection, first: int, end: int) -> Sequence[asyncpg.Record]:
    """The rows [first, end) as they are stored: columns of audit_log, ``sequence``, ``leaf`` and ``payload``."""
    return await connection.fetch(_SQL["read_rows"], first, end)


async def read_leaves(connection: Connection, first: int, end: int) -> list[bytes]:
    """The leaves that the database keeps of the rows [first, end)."""
    return [row["leaf"] for row in await connection.fetch(_SQL["read_leaves"], first, end)]


async def read_story(
    connection: Connection, correlation_id: str | None, audit_id: int | None, limit: int
) -> Sequence[asyncpg.Record]:
    """All rows of one correlation id, or the one of an id, oldest first.

    With each its number ``sequence`` (None: not sealed yet) and ``sealed_by``, the size of the first checkpoint
    outside that covers it.
    """
    return await connection.fetch(_SQL["story"], correlation_id, audit_id, limit)


async def numbers_of_time(connection: Connection, begin: datetime, end: datetime) -> tuple[int, int]:
    """The run of numbers [first, end) in which all sealed rows of that time lie; empty where none does."""
    row = await connection.fetchrow(_SQL["numbers_of_time"], begin, end)
    return (0, 0) if row is None or row["first"] is None else (row["first"], row["stop"])
