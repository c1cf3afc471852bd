"""What time it is, judged from several answers of which some may be wrong or lies. Nothing here reads a clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import Final

from risk.constants import CLOCK_SKEW_MAX
from schemas.clock import ClockReading, ClockSource, ClockVerdict

DELAY_MAX: Final = timedelta(seconds=1)
"""A slower answer places the time too loosely: half of this is its error."""
MICROSECOND: Final = timedelta(microseconds=1)
DELAY_MIN: Final = timedelta(milliseconds=-1)
"""Two moments close together, each rounded."""
DISTANCE_MAX: Final = timedelta(seconds=1.5)
"""What a server itself says it may be off by, as NTP's own limit."""
AGREEMENT: Final = timedelta(seconds=1)
"""From the median: who is further off tells another time."""
STRATUM_MAX: Final = 15
"""16 is a server without a source of its own; 0 is a kiss of death: it wants to be left alone."""
UNSYNCHRONISED: Final = 3
"""Of the leap indicator."""
UNANSWERED_MAX: Final = timedelta(minutes=10)
"""Running without any source for longer halts."""


@dataclass(frozen=True, slots=True)
class NtpAnswer:
    """What one server said."""

    server: str
    offset: timedelta
    """How far its time is ahead of ours."""
    delay: timedelta
    """There and back, without its own work."""
    stratum: int
    leap: int
    distance: timedelta
    """Half its own way to the source, and what it may be off by there."""


def unusable(answer: NtpAnswer) -> str | None:
    """Why an answer is not listened to; None: it is."""
    if not 1 <= answer.stratum <= STRATUM_MAX:
        return "kiss of death" if answer.stratum == 0 else f"stratum {answer.stratum}"
    if answer.leap == UNSYNCHRONISED:
        return "not synchronised"
    if not DELAY_MIN <= answer.delay <= DELAY_MAX:
        return f"delay {_seconds(answer.delay)} s"
    if not timedelta(0) <= answer.distance <= DISTANCE_MAX:
        return f"distance {_seconds(answer.distance)} s"
    return None


def judge(answers: Sequence[NtpAnswer], asked: int) -> ClockReading:
    """The median of what is usable, where most of those asked agree on it.

    One server that lies moves nothing. Without a majority nobody is believed, and no clock called right.
    """
    usable = [each for each in answers if unusable(each) is None]
    told = "; ".join(_told(each) for each in answers) or "no answer"
    if not usable or len(usable) <= asked // 2:
        few = f"{len(usable)} of {asked} time servers usable: {told}"
        return ClockReading(verdict=ClockVerdict.NO_SOURCE, detail=few)
    middle = median(each.offset / MICROSECOND for each in usable) * MICROSECOND
    agreed = sum(abs(each.offset - middle) <= AGREEMENT for each in usable)
    if agreed <= asked // 2:
        return ClockReading(verdict=ClockVerdict.NO_SOURCE, detail=f"time servers do not agree: {told}")
    return ClockReading(
        verdict=verdict_of(middle),
        offset=middle,
        source=ClockSource.NTP,
        detail=f"{_seconds(middle)} s by {agreed} of {asked} time servers: {told}",
    )


def bracketed(told: timedelta, error: timedelta) -> ClockReading:
    """By one clock read between two of our moments: ``told`` ahead of their middle, ``error`` half the way between.

    Off is only what is off wherever in between it was read.
    """
    if error > DELAY_MAX / 2:
        return ClockReading(
            verdict=ClockVerdict.NO_SOURCE, detail="the broker's clock answered too slowly to tell"
        )
    certain = max(abs(told) - error, timedelta(0))
    return ClockReading(
        verdict=verdict_of(certain),
        offset=told,
        source=ClockSource.BROKER,
        detail=f"{_seconds(told)} s by the broker's clock, to within {_seconds(error)} s; no time server answered",
    )


def verdict_of(offset: timedelta) -> ClockVerdict:
    """Exactly the limit passes."""
    return ClockVerdict.SKEWED if abs(offset) > CLOCK_SKEW_MAX else ClockVerdict.IN_SYNC


def refusal(reading: ClockReading, *, is_live: bool) -> str | None:
    """Why a process may not start with this clock; None: it may."""
    if reading.verdict is ClockVerdict.SKEWED:
        return f"this machine's clock is off by {reading.detail}; limit {_seconds(CLOCK_SKEW_MAX)} s"
    if is_live and reading.source is not ClockSource.NTP:
        return f"nobody can say whether this machine's clock is right: {reading.detail}"
    return None


def halts(reading: ClockReading, unanswered: timedelta) -> str | None:
    """Why a running process stops new orders; ``unanswered``: for how long nobody has said what time it is."""
    if reading.verdict is ClockVerdict.SKEWED:
        return f"its clock is off by {reading.detail}; limit {_seconds(CLOCK_SKEW_MAX)} s"
    if reading.verdict is ClockVerdict.NO_SOURCE and unanswered > UNANSWERED_MAX:
        minutes = unanswered.total_seconds() / 60
        return f"nobody has said for {minutes:.0f} minutes whether its clock is right: {reading.detail}"
    return None


def _told(answer: NtpAnswer) -> str:
    why = unusable(answer)
    return f"{answer.server} {_seconds(answer.offset)}" + (f" (not used: {why})" if why else "")


def _seconds(value: timedelta) -> str:
    return f"{value.total_seconds():+.6f}" if value else "0"
