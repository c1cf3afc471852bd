"""Fees, dividends and deposits that are listed after their cash has moved: told once, as the difference they were.

Pure, and exact where its caller is.
"""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import combinations
from typing import Final

from schemas.broker import CashActivity
from schemas.reconciliation import Books, BrokerState

CASH_TOLERANCE: Final = Decimal("0.01")
"""US dollars. The broker's cash may be rounded to cents, executions are not."""
TRIED_TOGETHER_MAX: Final = 8
"""Of more activities than this only each alone and all together are tried."""

ZERO: Final = Decimal(0)


def late_activities(broker: BrokerState, books: Books, moved: Decimal) -> dict[str, Decimal]:
    """Listed activities, by id, whose cash our books hold already, and that cash.

    Cash may move before the activity that says why is listed; an overwrite has booked it by then, or the import
    had it in. So where our cash with all that is listed now is off by exactly the amounts of some of these
    activities, and there is that much that nothing has explained yet, it is they and no new difference. What
    explains a part only may be a new difference beside an ordinary fee: it is told as it is.
    """
    listed = sum((each.amount for each in broker.activities), ZERO)
    excess = books.cash + moved + listed - broker.cash
    if abs(excess) < CASH_TOLERANCE:
        return {}
    candidates = [each for each in broker.activities if _may_be_late(each, books)]
    for some in _together(candidates):
        if abs(_sum(some) - excess) < CASH_TOLERANCE and _is_room(some, books):
            return {each.activity_id: each.amount for each in some}
    return {}


def waiting_activities(broker: BrokerState, books: Books) -> tuple[str, ...]:
    """Listed activities, by id, of which only the account's cash can tell whether they are late."""
    return tuple(each.activity_id for each in broker.activities if _may_be_late(each, books))


def _together(candidates: Sequence[CashActivity]) -> Iterator[Sequence[CashActivity]]:
    if len(candidates) > TRIED_TOGETHER_MAX:
        yield from ((each,) for each in candidates)
        yield candidates
        return
    for count in range(1, len(candidates) + 1):
        yield from combinations(candidates, count)


def _is_room(some: Iterable[CashActivity], books: Books) -> bool:
    """Whether what the import cannot have had in is no more than overwrites have left unexplained."""
    needed = _sum(each for each in some if not _in_opening(each, books))
    return not needed or (needed * books.unexplained > 0 and abs(needed) <= abs(books.unexplained))


def _sum(some: Iterable[CashActivity]) -> Decimal:
    return sum((each.amount for each in some), ZERO)


def _may_be_late(activity: CashActivity, books: Books) -> bool:
    return books.opened and (_in_opening(activity, books) or activity.amount * books.unexplained > 0)


def _in_opening(activity: CashActivity, books: Books) -> bool:
    return books.opened_on is not None and activity.day <= books.opened_on
