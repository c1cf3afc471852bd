"""Fees, dividends and deposits that are listed after their cash has moved: told once, as the difference they were.

Pure, and exact where its caller is.
"""

from decimal import Decimal
from typing import Final

from schemas.broker import CashActivity
from schemas.reconciliation import Books, BrokerState

CASH_TOLERANCE: Final = Decimal("0.01")
"""US dollars. The broker's cash may be rounded to cents, executions are not."""

ZERO: Final = Decimal(0)


def late_activities(broker: BrokerState, books: Books, moved: Decimal) -> dict[str, Decimal]:
    """Listed activities, by id, whose cash our books hold already, and how much of it.

    Cash may move before the activity that says why is listed; an overwrite has booked it by then. So if with
    what is listed now our cash is too much (or too little) by no more than what overwrites left unexplained, or
    than what an activity of the days before our import moved, then it is that, and no new difference.
    """
    listed = sum((each.amount for each in broker.activities), ZERO)
    excess = books.cash + moved + listed - broker.cash
    if abs(excess) < CASH_TOLERANCE:
        return {}
    room = books.unexplained
    found: dict[str, Decimal] = {}
    for each in broker.activities:
        if not _may_be_late(each, books) or each.amount * excess <= 0:
            continue
        part = min(each.amount, excess, key=abs)
        residual = min(part, room, key=abs) if room * part > 0 else ZERO
        part = part if _in_opening(each, books) else residual
        if part:
            found[each.activity_id] = part
            excess -= part
            room -= residual
    return found


def waiting_activities(broker: BrokerState, books: Books) -> tuple[str, ...]:
    """Listed activities, by id, of which only the account's cash can tell whether they are late."""
    return tuple(each.activity_id for each in broker.activities if _may_be_late(each, books))


def _may_be_late(activity: CashActivity, books: Books) -> bool:
    return books.opened and (_in_opening(activity, books) or activity.amount * books.unexplained > 0)


def _in_opening(activity: CashActivity, books: Books) -> bool:
    return books.opened_on is not None and activity.day <= books.opened_on
