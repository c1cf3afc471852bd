"""What is known of our clocks: how far each process's is off, by whom, and since when."""

from datetime import timedelta
from enum import StrEnum

from schemas.base import UtcTime, Wire


class ClockVerdict(StrEnum):
    """What came of asking the time."""

    IN_SYNC = "IN_SYNC"
    SKEWED = "SKEWED"
    """Off by more than may be."""
    NO_SOURCE = "NO_SOURCE"
    """Nobody answered, or they do not agree."""
    NOT_ASKED = "NOT_ASKED"
    """The exchange is on this machine and shares its clock, and no servers are named."""


class ClockSource(StrEnum):
    """Who said what time it is."""

    NTP = "ntp"
    BROKER = "broker"
    NONE = "none"


class ClockReading(Wire):
    """One machine's clock, held against others."""

    verdict: ClockVerdict
    offset: timedelta | None = None
    """How far the true time is ahead of ours; None: nobody said."""
    source: ClockSource = ClockSource.NONE
    detail: str
    """Who answered what, for people."""


class ClockCheck(ClockReading):
    """A reading as its row keeps it."""

    holder: str
    """Which process, on which machine."""
    age: timedelta
    """Since it was made, by the database's clock."""
    halted_since: UtcTime | None = None
    """None: it stops no orders."""
    halt_cause: str | None = None


class ClockHealth(Wire):
    """All processes that ask, in one answer: what live mode is decided by."""

    in_sync: bool
    """No process that was heard of lately has found its clock wrong, or halts; whose news counts was heard of."""
    age: timedelta | None = None
    """Of the newest reading that counts; None: there is none."""


def no_fault() -> str | None:
    """Whose clock is judged elsewhere."""
    return None
