"""Whether the books are known well enough to place a new order."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

RECONCILED_AGE_MAX: Final = timedelta(minutes=15)
"""Three passes of the schedule. Exactly this still passes."""
STREAM_GAP_MAX: Final = timedelta(seconds=60)
"""The update stream may be silent this long before the books must be compared anew."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """What decides whether a new order may be placed: our wall clock throughout. No model, for ``status``."""

    read_at: datetime | None = None
    """As the deciding reading of the last good reconciliation began."""
    finished_at: datetime | None = None
    last_seen_at: datetime | None = None
    """When the update stream last gave a sign of life; None where it never has."""
    gap_ended_at: datetime | None = None
    """When it came back from its last silence of more than a minute, or after a start."""
    kill_due: bool = False
    """Drift, a loss or a runaway has decided to stop trading, and the kill switch is not engaged yet."""


def waits_for(books: Readiness, now: datetime) -> str | None:
    """Why a placement must wait, in words for people; None when it need not."""
    if books.kill_due:
        return "too much drift, a loss or a runaway was found and the kill switch is being engaged"
    if books.last_seen_at is not None and now - books.last_seen_at > STREAM_GAP_MAX:
        silent = int((now - books.last_seen_at).total_seconds())
        return f"the broker's update stream has been silent for {silent} s: orders wait until it is back"
    if books.read_at is None or books.finished_at is None:
        return "the books have not been reconciled with the broker yet"
    if now - books.finished_at > RECONCILED_AGE_MAX:
        age = int((now - books.finished_at).total_seconds() / 60)
        return (
            f"the last good reconciliation is {age} min old, {RECONCILED_AGE_MAX.seconds // 60} are allowed"
        )
    if books.gap_ended_at is not None and books.read_at <= books.gap_ended_at:
        return (
            "the update stream was away (a start, or over a minute) and the books were not reconciled since"
        )
    if books.last_seen_at is None:
        return "the broker's update stream has not been connected yet: orders wait until it is"
    return None


def can_be_mended(books: Readiness, now: datetime) -> bool:
    """Whether a reconciliation now would let orders go on; with a silent stream or a kill due it would not."""
    silent = books.last_seen_at is not None and now - books.last_seen_at > STREAM_GAP_MAX
    if silent or books.kill_due:
        return False
    return waits_for(replace(books, last_seen_at=now), now) is not None
