"""What may be done to an export of a log, and how fast each is found out."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from audit.check.digests import Digest
from audit.check.findings import Report
from audit.check.lines import digest_lines
from audit.check.notes import VerifierKey
from audit.check.outside import Folder
from audit.check.verify import verify_export
from tests.audit.made import Log

BITS = tuple(1 << bit for bit in range(8))


@dataclass(frozen=True)
class Export:
    """A log's export and what is outside: the verifier's whole world."""

    log: Log
    outside: Path
    file: Path
    lines: tuple[bytes, ...]
    leaves: tuple[bytes, ...]

    @classmethod
    def of(cls, log: Log, folder: Path) -> "Export":
        outside = log.put_outside(folder / "outside")
        return cls(log, outside, folder / "export.jsonl", tuple(log.lines), tuple(log.leaves))

    async def verify(self, lines: Sequence[bytes], outside: Path | None = None) -> Report:
        """The full verifier on these lines."""
        self.file.write_bytes(b"".join(line + b"\n" for line in lines))
        return await self.reread(outside)

    async def reread(self, outside: Path | None = None) -> Report:
        """The full verifier on the file as it is."""
        key = VerifierKey.parse(self.log.signer.vkey)
        return await verify_export([self.file], Folder(outside or self.outside), key)

    async def first_wrong(self, lines: Sequence[bytes]) -> tuple[str, int | None] | None:
        """What the full verifier names first."""
        found = (await self.verify(lines)).first_wrong
        return None if found is None else (found.kind.value, found.sequence)

    def is_seen(self, row: int, line: bytes) -> bool:
        """Whether a line in that row's place is seen to be wrong, held against the row's leaf alone."""
        # A newline in it makes two lines of it.
        if b"\n" in line:
            return not any(self._is_right(row, part) for part in line.split(b"\n"))
        return not self._is_right(row, line)

    def _is_right(self, row: int, line: bytes) -> bool:
        found: Digest = digest_lines([line])
        return (
            not found.wrong
            and found.leaves == [self.leaves[row]] == found.stored
            and list(found.sequences) == [row]
        )


def flips(line: bytes, others: Sequence[int]) -> Iterator[bytes]:
    """The line with one byte changed, for every byte and every way in ``others`` (exclusive or)."""
    for at, byte in enumerate(line):
        for other in others:
            yield b"%s%c%s" % (line[:at], byte ^ other, line[at + 1 :])


def one_flip(line: bytes, chance: random.Random) -> bytes:
    """The line with one byte changed to any other."""
    at = chance.randrange(len(line))
    return b"%s%c%s" % (line[:at], line[at] ^ chance.randrange(1, 256), line[at + 1 :])
