"""A trading day's profit or loss: what executions and journal moved, valued at the market. Exact."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

from risk.arithmetic import exact
from schemas.books import DayMoves, DayResult

ZERO: Final = Decimal(0)


def result_of(moves: DayMoves, then: Decimal | None, now: Decimal | None) -> Decimal | None:
    """Cash that moved + shares held now at ``now`` - shares carried into the day at ``then``, US dollars a share.

    None where a price that is needed is not known.
    """
    if (moves.carried and then is None) or (moves.quantity and now is None):
        return None
    with exact():
        worth = moves.quantity * (now or ZERO) - moves.carried * (then or ZERO)
        return moves.cash - moves.transferred + worth


def day_result(day: Iterable[DayMoves], then: Mapping[str, Decimal], now: Mapping[str, Decimal]) -> DayResult:
    """The whole account's. ``then`` and ``now``: prices by ticker at the close before the day, and now."""
    rows = list(day)
    results = [(row.ticker, result_of(row, then.get(row.ticker), now.get(row.ticker))) for row in rows]
    unpriced = tuple(sorted({ticker for ticker, result in results if result is None}))
    with exact():
        return DayResult(
            result=None if unpriced else sum((result or ZERO for _, result in results), ZERO),
            unexplained=sum((row.unexplained for row in rows), ZERO),
            transferred=sum((row.transferred for row in rows), ZERO),
            unpriced=unpriced,
        )
