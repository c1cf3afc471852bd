"""How much of the book is at risk, with every working order counted as if filled at its worst price."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from operator import attrgetter

from schemas.risk import Exposure

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Totals:
    """One ticker, over all strategies or one. Shares, and US dollars at worst prices."""

    held: Decimal = ZERO
    """Signed; strategies net, as they do at the broker."""
    mark: Decimal = ZERO
    """US dollars a share: the highest where rows differ."""
    buys: Decimal = ZERO
    sells: Decimal = ZERO
    unpriced: int = 0
    """Others' open orders that are in no sum, because nobody can say what they are worth."""

    def at_risk(self, buys: Decimal = ZERO, sells: Decimal = ZERO) -> Decimal:
        """US dollars if only the buys fill, or only the sells, whichever is more; an order may be added.

        A working sell never counts as relief: it may not fill.
        """
        value = self.held * self.mark
        return max(value + self.buys + buys, self.sells + sells - value)


@dataclass(frozen=True, slots=True)
class Book:
    """What a ticker's order is measured against. Built once for a decision, exact inside ``exact()``."""

    ticker: Totals
    strategy: Totals
    """The same ticker in the order's own strategy."""
    other_tickers: Decimal
    """US dollars at risk elsewhere in the account."""
    strategys_other_tickers: Decimal
    closable: Decimal
    """Shares of the ticker that may still be sold: held over the whole account less its working sells."""
    coverable: Decimal
    """Shares of the ticker that may still be bought back: short over the whole account less its working buys."""
    unpriced: int = 0
    """Others' open orders of unknown worth, in the whole account."""

    def gross(self, buys: Decimal = ZERO, sells: Decimal = ZERO) -> Decimal:
        """US dollars at risk in the whole account, with an order on the ticker added."""
        return self.other_tickers + self.ticker.at_risk(buys, sells)

    def of_strategy(self, buys: Decimal = ZERO, sells: Decimal = ZERO) -> Decimal:
        """US dollars at risk in what the strategy holds and has working, with an order added."""
        return self.strategys_other_tickers + self.strategy.at_risk(buys, sells)


def book(exposures: Iterable[Exposure], ticker: str, strategy: str) -> Book:
    """Sum up the account's rows for an order of ``strategy`` on ``ticker``."""
    here = own_here = Totals()
    elsewhere = own_elsewhere = closable = coverable = ZERO
    unpriced = 0
    by_ticker = attrgetter("ticker")
    for name, group in groupby(sorted(exposures, key=by_ticker), by_ticker):
        rows = list(group)
        unpriced += sum(row.unpriced_orders for row in rows)
        own = [row for row in rows if row.strategy == strategy]
        if name == ticker:
            here, own_here = _totals(rows), _totals(own)
            closable = sum((row.held - row.reserved_sell for row in rows), ZERO)
            coverable = sum((-row.held - row.reserved_buy for row in rows), ZERO)
        else:
            elsewhere += _totals(rows).at_risk()
            if own:
                own_elsewhere += _totals(own).at_risk()
    return Book(here, own_here, elsewhere, own_elsewhere, closable, coverable, unpriced)


def _totals(rows: Iterable[Exposure]) -> Totals:
    held = mark = buys = sells = ZERO
    unpriced = 0
    for row in rows:
        unpriced += row.unpriced_orders
        held += row.held
        mark = max(mark, row.mark)
        buys += row.reserved_buy_notional
        sells += row.reserved_sell_notional
    return Totals(held, mark, buys, sells, unpriced)
