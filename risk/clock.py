"""Ages of things, given the instants. Nothing here reads a clock."""

from datetime import datetime, timedelta

from risk.constants import CLOCK_SKEW_MAX


def is_too_old(at: datetime, now: datetime, age_max: timedelta) -> bool:
    """True beyond ``age_max``, and also for a time further ahead than clocks may differ.

    Exactly ``age_max`` and exactly ``CLOCK_SKEW_MAX`` ahead are both in time.
    """
    age = now - at
    return age > age_max or age < -CLOCK_SKEW_MAX


def market_time(instant: datetime, *, broker_at: datetime, read_at: datetime, speed: float) -> datetime:
    """Market time at a wall instant, from one reading of the broker's clock: ``broker_at`` when our wall
    clock showed ``read_at``; ``speed`` market seconds pass in a real one.
    """
    return broker_at + (instant - read_at) * speed


def age_text(at: datetime, now: datetime) -> str:
    """``12.000000 s``; negative when ``at`` lies ahead of ``now``."""
    return f"{(now - at).total_seconds():.6f} s"
