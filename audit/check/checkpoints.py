"""The signed checkpoints outside, and the proofs between them. They are believed by their signature alone."""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from audit.check.findings import Finding, Report, Wrong
from audit.check.notes import BadNote, Checkpoint, VerifierKey, hashes_of
from audit.check.outside import RANGE, Outside, behind
from audit.check.tree import BadProof, check_consistency

CHECKPOINTS: Final = "checkpoints/"
CONSISTENCY: Final = "consistency/"
_NAME: Final = re.compile(r"checkpoints/(\d{20})")
_REFERENCE: Final = re.compile(r"(?P<size>0|[1-9]\d{0,18}) (?P<root>[0-9a-f]{64})")


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
    for name in await outside.names(CHECKPOINTS, after=behind(CHECKPOINTS, first_size)):
        number = _NAME.fullmatch(name)
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
        number = _NAME.fullmatch(name)
        if number is not None:
            try:
                return await _open(outside, key, name, int(number[1]))
            except BadNote:
                continue
    return None


class Published:
    """Whether what rows name as the newest checkpoint was one; each is looked for once."""

    def __init__(self, outside: Outside, key: VerifierKey, checkpoints: Checkpoints) -> None:
        self._outside = outside
        self._key = key
        self._checkpoints = checkpoints
        self._known: dict[str, bool] = {}
        """Those that are not among the checkpoints read: older ones, or written since."""

    async def may_be_named(self, reference: str | None, row: int) -> bool:
        """Whether a row of that number may name it: it is nothing, or a checkpoint of rows before that one."""
        if reference is None:
            return True
        found = _REFERENCE.fullmatch(reference)
        if found is None:
            return False
        size, root = int(found["size"]), found["root"]
        if not self._checkpoints.has(size, root):
            if reference not in self._known:
                self._known[reference] = await self._is_outside(size, root)
            if not self._known[reference]:
                return False
        return size <= row

    async def _is_outside(self, size: int, root: str) -> bool:
        try:
            checkpoint = await _open(self._outside, self._key, f"{CHECKPOINTS}{size:020d}", size)
        except BadNote:
            return False
        return checkpoint.root.hex() == root


async def check_proofs(outside: Outside, checkpoints: Checkpoints, report: Report) -> None:
    """Check the proofs outside between each checkpoint and the next; what is wrong goes into the report."""
    by_size = checkpoints.by_size
    smallest = min(by_size, default=0)
    for name in await outside.names(CONSISTENCY, after=behind(CONSISTENCY, smallest)):
        numbers = RANGE.fullmatch(name)
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
