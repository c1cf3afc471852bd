"""What the positions are worth, kept up to date instead of counted anew for every order."""

from dataclasses import dataclass
from decimal import Decimal

from simulation.book import Book
from simulation.market import MARK_GOOD_FOR_NS, Market
from simulation.orders import ZERO


@dataclass(frozen=True, slots=True)
class MarketValue:
    """US dollars in long and in short positions; the second is negative or zero."""

    long: Decimal = ZERO
    short: Decimal = ZERO

    @property
    def net(self) -> Decimal:
        return self.long + self.short

    @property
    def gross(self) -> Decimal:
        return self.long - self.short


class Valuation:
    """Values every position once a second, and between that only the ones that changed."""

    def __init__(self, book: Book, market: Market) -> None:
        self._book = book
        self._market = market
        self._values: dict[str, Decimal] = {}
        self._touched: set[str] = set()
        self._valued_ns = 0
        self._market_changes = -1
        self._total = MarketValue()

    def touch(self, symbol: str) -> None:
        """Note that a position changed."""
        self._touched.add(symbol)

    def at(self, now_ns: int) -> MarketValue:
        """The value at that moment, by marks at most a second old."""
        recent = self._valued_ns <= now_ns < self._valued_ns + MARK_GOOD_FOR_NS
        if not recent or self._market_changes != self._market.changes:
            self._valued_ns, self._market_changes = now_ns, self._market.changes
            self._values.clear()
            self._total = MarketValue()
            self._touched = set(self._book.positions)
        for symbol in self._touched:
            self._revalue(symbol, now_ns)
        self._touched.clear()
        return self._total

    def _revalue(self, symbol: str, now_ns: int) -> None:
        qty = self._book.position_qty(symbol)
        before = self._values.pop(symbol, ZERO)
        after = qty * self._market.mark(symbol, now_ns) if qty else ZERO
        if qty:
            self._values[symbol] = after
        self._total = MarketValue(
            self._total.long - max(before, ZERO) + max(after, ZERO),
            self._total.short - min(before, ZERO) + min(after, ZERO),
        )
