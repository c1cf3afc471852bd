"""What a new row of limits changes: wider or tighter, and whether it may be a raise that expires."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from risk.arithmetic import text
from risk.constants import RAISE_MAX
from schemas.limits import LISTS, NO_TICKER, LimitChange, LimitsDocument, LimitsRow
from schemas.risk import Limits

WINDOWS: Final = frozenset({"repeated_executions_window_seconds", "duplicate_window_seconds"})
NOT_GIVEN: Final = "not given"
HOUR: Final = timedelta(hours=1)


class LimitsDecision(StrEnum):
    """How the audit log calls a new row."""

    SET = "LIMITS_SET"
    """The account's first, or one that changes nothing."""
    RAISED = "LIMITS_RAISED"
    LOWERED = "LIMITS_LOWERED"


class RowState(StrEnum):
    """What has become of a row."""

    IN_FORCE = "in force"
    UNDER_A_RAISE = "under a raise"
    """In force again when the raise ends."""
    EXPIRED = "expired"
    REPLACED = "replaced"


def in_force(rows: Sequence[LimitsRow], now: datetime) -> LimitsRow | None:
    """Of one scope's rows the one that counts: the newest, or where that raise is over the newest that lasts.

    So a newer row ends a raise at once, and a raise that was ended never comes back.
    """
    newest = max(rows, key=lambda row: row.version, default=None)
    if newest is None or newest.expires_at is None or newest.expires_at > now:
        return newest
    return lasting(rows)


def lasting(rows: Sequence[LimitsRow]) -> LimitsRow | None:
    """The newest row that does not expire."""
    return max((row for row in rows if row.expires_at is None), key=lambda row: row.version, default=None)


def states(rows: Sequence[LimitsRow], now: datetime) -> dict[int, RowState]:
    """What each of one scope's rows has come to, by version."""
    current, below = in_force(rows, now), lasting(rows)
    found = {}
    for row in rows:
        if row is current:
            found[row.version] = RowState.IN_FORCE
        elif row is below:
            found[row.version] = RowState.UNDER_A_RAISE
        elif row.expires_at is not None and row.expires_at <= now:
            found[row.version] = RowState.EXPIRED
        else:
            found[row.version] = RowState.REPLACED
    return found


def is_wider(field: str, before: Any, after: Any) -> bool:
    """Whether something that ``before`` refuses passes ``after``. None: not given, which refuses nothing."""
    if field == "allowed_tickers":
        return bool(before) and (not after or not set(after) - {NO_TICKER} <= set(before))
    if field == "restricted_tickers":
        return not set(before or ()) <= set(after or ())
    if field in LISTS:
        return not set(after or ()) <= set(before or ())
    if before is None or after is None:
        return before is not None and after is None
    return bool(after < before if field in WINDOWS else after > before)


def changes(before: LimitsDocument | None, after: LimitsDocument) -> tuple[LimitChange, ...]:
    """Every field that differs, in the order of the document. ``before`` is None where there was no row."""
    found = []
    for field, new in after:
        old = getattr(before, field, None)
        if is_wider(field, old, new) or is_wider(field, new, old):
            found.append(
                LimitChange(
                    field=field,
                    before=told(field, old),
                    after=told(field, new),
                    wider=is_wider(field, old, new),
                )
            )
    return tuple(found)


def told(field: str, value: Any) -> str:
    """A limit's value as people read it."""
    if field in LISTS:
        return ", ".join(value) if value else "every ticker" if field == "allowed_tickers" else "none"
    if value is None:
        return NOT_GIVEN
    return text(value) if isinstance(value, Decimal) else str(value)


def decision(current: LimitsRow | None, below: LimitsRow | None, document: LimitsDocument) -> LimitsDecision:
    """What the audit log calls a row with ``document``: a raise if any limit gets wider, now or for good.

    Under a raise in force the row ``below`` it counts too: what is tighter than the raise may still be wider than
    what would have come after it.
    """
    if current is None and isinstance(document, Limits):
        return LimitsDecision.SET
    found = changes(current.document if current else None, document)
    if any(change.wider for change in found):
        return LimitsDecision.RAISED
    if below is not None and any(change.wider for change in changes(below.document, document)):
        return LimitsDecision.RAISED
    return LimitsDecision.LOWERED if found else LimitsDecision.SET


def raise_fault(
    below: LimitsRow | None, document: LimitsDocument, whose: str, *, expires_at: datetime, now: datetime
) -> str | None:
    """Why a row of ``whose`` may not expire then; None where it may. ``below`` is what lasts.

    It may only widen what lasts: the end of a row must never widen anything, because nobody decides at that moment.
    """
    if expires_at <= now:
        return f"{expires_at:%Y-%m-%d %H:%M:%S} UTC is past"
    if expires_at - now > RAISE_MAX:
        return f"a raise lasts {RAISE_MAX / HOUR:g} hours at most"
    if below is None:
        return f"nothing is set for {whose} that could be raised"
    found = changes(below.document, document)
    tighter = [change for change in found if not change.wider]
    swapped = [field for field, new in document if is_wider(field, new, getattr(below.document, field))]
    if tighter or swapped:
        fields = ", ".join(dict.fromkeys([*(change.field for change in tighter), *swapped]))
        return (
            f"what expires may only raise limits, and {fields} would be lower than what lasts "
            f"(version {below.version}); lower without an end"
        )
    if not found:
        return f"it raises nothing above what lasts (version {below.version})"
    return None
