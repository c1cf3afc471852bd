"""What every decision is made of: the book, the market at a moment, and one way to let something happen."""

import heapq
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from simulation import groups
from simulation.book import Book
from simulation.events import (
    AccountAdjusted,
    BookEvent,
    ExecutionBusted,
    ExecutionCorrected,
    OrderChanged,
    OrderChanges,
    OrderCreated,
    OrderExecuted,
)
from simulation.ids import Ids
from simulation.market import Market
from simulation.orders import ZERO, Order, Side, order_json
from simulation.sessions import Phase, Sessions
from simulation.trade_update_view import bust_update, correction_update, trade_update
from simulation.valuation import MarketValue, Valuation
from simulation.wire import to_ns


@dataclass(frozen=True, slots=True)
class Emitted:
    """An event with the trade update it causes, None if nobody is told."""

    event: BookEvent
    update: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class FollowUp:
    """What the venue will do next about an order, after its latency: acknowledge or confirm_cancel."""

    action: str
    order_id: str


class Core:
    """Applies events to the book and keeps them for ``drain``; knows what time and venue still owe."""

    def __init__(self, book: Book, market: Market, sessions: Sessions, ids: Ids) -> None:
        self.book = book
        self.market = market
        self.sessions = sessions
        self.ids = ids
        # Orders waiting for a session, and when each open order ends at the latest.
        self.queued: dict[str, None] = {}
        self.expiries: list[tuple[datetime, str]] = []
        self._valuation = Valuation(book, market)
        self._emitted: list[Emitted] = []
        self._follow_ups: list[FollowUp] = []
        for order_id in book.open_ids:
            self._watch(book.orders[order_id])

    def drain(self) -> tuple[list[Emitted], list[FollowUp]]:
        """Everything that happened since the last call, and what the venue still owes."""
        emitted, self._emitted = self._emitted, []
        follow_ups, self._follow_ups = self._follow_ups, []
        return emitted, follow_ups

    def emit(self, event: BookEvent) -> None:
        if isinstance(event, ExecutionBusted | ExecutionCorrected):
            self._amend(event)
            return
        self.book.apply(event)
        if isinstance(event, AccountAdjusted) and event.symbol is not None:
            self._valuation.touch(event.symbol)
        if isinstance(event, OrderCreated):
            order = self.book.orders[event.order.id]
        elif isinstance(event, OrderChanged | OrderExecuted):
            order = self.book.orders[event.order_id]
        else:
            self._emitted.append(Emitted(event, None))
            return
        if isinstance(event, OrderExecuted):
            self._valuation.touch(order.symbol)
        position = self.book.position_qty(order.symbol)
        self._emitted.append(Emitted(event, trade_update(event, order, self.wire_order(order), position)))
        if not isinstance(event, OrderChanged) or "status" in event.changes:
            self._watch(order, created=isinstance(event, OrderCreated))
            groups.after(self, order, event.at)

    def _amend(self, event: ExecutionBusted | ExecutionCorrected) -> None:
        gone = self.book.execution(event.execution_id)
        self.book.apply(event)
        self._valuation.touch(gone.symbol)
        order = self.book.orders[event.order_id]
        update, position = None, self.book.position_qty(gone.symbol)
        if event.told and isinstance(event, ExecutionBusted):
            update = bust_update(event, gone, self.wire_order(order), position)
        elif event.told and isinstance(event, ExecutionCorrected):
            update = correction_update(event, self.wire_order(order), position)
        self._emitted.append(Emitted(event, update))

    def change(
        self,
        order_id: str,
        event: str,
        now: datetime,
        changes: OrderChanges,
        execution_id: str | None = None,
    ) -> None:
        self.emit(OrderChanged(now, self.ids.ulid(now), event, order_id, changes, execution_id))

    def create(self, order: Order, now: datetime) -> None:
        self.emit(OrderCreated(now, self.ids.ulid(now), order.status, order))

    def value(self, now: datetime) -> MarketValue:
        return self._valuation.at(to_ns(now))

    def mark(self, symbol: str, now: datetime) -> Decimal:
        return self.market.mark(symbol, to_ns(now))

    def market_price(self, symbol: str, side: Side, now: datetime) -> Decimal:
        """What a market order of that side would meet now; the last mark if nobody is there."""
        quote = self.market.quote(symbol, to_ns(now))
        touch = ZERO if quote is None else (quote.ask if side == "buy" else quote.bid)
        return touch or self.market.mark(symbol, to_ns(now))

    def works_now(self, now: datetime, *, extended: bool) -> bool:
        """Whether an order of that kind can trade in the session running now."""
        phase = self.sessions.phase(now)
        return phase is Phase.REGULAR or (phase is not Phase.CLOSED and extended)

    def wire_order(self, order: Order, *, nested: bool = False) -> dict[str, Any]:
        """The broker's order object, with its legs rolled up if ``nested``."""
        legs = None
        if nested and order.id in self.book.children:
            legs = [self.wire_order(self.book.orders[child]) for child in self.book.children[order.id]]
        return order_json(order, self.market.assets[order.symbol].id, legs)

    def _watch(self, order: Order, *, created: bool = True) -> None:
        """Note what time or the venue will do to this order."""
        self.queued.pop(order.id, None)
        if not order.is_open:
            return
        if created:
            heapq.heappush(self.expiries, (order.expires_at, order.id))
        if order.status == "accepted":
            self.queued[order.id] = None
        elif order.status == "pending_new":
            self._follow_ups.append(FollowUp("acknowledge", order.id))
        elif order.status == "pending_cancel":
            self._follow_ups.append(FollowUp("confirm_cancel", order.id))
