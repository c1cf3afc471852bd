"""The leaf hashes outside: the files that lead to a signed size, and what stands in them."""

from bisect import bisect_right
from collections.abc import Container
from typing import Final, TypeAlias

from audit.check.findings import Finding, Report, Wrong
from audit.check.outside import RANGE, Outside, behind
from audit.check.tree import HASH_BYTES

LEAVES: Final = "leaves/"

_File: TypeAlias = tuple[int, int, str]
"""First row, end, name."""


class OutsideLeaves:
    """The leaf hashes outside, without holes from ``start`` to ``covered``."""

    def __init__(self, outside: Outside, files: list[_File], start: int) -> None:
        self._outside = outside
        self._files = files
        self._firsts = [first for first, _, _ in files]
        self.covered = files[-1][1] if files else start
        self._open: tuple[int, bytes] = (0, b"")
        self.damaged: set[str] = set()

    @classmethod
    async def find(
        cls, outside: Outside, start: int, report: Report, *, until: int, signed: Container[int]
    ) -> "OutsideLeaves":
        """List them. A hole before ``until`` goes into the report, and what is beyond it is not used.

        Args:
            until: a signed size, to which the leaves lead.
            signed: sizes of checkpoints. A file that begins at none was put by a sealer that did not come to
                sign: it is used only where nothing else is there.
        """
        listed: list[_File] = []
        for name in await outside.names(LEAVES, after=behind(LEAVES, start)):
            numbers = RANGE.fullmatch(name)
            if numbers is not None and int(numbers[1]) < int(numbers[2]) <= until:
                listed.append((int(numbers[1]), int(numbers[2]), name))
        files, resumes = _chain(listed, start, until, signed)
        found = cls(outside, files, start)
        if found.covered < until:
            text = f"the leaf hashes of rows {found.covered} to {resumes - 1} are not outside"
            report.add(Finding(kind=Wrong.OUTSIDE_DAMAGED, sequence=found.covered, text=text))
        return found

    async def read(self, first: int, count: int) -> bytes:
        """32 bytes for each of the rows [first, first + count) that is covered."""
        end = min(first + count, self.covered)
        parts = []
        while first < end:
            begin, content = await self._file(first)
            upto = min(end, begin + len(content) // HASH_BYTES)
            parts.append(content[(first - begin) * HASH_BYTES : (upto - begin) * HASH_BYTES])
            first = upto
        return b"".join(parts)

    async def _file(self, row: int) -> tuple[int, bytes]:
        """The file in which a row's leaf is. One that is not as long as its name says is filled up with zeros."""
        begin, content = self._open
        if not begin <= row < begin + len(content) // HASH_BYTES:
            begin, end, name = self._files[bisect_right(self._firsts, row) - 1]
            size = (end - begin) * HASH_BYTES
            content = await self._outside.get(name) or b""
            if len(content) != size:
                self.damaged.add(name)
                content = content[:size].ljust(size, b"\0")
            self._open = (begin, content)
        return self._open

    async def find_leaf(self, leaf: bytes) -> int | None:
        """The row that has this leaf, wherever it is."""
        for first, _, name in self._files:
            content = await self._outside.get(name) or b""
            at = content.find(leaf)
            while at >= 0:
                if at % HASH_BYTES == 0:
                    return first + at // HASH_BYTES
                at = content.find(leaf, at + 1)
        return None


def _chain(listed: list[_File], start: int, until: int, signed: Container[int]) -> tuple[list[_File], int]:
    """The files that lead from ``start`` to ``until``, chosen from the end backwards.

    From the end, because that is where a checkpoint was signed: a file that was put before its sealer died leads
    to none, and after a restore others may have been put over the same rows.

    Returns:
        The files without holes from ``start`` on, and where the first hole ends; ``until`` where there is none.
    """
    by_end: dict[int, list[_File]] = {}
    reached = {start}
    for each in listed:  # In order of their first rows.
        if each[0] >= start:
            by_end.setdefault(each[1], []).append(each)
            if each[0] in reached:
                reached.add(each[1])

    def walk(at: int) -> list[_File]:
        files: list[_File] = []
        while at > start and at in by_end:
            best = max(by_end[at], key=lambda each: (each[0] in reached, each[0] in signed, -each[0]))
            files.append(best)
            at = best[0]
        return files[::-1]

    files = walk(until)
    if until in reached:
        return files, until
    resumes = files[0][0] if files else until
    # What lies before the hole is believed as far as it leads to a checkpoint.
    return walk(
        max(each for each in reached if each <= resumes and (each == start or each in signed))
    ), resumes
