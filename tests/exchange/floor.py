"""The engine alone, on a hand-driven clock and hand-set quotes: no server, no file, no waiting."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from simulation.book import Book
from simulation.core import Emitted, FollowUp
from simulation.engine import Engine
from simulation.errors import Refusal
from simulation.events import AccountOpened
from simulation.ids import Ids
from simulation.market import Market
from simulation.order_request import parse_order
from simulation.orders import Order
from simulation.replacing import parse_replacement
from simulation.sessions import CalendarSessions, Sessions
from simulation.settings import SymbolSettings
from simulation.wire import to_ns
from tests.exchange.conftest import MONDAY_TEN

SYMBOLS = tuple(SymbolSettings(symbol=name, price=Decimal(100)) for name in ("AAPL", "MSFT"))


class Floor:
    """Commands at ``now``; the venue answers when ``settle`` is called."""

    def __init__(
        self, now: datetime = MONDAY_TEN, *, sessions: Sessions | None = None, limited: bool = True
    ) -> None:
        self.now = now
        self.sessions = sessions or CalendarSessions()
        self.market = Market(SYMBOLS, self.sessions, seed=7, opened_at=now)
        self.events: list[Emitted] = []
        self.owed: list[FollowUp] = []
        self.book = Book()
        opened = AccountOpened(now, "account", "PA1", Decimal(100_000), 4)
        self.book.apply(opened)
        self.events.append(Emitted(opened, None))
        self.engine = Engine(self.book, self.market, self.sessions, Ids(), limited=limited)
        for symbol in ("AAPL", "MSFT"):
            self.quote(symbol, "99.98", "100.02")
        self.advance()

    def quote(self, symbol: str, bid: str, ask: str, bid_size: int = 1_000, ask_size: int = 1_000) -> None:
        self.now += timedelta(microseconds=1)
        prices = {"bid": Decimal(bid), "ask": Decimal(ask)}
        self.market.set_quote(symbol, to_ns(self.now), **prices, bid_size=bid_size, ask_size=ask_size)
        self.engine.venue.match(symbol, self.now)
        self.collect()

    def submit(self, symbol: str = "AAPL", **fields: Any) -> Order:
        body = {
            "symbol": symbol,
            "qty": "10",
            "side": "buy",
            "type": "market",
            "time_in_force": "day",
        } | fields
        self.now += timedelta(microseconds=1)
        order = self.engine.submit(parse_order(body), self.now)
        self.collect()
        return order

    def working(self, symbol: str = "AAPL", **fields: Any) -> Order:
        """Submit and let the venue answer."""
        order = self.submit(symbol, **fields)
        self.settle()
        return self.order(order)

    def cancel(self, order: Order) -> None:
        self.engine.request_cancel(order.id, self.now)
        self.collect()

    def replace(self, order: Order, **fields: Any) -> Order:
        self.now += timedelta(microseconds=1)
        new = self.engine.replace(order.id, parse_replacement(fields), self.now)
        self.collect()
        return new

    def settle(self) -> None:
        """Let the venue do everything it owes."""
        while self.owed:
            follow_up = self.owed.pop(0)
            answer = getattr(self.engine.venue, follow_up.action)
            answer(follow_up.order_id, self.now)
            self.collect()

    def advance(self, to: datetime | None = None) -> None:
        """Let time pass to that moment, and settle."""
        self.now = to or self.now
        self.engine.advance(self.now)
        self.collect()
        self.settle()

    def collect(self) -> None:
        emitted, follow_ups = self.engine.drain()
        self.events += emitted
        self.owed += follow_ups

    def order(self, order: Order) -> Order:
        return self.book.orders[order.id]

    def names(self, order: Order) -> list[str]:
        """Trade updates of one order, in order."""
        updates = [item.update for item in self.events if item.update is not None]
        return [update["event"] for update in updates if update["order"]["id"] == order.id]


def refused(call: Callable[[], object]) -> Refusal:
    try:
        call()
    except Refusal as refusal:
        return refusal
    raise AssertionError("nothing was refused")
