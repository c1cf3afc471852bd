"""Rows as the database holds them, with the leaves that it keeps beside them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from audit.check.alignment import split_hashes
from audit.check.by_right import ByRight
from audit.check.digests import NO_LEAF, Digest, Named
from audit.check.findings import Wrong
from schemas.audit import LEAF_PREFIX, AuditRow, leaf_text_of, previous_checkpoint
from storage.statements import load

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]

_SQL: Final = load("audit_check")

BATCH_ROWS: Final = 5_000
SPREAD_MAX: Final = 4
"""Ids of a batch lie close together; where somebody has made them far apart, no more rows are read for it."""
IDS_AT_ONCE: Final = 200_000
"""Searched by one statement, far within its timeout."""
CHECKPOINTS_AT_ONCE: Final = 50_000
"""Read by one statement; a log of years has a million of them."""
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


class Batch(NamedTuple):
    """A run of leaves, in order, with what stands under their rows' ids."""

    sequences: Sequence[int]
    ids: Sequence[int]
    leaves: bytes
    """32 bytes each."""
    rows: Mapping[int, Sequence[Any]]
    """By id: columns of audit_log in their order. Rows that are not sealed may be among them."""
    payloads: Mapping[int, str]
    """By id: the text, or its hash where the reader is told no more."""
    twins: frozenset[int]
    """Ids that more than one row has."""

    def name(self, place: int) -> Named:
        """The ids of a leaf's row."""
        audit_id = self.ids[place]
        row = self.rows.get(audit_id)
        return Named(audit_id, None if row is None else row_of(row).correlation_id)


@dataclass(frozen=True)
class Reader:
    """Reads rows in batches."""

    connection: Connection
    batch_rows: int = BATCH_ROWS
    texts: bool = True
    """False: it may not read payloads, and is told by the database what each hashes to."""

    async def batches(self, by_right: ByRight, start: int, end: int) -> AsyncGenerator[Digest]:
        """The rows [start, end) in order, hashed anew. The next batch is asked for while one is being hashed.

        Close it: until then a question may be under way on the connection.
        """
        following: asyncio.Task[Batch] | None = None
        try:
            for first in range(start, end, self.batch_rows):
                batch = await (following or self._ask(first, end))
                following = None
                if first + self.batch_rows < end:
                    following = self._ask(first + self.batch_rows, end)
                    await asyncio.sleep(0)  # Sends the question.
                if not batch.ids:
                    continue
                digest = digest_batch(batch, texts=self.texts)
                if digest.wrong:
                    if following is not None:  # One question at a time on a connection.
                        await asyncio.wait([following])
                    await by_right.excuse(batch, digest)
                yield digest
        finally:
            if following is not None:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)

    def _ask(self, first: int, end: int) -> asyncio.Task[Batch]:
        upto = min(first + self.batch_rows, end)
        return asyncio.ensure_future(read_batch(self.connection, first, upto, texts=self.texts))


async def read_batch(connection: Connection, first: int, end: int, *, texts: bool = True) -> Batch:
    """What the database holds of the rows [first, end); numbers without a leaf are left out."""
    found = await connection.fetchrow(_SQL["leaves_between"], first, end)
    if found is None or not found["ids"]:
        return Batch((), (), b"", {}, {}, frozenset())
    ids = found["ids"]
    lowest, highest = min(ids), max(ids)
    if highest - lowest < SPREAD_MAX * len(ids):
        records = await connection.fetch(_SQL["rows_between"], lowest, highest)
    else:
        records = await connection.fetch(_SQL["rows_of"], ids)
    if not texts:
        payloads = await connection.fetch(_SQL["payload_hashes"], ids)
    elif highest - lowest < SPREAD_MAX * len(ids):
        payloads = await connection.fetch(_SQL["payloads_between"], lowest, highest)
    else:
        payloads = await connection.fetch(_SQL["payloads_of"], ids)
    rows = {record[0]: record for record in records}
    twins = _twins(records) if len(rows) < len(records) else frozenset[int]()
    return Batch(found["sequences"], ids, found["leaves"], rows, dict(payloads), twins)


def _twins(records: Sequence[asyncpg.Record]) -> frozenset[int]:
    counted = Counter(record[0] for record in records)
    return frozenset(audit_id for audit_id, count in counted.items() if count > 1)


def row_of(record: Sequence[Any]) -> AuditRow:
    """A stored row as its leaf is made of it, from the columns of audit_log in their order."""
    *fields, size, root = record
    return AuditRow._make((*fields, previous_checkpoint(size, root)))


