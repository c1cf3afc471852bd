"""Writes rows as export files: a file is there whole or not at all, and what is there is not written again."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from audit.check.alignment import split_hashes
from audit.check.database import Batch, read_batch, row_of
from audit.check.lines import line_of

if TYPE_CHECKING:
    from audit.check.database import Connection

FILE_ROWS: Final = 100_000
"""Files end at multiples of it, so that a later export finds the same ones."""
BATCH_ROWS: Final = 5_000
LEVEL: Final = 3
MODE: Final = 0o600


class RowGone(Exception):
    """A sealed row is not in the database; the message names it."""


def file_name(first: int, end: int) -> str:
    """The file of the rows [first, end)."""
    return f"audit-{first:020d}-{end:020d}.jsonl.zst"


def ranges(first: int, end: int) -> list[tuple[int, int]]:
    """The rows of each file."""
    cuts = [first, *range((first // FILE_ROWS + 1) * FILE_ROWS, end, FILE_ROWS), end]
    return [(begin, stop) for begin, stop in pairwise(cuts) if begin < stop]


async def write_file(connection: Connection, folder: Path, first: int, end: int) -> AsyncIterator[int]:
    """Write the file of the rows [first, end), unless it is there; yields how many rows each batch brought.

    Raises:
        RowGone: a row is missing; nothing is left behind.
        OSError: the folder cannot be written.
    """
    from backports import zstd

    path = folder / file_name(first, end)
    if path.exists():
        yield end - first
        return
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: LEVEL,
        zstd.CompressionParameter.checksum_flag: 1,
    }
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, MODE), "wb") as file:
            with zstd.ZstdFile(file, "wb", options=options) as packed:
                for begin in range(first, end, BATCH_ROWS):
                    stop = min(begin + BATCH_ROWS, end)
                    packed.write(_lines(await read_batch(connection, begin, stop), begin, stop))
                    yield stop - begin
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _lines(batch: Batch, first: int, end: int) -> bytes:
    """All of the rows [first, end).

    Raises:
        RowGone: one is missing.
    """
    if len(batch.ids) != end - first or batch.twins:
        raise RowGone(f"rows {first} to {end - 1} are not in the database as they were sealed")
    lines = []
    for sequence, audit_id, leaf in zip(batch.sequences, batch.ids, split_hashes(batch.leaves), strict=True):
        record = batch.rows.get(audit_id)
        if record is None:
            raise RowGone(f"row {sequence} is not in the database any more")
        lines.append(line_of(row_of(record), sequence, leaf, batch.payloads.get(audit_id)) + "\n")
    return "".join(lines).encode()
