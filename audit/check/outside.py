"""What was put outside the database: signed checkpoints, leaf hashes, consistency proofs, and how they are read.

Names: ``checkpoints/<size>``, ``leaves/<first>-<end>``, ``consistency/<old>-<new>``, ``key``; numbers of 20 digits.
Nothing here is believed because it is there: checkpoints by their signature, leaves by a signed root.
"""

import re
from bisect import bisect_right
from collections.abc import Container
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from audit.check.findings import Finding, Report, Wrong
from audit.check.notes import BadKey, BadNote, Checkpoint, VerifierKey, hashes_of
from audit.check.tree import HASH_BYTES, BadProof, check_consistency

CHECKPOINTS: Final = "checkpoints/"
LEAVES: Final = "leaves/"
CONSISTENCY: Final = "consistency/"
KEY: Final = "key"
OBJECT_BYTES_MAX: Final = 256 * 1024 * 1024
"""Leaf hashes of eight million rows sealed at once; nothing that was put there is larger."""
_ONE: Final = re.compile(r"checkpoints/(\d{20})")
_TWO: Final = re.compile(r"(?:leaves|consistency)/(\d{20})-(\d{20})")


class OutsideUnreadable(Exception):
    """What is outside cannot be read now; that says nothing about the log."""


class Outside(Protocol):
    """Where checkpoints are put: a folder or a bucket."""

    async def names(self, prefix: str, *, after: str = "") -> list[str]:
        """All names with this beginning that sort behind ``after``, in order.

        Raises:
            OutsideUnreadable: it cannot be read now.
        """
        ...

    async def get(self, name: str) -> bytes | None:
        """The bytes under a name; None where there are none. Raises as `names`."""
        ...


class Folder:
    """A directory, or a copy of one."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def names(self, prefix: str, *, after: str = "") -> list[str]:
        return [name for name in _names(self._root, prefix) if name > after]

    async def get(self, name: str) -> bytes | None:
        return _read(self._root / name)


def _names(root: Path, prefix: str) -> list[str]:
    folder = root / prefix
    try:
        return sorted(prefix + each.name for each in folder.iterdir() if each.is_file())
    except FileNotFoundError:
        if root.is_dir():
            return []
        raise OutsideUnreadable(f"{root} is not there") from None
    except OSError as error:
        raise OutsideUnreadable(f"{folder} cannot be read: {error.strerror}") from error


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(OBJECT_BYTES_MAX)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutsideUnreadable(f"{path} cannot be read: {error.strerror}") from error


async def stored_key(outside: Outside) -> VerifierKey | None:
    """The key that lies beside the checkpoints: who can change them can change it too.

    Raises:
        BadKey: what lies there is none.
    """
    line = await outside.get(KEY)
    if line is None:
        return None
    try:
        return VerifierKey.parse(line.decode())
    except UnicodeDecodeError as error:
        raise BadKey("not UTF-8") from error


def _before(prefix: str, number: int) -> str:
    """The name behind which all of this number and of larger ones sort."""
    return f"{prefix}{number - 1:020d}~" if number else ""


@dataclass(frozen=True, slots=True)
class Seen:
    """A checkpoint that the key has signed, in few bytes: a log of years has a million of them."""

    size: int
    root: bytes
    note_hash: bytes
    """sha256 of the signed note."""


class Checkpoints:
    """Those that the key has signed, smallest first."""

    def __init__(self, found: list[Seen]) -> None:
        self.found = found
        self.by_size = {each.size: each for each in found}

    @property
    def newest(self) -> Seen | None:
        return self.found[-1] if self.found else None

    def has(self, size: int, root: str) -> bool:
        """Whether one of that size and root, in hexadecimal, is among them."""
        found = self.by_size.get(size)
        return found is not None and found.root.hex() == root


async def read_checkpoints(
    outside: Outside, key: VerifierKey, report: Report, *, first_size: int = 0
) -> Checkpoints:
    """Read and check every checkpoint from one size on; what is wrong goes into the report."""
    found: list[Seen] = []
    for name in await outside.names(CHECKPOINTS, after=_before(CHECKPOINTS, first_size)):
        number = _ONE.fullmatch(name)
        if number is None:
            continue
        try:
            opened = await _open(outside, key, name, int(number[1]))
            found.append(Seen(opened.size, opened.root, sha256(opened.note.encode()).digest()))
        except BadNote as error:
            report.add(Finding(kind=Wrong.BAD_CHECKPOINT, text=f"{name}: {error}"))
    report.checkpoints += len(found)
    return Checkpoints(found)


async def _open(outside: Outside, key: VerifierKey, name: str, size: int) -> Checkpoint:
    note = await outside.get(name)
    if note is None:
        raise BadNote("it is listed and not there")
    checkpoint = key.open(note)
    if checkpoint.size != size:
        raise BadNote(f"it is of {checkpoint.size} rows")
    if checkpoint.origin != key.name:
        raise BadNote(f"it is of another log, {checkpoint.origin}")
    return checkpoint


async def newest_checkpoint(outside: Outside, key: VerifierKey) -> Checkpoint | None:
    """The newest one that the key has signed; None where there is none."""
    for name in reversed(await outside.names(CHECKPOINTS)):
        number = _ONE.fullmatch(name)
        if number is not None:
            try:
                return await _open(outside, key, name, int(number[1]))
            except BadNote:
                continue
    return None


async def is_published(outside: Outside, key: VerifierKey, size: int, root: str) -> bool:
    """Whether a checkpoint of that size and root, in hexadecimal, is outside, signed by the key."""
    try:
        checkpoint = await _open(outside, key, f"{CHECKPOINTS}{size:020d}", size)
    except BadNote:
        return False
    return checkpoint.root.hex() == root


async def check_proofs(outside: Outside, checkpoints: Checkpoints, report: Report) -> None:
    """Check the proofs outside between each checkpoint and the next; what is wrong goes into the report."""
    by_size = checkpoints.by_size
    smallest = min(by_size, default=0)
    for name in await outside.names(CONSISTENCY, after=_before(CONSISTENCY, smallest)):
        numbers = _TWO.fullmatch(name)
        if numbers is None:
            continue
        old, new = (by_size.get(int(each)) for each in numbers.groups())
        if old is None or new is None:
            continue
        try:
            proof = hashes_of(await outside.get(name) or b"")
            check_consistency(old.size, old.root, new.size, new.root, proof)
        except BadNote as error:
            report.add(Finding(kind=Wrong.OUTSIDE_DAMAGED, text=f"{name}: {error}"))
        except BadProof as error:
            text = (
                f"the checkpoints of {old.size} and {new.size} rows are not shown to be of one log: {error}"
            )
            report.add(Finding(kind=Wrong.INCONSISTENT, sequence=old.size, text=text))


class OutsideLeaves:
    """The leaf hashes outside, without holes from ``start`` to ``covered``."""

    def __init__(self, outside: Outside, files: list[tuple[int, int, str]], start: int) -> None:
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
        listed: list[tuple[int, int, str]] = []
        for name in await outside.names(LEAVES, after=_before(LEAVES, start)):
            numbers = _TWO.fullmatch(name)
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


_File: TypeAlias = tuple[int, int, str]


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
