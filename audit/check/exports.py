"""Export files: JSON lines, as they are or compressed with zstd, read in batches with bounded memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from io import BufferedIOBase

BATCH_LINES: Final = 5_000
CHUNK_BYTES: Final = 4 * 1024 * 1024
UNPACKED_MAX: Final = 512 * 1024 * 1024
"""Of one file of cold storage: what claims to be more is none."""
SUFFIXES: Final = (".jsonl", ".jsonl.zst")
_NAMED: Final = re.compile(r"(\d{20})-\d{20}")


class BadExport(Exception):
    """A file cannot be opened as an export; the message names it."""


class DamagedExport(Exception):
    """A file cannot be read to its end; the message names it."""


def in_order(paths: Sequence[Path]) -> list[Path]:
    """The files by the number of their first row, or where that cannot be read by their names.

    Raises:
        BadExport: a file cannot be opened, or is named like no export.
    """
    return sorted(paths, key=_first_number)


def _first_number(path: Path) -> int:
    try:
        with opened(path) as file:
            return int(json.loads(file.readline())["sequence"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, DamagedExport):
        named = _NAMED.search(path.name)
        return int(named[1]) if named else -1


@contextmanager
def opened(path: Path) -> Iterator[BufferedIOBase]:
    """A file's lines, decompressed.

    Raises:
        BadExport: it cannot be opened.
        DamagedExport: it cannot be read on; also within.
    """
    from backports import zstd

    if not path.name.endswith(SUFFIXES):
        raise BadExport(f"{path} is named like no export: {' or '.join(SUFFIXES)}")
    try:
        if path.suffix == ".zst":
            with zstd.open(path, "rb") as file:
                yield file
        else:
            with path.open("rb") as plain:
                yield plain
    except (zstd.ZstdError, EOFError) as error:
        raise DamagedExport(f"{path} is damaged: {error}") from error
    except OSError as error:
        raise BadExport(f"{path} cannot be read: {error.strerror or error}") from error


def unpacked(content: bytes) -> list[bytes]:
    """The lines of a compressed file; none where it cannot be read to its end."""
    from backports import zstd

    reader = zstd.ZstdDecompressor()
    try:
        text = reader.decompress(content, max_length=UNPACKED_MAX)
    except (zstd.ZstdError, EOFError):
        return []
    return text.split(b"\n") if reader.eof else []


def batches(paths: Sequence[Path]) -> Iterator[list[bytes]]:
    """Lines without their newlines, file after file. A last line that lacks it gets ``UNENDED``.

    Raises:
        BadExport, DamagedExport: as `opened`.
    """
    waiting: list[bytes] = []
    for path in paths:
        try:
            for lines in _lines(path):
                waiting += lines
                while len(waiting) >= BATCH_LINES:
                    yield waiting[:BATCH_LINES]
                    waiting = waiting[BATCH_LINES:]
        except DamagedExport:
            # What came before it is judged all the same: so the first wrong row is known.
            if waiting:
                yield waiting
            raise
    if waiting:
        yield waiting


def _lines(path: Path) -> Iterator[list[bytes]]:
    rest = b""
    with opened(path) as file:
        while chunk := file.read(CHUNK_BYTES):
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            yield lines
    if rest:
        yield [rest + UNENDED]


UNENDED: Final = b"\r"
"""Put after a line that does not end: no export has it, so the line is not as written."""
