"""What may be gone from the database, or differ in it, by right: payloads in cold storage, months dropped after
seven years, and rows of an earlier release whose text could not be kept.

Each excuse is a record of the database itself, so each is held against something that its owner cannot make up:
the file in the store outside, the age of the month, the log's first checkpoint.
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from audit.check.exports import unpacked
from audit.check.findings import Report, Wrong
from audit.check.lines import parse_line
from schemas.audit import text_sha256
from storage.statements import load

if TYPE_CHECKING:
    from audit.check.database import Batch, Connection
    from audit.check.digests import Digest
    from audit.check.outside import Outside

_SQL: Final = load("audit_check")

COLD: Final = "audit/"
"""How the names of cold storage begin, beside the checkpoints."""
_MOVED: Final = b'"decision":"AUDIT_MOVED"'
KEPT_FOR: Final = timedelta(days=7 * 365)
"""A month is not gone by right before it is older; the database counts leap days too."""
OUT_OF_ORDER: Final = timedelta(days=1)
"""Ids follow time to within far less: a row is numbered in the transaction that names its time."""


class _ColdFile(NamedTuple):
    """A file of the payloads of the rows [first, stop), as its record has it."""

    first: int
    stop: int
    object_hash: str
    """sha256 over its bytes, when it was read back before its rows' payloads were removed."""


def cold_name(first: int, stop: int) -> str:
    """The file of the payloads of the rows [first, stop)."""
    return f"{COLD}{first:020d}-{stop:020d}.jsonl.zst"


