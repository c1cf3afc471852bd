"""How much of the book is at risk, with every working order counted as if filled at its worst price."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal

from schemas.risk import Exposure

ZERO = Decimal(0)


def worst_case(held_value: Decimal, buys: Decimal, sells: Decimal) -> Decimal:
    """US dollars at risk in one ticker if only its buys fill, or only its sells, whichever is more.

    A working sell never counts as relief: it may not fill. ``held_value`` is signed.
    """
    return max(held_value + buys, sells - held_value)


def ticker_exposure(rows: Iterable[Exposure], buys: Decimal = ZERO, sells: Decimal = ZERO) -> Decimal:
    """One ticker over all strategies (they net at the broker), with ``buys`` and ``sells`` dollars added.

    Where strategies carry different marks the highest counts for the net quantity.
    """
    held, mark = ZERO, ZERO
    for row in rows:
        held += row.held
        mark = max(mark, row.mark)
        buys += row.reserved_buy_notional
        sells += row.reserved_sell_notional
    return worst_case(held * mark, buys, sells)


def gross_exposure(
    exposures: Iterable[Exposure], ticker: str, buys: Decimal = ZERO, sells: Decimal = ZERO
) -> Decimal:
    """Sum over tickers of ``ticker_exposure``, with an order on ``ticker`` added."""
    by_ticker: defaultdict[str, list[Exposure]] = defaultdict(list)
    by_ticker[ticker] = []
    for row in exposures:
        by_ticker[row.ticker].append(row)
    return sum(
        (
            ticker_exposure(rows, buys, sells) if name == ticker else ticker_exposure(rows)
            for name, rows in by_ticker.items()
        ),
        ZERO,
    )


def strategy_exposure(
    exposures: Iterable[Exposure], strategy: str, ticker: str, buys: Decimal = ZERO, sells: Decimal = ZERO
) -> Decimal:
    """``gross_exposure`` of what one strategy holds and has working."""
    own = [row for row in exposures if row.strategy == strategy]
    return gross_exposure(own, ticker, buys, sells)


def closable(exposures: Sequence[Exposure], ticker: str) -> Decimal:
    """Shares of ``ticker`` that may still be sold: held over the whole account less its working sells."""
    return sum((row.held - row.reserved_sell for row in exposures if row.ticker == ticker), ZERO)
