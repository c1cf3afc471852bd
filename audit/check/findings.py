"""What can be wrong with an audit log, and the report of one check."""

from collections.abc import Mapping
from dataclasses import InitVar, asdict, dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final


class Wrong(StrEnum):
    """What is wrong. A name once used keeps its meaning."""

    EDITED = "EDITED"
    """The row no longer gives its leaf."""
    REWRITTEN = "REWRITTEN"
    """Row and stored leaf agree with each other, and not with what was put outside."""
    LEAF_CHANGED = "LEAF_CHANGED"
    """The row is as it was; the leaf that is kept with it is not."""
    PAYLOAD_CHANGED = "PAYLOAD_CHANGED"
    """The payload does not have the hash that the row names."""
    PAYLOAD_MISSING = "PAYLOAD_MISSING"
    """The payload is gone, and nothing says that it went to cold storage."""
    MISSING = "MISSING"
    INSERTED = "INSERTED"
    SWAPPED = "SWAPPED"
    """Rows stand in each other's place."""
    RENUMBERED = "RENUMBERED"
    """The row is as it was, under another number."""
    MALFORMED = "MALFORMED"
    """A line of an export is not as exports are written."""
    CUT_TAIL = "CUT_TAIL"
    """The rows end before the newest checkpoint."""
    ROLLED_BACK = "ROLLED_BACK"
    """The log's own head is behind a checkpoint that was signed."""
    HEAD_WRONG = "HEAD_WRONG"
    """The head that the database keeps is not that of its rows."""
    BAD_CHECKPOINT = "BAD_CHECKPOINT"
    """A checkpoint that cannot be read, or that the key has not signed."""
    CHECKPOINT_MISSING = "CHECKPOINT_MISSING"
    """The database says that it was put outside, and it is not there."""
    INCONSISTENT = "INCONSISTENT"
    """Two signed checkpoints of which one tree does not begin with the other's."""
    OUTSIDE_DAMAGED = "OUTSIDE_DAMAGED"
    """Leaves or proofs outside are missing, or do not give the signed root."""
    PREVIOUS_UNKNOWN = "PREVIOUS_UNKNOWN"
    """A row names a checkpoint before it that was never published."""
    UNSEALED = "UNSEALED"
    """A row waits for sealing longer than it may."""
    NEVER_QUEUED = "NEVER_QUEUED"
    """A row that is not sealed and does not wait for it: it came in past the log's own way."""
    NOT_PROVED = "NOT_PROVED"
    """There is nothing to check, or nothing to hold it against."""


LATE: Final = frozenset({Wrong.UNSEALED})
"""Not a sign of tampering by itself: the sealer may be down."""
FINDINGS_MAX: Final = 200
"""Told one by one; more are counted."""
NAME_DIGITS: Final = 16
"""Of the hash in the name of a finding that is about no row."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong, and the first row that shows it."""

    kind: Wrong
    text: str
    """For people: what was found, and against what it was held."""
    sequence: int | None = None
    """The row's number in the log; None where it is about no one row."""
    audit_id: int | None = None
    correlation_id: str | None = None
    rows: int = 1
    """How many rows in one run it is about, the first of them named."""

    @property
    def is_tampering(self) -> bool:
        """False where only somebody is late."""
        return self.kind not in LATE

    @property
    def name(self) -> str:
        """The same for one thing found twice: by its row, or where it is about none by what was found."""
        about = self.sequence if self.sequence is not None else self.audit_id
        if about is None:
            return f"{self.kind.value}-{sha256(self.text.encode()).hexdigest()[:NAME_DIGITS]}"
        return f"{self.kind.value}-{about}"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(kw_only=True)
class Report:
    """One check, whole."""

    rows: int = 0
    """Rows whose leaf was computed anew."""
    payloads: int = 0
    """Payloads whose hash was computed anew."""
    payloads_elsewhere: int = 0
    """Of rows whose payload is in cold storage."""
    dropped: int = 0
    """Rows of months that were dropped after seven years: of them only the leaf was checked."""
    first: int = 0
    end: int = 0
    """The rows [first, end) were judged."""
    checkpoints: int = 0
    """Signatures and roots that were checked."""
    newest: int | None = None
    """Size of the newest checkpoint outside."""
    newest_root: str | None = None
    beyond: int = 0
    """Sealed rows under no checkpoint outside yet: held against the database's own leaves only."""
    waiting: int = 0
    """Rows not sealed yet."""
    warnings: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    more: int = 0
    """Findings beyond ``FINDINGS_MAX``."""
    known: InitVar[frozenset[str]] = frozenset()
    """Names of findings that were told before: they are found again, and do not take the place of others."""

    def __post_init__(self, known: frozenset[str]) -> None:
        self._known = known
        self._fresh = 0

    @property
    def ok(self) -> bool:
        return not self.findings

    @property
    def is_tampering(self) -> bool:
        """Whether anything found is more than lateness."""
        return any(each.is_tampering for each in self.findings)

    @property
    def first_wrong(self) -> Finding | None:
        """The finding about the row with the lowest number; of none about a row, the first."""
        numbered = [each for each in self.findings if each.sequence is not None]
        if numbered:
            return min(numbered, key=lambda each: each.sequence or 0)
        return self.findings[0] if self.findings else None

    def add(self, finding: Finding) -> None:
        fresh = finding.name not in self._known
        if fresh and self._fresh >= FINDINGS_MAX:
            self.more += 1
            return
        self._fresh += fresh
        self.findings.append(finding)

    def as_json(self) -> Mapping[str, Any]:
        first = self.first_wrong
        return asdict(self) | {"ok": self.ok, "first_wrong": None if first is None else first.as_json()}