class ByRight:
    """Looks up an excuse when one is needed, and again when it is not known: moves go on during a check."""

    def __init__(
        self,
        connection: Connection,
        outside: Outside,
        report: Report,
        now: datetime,
        *,
        cold_elsewhere: bool = False,
    ) -> None:
        """``cold_elsewhere``: a person says that cold storage is not beside the checkpoints; never the default."""
        self._cold_elsewhere = cold_elsewhere
        self._connection = connection
        self._outside = outside
        self._report = report
        self._now = now
        self._cold: list[_ColdFile] = []
        self._whole: dict[_ColdFile, bool] = {}
        """Whether a file is byte for byte what its record says; each is read once."""
        self._file: tuple[int, list[bytes]] = (-1, [])
        """The first row of the file in cold storage that was read last, and its lines."""
        self._moved: frozenset[int] | None = None

    async def excuse(self, batch: Batch, digest: Digest) -> None:
        """Take from what is wrong in a batch what is so by right. A row that is gone so is its leaf."""
        if any(kind is Wrong.PAYLOAD_MISSING for kind, _ in digest.wrong.values()):
            await self._excuse_cold(digest)
        if any(kind is Wrong.MISSING for kind, _ in digest.wrong.values()):
            await self._excuse_dropped(batch, digest)
        for place, (kind, _) in list(digest.wrong.items()):
            if kind is Wrong.PAYLOAD_CHANGED and batch.ids[place] in await self._moved_ids():
                del digest.wrong[place]

    async def _excuse_cold(self, digest: Digest) -> None:
        missing = [place for place, (kind, _) in digest.wrong.items() if kind is Wrong.PAYLOAD_MISSING]
        if not all(self._file_of(digest.sequences[place]) for place in missing):
            await self._read_cold()
        for place in missing:
            file = self._file_of(digest.sequences[place])
            if file is None:
                continue
            if await self._is_whole(file):
                del digest.wrong[place]
            else:
                name = cold_name(file.first, file.stop)
                digest.wrong[place] = (
                    Wrong.PAYLOAD_MISSING,
                    f"{name} in cold storage is not what was put there",
                )

    def _file_of(self, sequence: int | None) -> _ColdFile | None:
        """The file in cold storage that holds a row."""
        if sequence is None:
            return None
        at = bisect_right(self._cold, sequence, key=lambda each: each.first) - 1
        return self._cold[at] if at >= 0 and sequence < self._cold[at].stop else None

    async def _is_whole(self, file: _ColdFile) -> bool:
        if self._cold_elsewhere:
            return True
        if file not in self._whole:
            content = await self._outside.get(cold_name(file.first, file.stop)) or b""
            self._whole[file] = sha256(content).hexdigest() == file.object_hash
        return self._whole[file]

    async def _read_cold(self) -> None:
        """A record counts if it has the name that its rows make, and if the file of that name is outside."""
        rows = await self._connection.fetch(_SQL["cold_ranges"])
        named = [
            _ColdFile(first, stop, object_hash)
            for first, stop, name, object_hash in rows
            if name == cold_name(first, stop)
        ]
        if self._cold_elsewhere:
            if named:
                self._warn("cold storage is elsewhere, as you say: its files were not looked for")
            self._cold = named
            return
        there = set(await self._outside.names(COLD)) if named else set()
        self._cold = [each for each in named if cold_name(each.first, each.stop) in there]

    async def _excuse_dropped(self, batch: Batch, digest: Digest) -> None:
        """No leaf covers the time that is kept with it: rows that stand before the missing ones say more."""
        missing = [place for place, (kind, _) in digest.wrong.items() if kind is Wrong.MISSING]
        numbers = [batch.sequences[place] for place in missing]
        times = dict(await self._connection.fetch(_SQL["times_of_leaves"], numbers))
        for starts, ends in await self._connection.fetch(_SQL["dropped_months"]):
            if ends > self._now - KEPT_FOR:
                continue
            places = [each for each in missing if starts <= times[batch.sequences[each]] < ends]
            if not self._cold_elsewhere:
                places = [
                    each
                    for each in places
                    if await self._is_kept(batch, each, digest.stored[each], starts, ends)
                ]
            if not places:
                continue
            newest = max(batch.ids[place] for place in places)
            if await self._connection.fetchval(_SQL["younger_before"], newest, ends + OUT_OF_ORDER):
                continue
            for place in places:
                digest.wrong.pop(place, None)
                digest.leaves[place] = digest.stored[place]
            digest.dropped += len(places)

    async def _is_kept(self, batch: Batch, place: int, leaf: bytes, starts: datetime, ends: datetime) -> bool:
        """Whether the row itself, as its leaf has it, is in cold storage, and is of that time."""
        line = await self._cold_line(batch.sequences[place])
        parsed = parse_line(line)
        if parsed.fields is None or parsed.leaf != leaf or parsed.audit_id != batch.ids[place]:
            return False
        return starts <= datetime.fromisoformat(parsed.fields["occurred_at"]) < ends

    async def _cold_line(self, sequence: int) -> bytes:
        """A row's line in cold storage; nothing where it is not there."""
        if self._file_of(sequence) is None:
            await self._read_cold()
        found = self._file_of(sequence)
        if found is None:
            return b""
        if self._file[0] != found.first:
            content = await self._outside.get(cold_name(found.first, found.stop)) or b""
            self._file = (found.first, await asyncio.to_thread(unpacked, content))
        lines = self._file[1][sequence - found.first : sequence - found.first + 1]
        return lines[0] if lines else b""

    async def _moved_ids(self) -> frozenset[int]:
        if self._moved is None:
            row = await self._connection.fetchrow(_SQL["moved_rows"])
            sound = row is not None and text_sha256(row["told"]) == row["hash"]
            self._moved = _ids(row["told"]) if row is not None and sound else frozenset()
            if self._moved:
                self._warn(
                    f"{len(self._moved)} rows of an earlier release came over without the text that was hashed, as "
                    "the log's own row AUDIT_MOVED says"
                )
        return self._moved

    def _warn(self, text: str) -> None:
        if text not in self._report.warnings:
            self._report.warnings.append(text)


def moved_in(lines: Sequence[bytes]) -> frozenset[int]:
    """The ids that a row AUDIT_MOVED among these lines of an export tells of; nothing where there is none.

    The row counts if it is right by itself; that it is the one that was sealed, the leaves outside say.
    """
    for line in lines:
        if _MOVED in line:
            parsed = parse_line(line)
            fields = parsed.fields
            if fields is None or parsed.wrong is not None or parsed.leaf != parsed.stored:
                continue
            by_migration = (fields["component"], fields["decision"]) == ("Migration", "AUDIT_MOVED")
            if by_migration and fields["previous_checkpoint"] is None:
                return frozenset(each for each in _ids(fields["payload"]) if each < fields["id"])
    return frozenset()


def _ids(payload: str | None) -> frozenset[int]:
    """What the payload of a row AUDIT_MOVED tells; nothing where it is none of ours."""
    try:
        told = json.loads(payload or "{}")
    except (ValueError, RecursionError):
        return frozenset()
    found = told.get("rows_without_their_hash") if isinstance(told, dict) else None
    return frozenset(each for each in found if type(each) is int) if isinstance(found, list) else frozenset()