def digest_batch(batch: Batch, *, texts: bool = True) -> Digest:
    """Hash a batch anew; ``texts`` as it was read."""
    leaves: list[bytes] = []
    previous: list[str | None] = []
    wrong: dict[int, tuple[Wrong, str]] = {}
    payloads = 0
    of_row, of_payload = batch.rows.get, batch.payloads.get
    before: tuple[int | None, str | None] = (None, None)
    named: str | None = None
    for place, audit_id in enumerate(batch.ids):
        record = of_row(audit_id)
        if record is None:
            leaves.append(NO_LEAF)
            previous.append(None)
            wrong[place] = (Wrong.MISSING, "the leaf has no row")
            continue
        _, at, correlation, component, actor, input_hash, decision, checks, references, size, root = record
        if before != (size, root):  # The same for many rows.
            before, named = (size, root), previous_checkpoint(size, root)
        text = leaf_text_of(
            audit_id, at, correlation, component, actor, input_hash, decision, checks, references, named
        )
        leaves.append(sha256(LEAF_PREFIX + text.encode()).digest())
        previous.append(named)
        payload = of_payload(audit_id)
        if payload is None:
            wrong[place] = (Wrong.PAYLOAD_MISSING, "the payload is gone, and is not in cold storage")
            continue
        payloads += 1
        if (sha256(payload.encode()).hexdigest() if texts else payload) != input_hash:
            wrong[place] = (Wrong.PAYLOAD_CHANGED, "the payload does not have the row's input_hash")
    _tell_twins(batch, wrong)
    return Digest(
        sequences=_sequences(batch.sequences),
        leaves=leaves,
        stored=split_hashes(batch.leaves),
        previous=previous,
        name=batch.name,
        wrong=wrong,
        payloads=payloads,
        elsewhere=sum(leaf != NO_LEAF for leaf in leaves) - payloads,
    )


def _tell_twins(batch: Batch, wrong: dict[int, tuple[Wrong, str]]) -> None:
    for place, audit_id in enumerate(batch.ids if batch.twins else ()):
        if audit_id in batch.twins:
            wrong[place] = (Wrong.INSERTED, "another row has the same id")


def _sequences(sequences: Sequence[int]) -> Sequence[int]:
    """A range where no number is left out: quick to compare."""
    first, last = sequences[0], sequences[-1]
    return range(first, last + 1) if last - first + 1 == len(sequences) else sequences


async def unqueued_rows(connection: Connection, after_id: int) -> list[Unsealed]:
    """Rows that have no leaf and do not wait for one, the first ``TOLD_MAX``; looked for piece by piece."""
    newest = await connection.fetchval(_SQL["newest_id"]) or 0
    found: list[Unsealed] = []
    for begin in range(after_id, newest, IDS_AT_ONCE):
        rows = await connection.fetch(_SQL["unqueued_rows"], begin, begin + IDS_AT_ONCE, TOLD_MAX)
        found += [Unsealed(row["id"], row["occurred_at"], row["correlation_id"]) for row in rows]
        if len(found) >= TOLD_MAX:
            break
    return found[:TOLD_MAX]


async def late_rows(connection: Connection, before: datetime) -> list[Unsealed]:
    """Rows of before then that still wait for their leaf, the first ``TOLD_MAX``."""
    return [
        Unsealed(row["id"], row["occurred_at"], row["correlation_id"])
        for row in await connection.fetch(_SQL["late_rows"], before, TOLD_MAX)
    ]


async def published_checkpoints(connection: Connection, after_size: int) -> dict[int, bytes]:
    """Size → sha256 of the note of what the database says is outside."""
    found: dict[int, bytes] = {}
    while True:
        rows = await connection.fetch(_SQL["published_checkpoints"], after_size, CHECKPOINTS_AT_ONCE)
        found |= {row["size"]: row["note_hash"] for row in rows}
        if len(rows) < CHECKPOINTS_AT_ONCE:
            return found
        after_size = rows[-1]["size"]


async def sealed_id(connection: Connection, number: int) -> int:
    """The id of the row of that number; 0 where there is none."""
    return await connection.fetchval(_SQL["sealed_id"], number) or 0


async def read_leaves(connection: Connection, first: int, end: int) -> list[bytes]:
    """The leaves that the database keeps of the rows [first, end)."""
    found = await connection.fetchrow(_SQL["leaves_between"], first, end)
    return [] if found is None else split_hashes(found["leaves"] or b"")


COLUMNS: Final = 11
"""Of audit_log; a story's records begin with them."""


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
