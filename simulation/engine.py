"""The exchange's decisions: commands in, book events out. Pure: time, quotes and ids are given to it."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Any

from simulation import errors
from simulation.account_rules import check_account, check_wash_trade
from simulation.book import Book
from simulation.events import (
    BookEvent,
    DayStarted,
    OrderChanged,
    OrderChanges,
    OrderCreated,
    OrderExecuted,
)
from simulation.ids import Ids, activity_id
from simulation.market import Asset, Market, UnknownSymbol
from simulation.matching import Displayed, Fill, is_triggered, match
from simulation.order_request import OrderRequest
from simulation.order_rules import check_asset, check_fields, check_window
from simulation.orders import ZERO, Order, Status, order_json
from simulation.quotes import Quote
from simulation.sessions import Phase, Sessions, at_new_york
from simulation.wire import NEW_YORK, plain, rfc3339, to_ns

GTC_LIFETIME = timedelta(days=90)
GTC_EXPIRY_TIME = time(16, 15)
# A buy stop goes to the venue as a stop-limit this far above its stop (protocol page, section 4).
BUY_STOP_COLLAR_BELOW_50 = Decimal("1.04")
BUY_STOP_COLLAR = Decimal("1.025")
FIFTY_DOLLARS = Decimal(50)


@dataclass(frozen=True, slots=True)
class Emitted:
    """An event with the trade update it causes, None if nobody is told."""

    event: BookEvent
    update: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class FollowUp:
    """What the venue will do next about an order, after its latency."""

    action: str
    order_id: str


class Engine:
    """Decides what happens to orders; everything it does is in ``drain()``."""

    def __init__(
        self,
        book: Book,
        market: Market,
        sessions: Sessions,
        ids: Ids,
        *,
        shorting_enabled: bool,
        limited: bool,
    ) -> None:
        self.book = book
        self.market = market
        self.sessions = sessions
        self.ids = ids
        self.shorting_enabled = shorting_enabled
        self._limited = limited
        self._displayed: dict[str, Displayed] = {}
        self._emitted: list[Emitted] = []
        self._follow_ups: list[FollowUp] = []
        self._expiries: list[tuple[datetime, str]] = []
        self._queued: dict[str, None] = {}
        self._resume()

    def _resume(self) -> None:
        for orders in self.book.open_by_symbol.values():
            for order_id in orders:
                order = self.book.orders[order_id]
                heapq.heappush(self._expiries, (order.expires_at, order_id))
                self._follow(order)

    def drain(self) -> tuple[list[Emitted], list[FollowUp]]:
        """Everything that happened since the last call, and what the venue still owes."""
        emitted, self._emitted = self._emitted, []
        follow_ups, self._follow_ups = self._follow_ups, []
        return emitted, follow_ups

    def marks(self, now: datetime) -> Callable[[str], Decimal]:
        now_ns = to_ns(now)
        return lambda symbol: self.market.mark(symbol, now_ns)

    # -- commands --

    def submit(self, request: OrderRequest, now: datetime) -> Order:
        """Accept a new order, or raise Refusal; nothing is stored about a refused one."""
        check_fields(request)
        if request.client_order_id in self.book.by_client_order_id:
            raise errors.duplicate_client_order_id()
        asset = self._listed(request.symbol)
        check_asset(request, asset.settings)
        check_window(request, now)
        price = self._market_price(asset.symbol, request.side, now)
        self._check_stop_side(request, price)
        check_wash_trade(self.book, request)
        allowed = check_account(
            self.book,
            request,
            asset.settings,
            self.marks(now),
            price=price,
            shorting_enabled=self.shorting_enabled,
        )
        order = self._new_order(request, asset, now, allowed.position_intent, allowed.reserve_price)
        self.emit(OrderCreated(now, self.ids.ulid(now), order.status, order))
        return order

    def acknowledge(self, order_id: str, now: datetime) -> None:
        """The venue takes the order to work; it may trade at once."""
        order = self.book.orders[order_id]
        if order.status != "pending_new":
            return
        status: Status = "partially_filled" if order.filled_qty else "new"
        self.change(order_id, "new", now, {"status": status}, execution_id=self.ids.uuid())
        self.match(order.symbol, now)
        order = self.book.orders[order_id]
        if order.is_open and order.time_in_force in ("ioc", "fok", "opg"):
            self.change(order_id, "canceled", now, {"status": "canceled", "canceled_at": now})

    def request_cancel(self, order_id: str, now: datetime) -> None:
        """Ask the venue to cancel; the outcome comes later and a fill may win.

        Raises Refusal if the order has ended.
        """
        order = self.book.orders[order_id]
        if not order.is_open:
            raise errors.unprocessable(f'order is already in "{order.status}" state')
        if order.status == "pending_replace":
            raise errors.unprocessable("cannot cancel order in pending_replace status")
        if order.status != "pending_cancel":
            changes: OrderChanges = {"status": "pending_cancel", "cancel_requested_at": now}
            self.change(order_id, "pending_cancel", now, changes)

    def confirm_cancel(self, order_id: str, now: datetime) -> None:
        """The venue's answer to a cancel request."""
        order = self.book.orders[order_id]
        if order.is_open:
            self.change(order_id, "canceled", now, {"status": "canceled", "canceled_at": now})
        elif order.status == "filled":
            self.change(order_id, "order_cancel_rejected", now, {})

    def match(self, symbol: str, now: datetime) -> None:
        """Trigger stops and execute whatever the current quote allows."""
        phase = self.sessions.phase(now)
        quote = self.market.quote(symbol, to_ns(now))
        if phase is Phase.CLOSED or quote is None:
            return
        working = [
            order
            for order in self.book.open_orders(symbol)
            if order.is_working and (phase is Phase.REGULAR or order.extended_hours)
        ]
        ready = [order for order in working if self._is_ready(order, quote, now)]
        for fill in match(ready, quote, self._left(quote)):
            self._execute(fill, now)

    def advance(self, now: datetime) -> None:
        """Let time pass: new day, expiries, release of orders queued for a session."""
        self._start_day(now)
        while self._expiries and self._expiries[0][0] <= now:
            _, order_id = heapq.heappop(self._expiries)
            self._expire(order_id, now)
        phase = self.sessions.phase(now)
        if phase is not Phase.CLOSED:
            self._release(phase, now)

    # -- steps others build on --

    def emit(self, event: BookEvent) -> None:
        self.book.apply(event)
        order = None
        if isinstance(event, OrderCreated):
            order = event.order
            heapq.heappush(self._expiries, (order.expires_at, order.id))
        elif isinstance(event, OrderChanged | OrderExecuted):
            order = self.book.orders[event.order_id]
        self._emitted.append(Emitted(event, None if order is None else self._update(event, order)))
        if isinstance(event, OrderCreated) or (isinstance(event, OrderChanged) and "status" in event.changes):
            assert order is not None
            self._follow(order)

    def change(
        self,
        order_id: str,
        event: str,
        now: datetime,
        changes: OrderChanges,
        execution_id: str | None = None,
    ) -> None:
        self.emit(OrderChanged(now, self.ids.ulid(now), event, order_id, changes, execution_id))

    def wire_order(self, order: Order, *, nested: bool = False) -> dict[str, Any]:
        """The broker's order object, with its legs rolled up if ``nested``."""
        legs = None
        if nested and order.id in self.book.children:
            legs = [self.wire_order(self.book.orders[child]) for child in self.book.children[order.id]]
        return order_json(order, self.market.assets[order.symbol].id, legs)

    # -- inside --

    def _follow(self, order: Order) -> None:
        self._queued.pop(order.id, None)
        if order.status == "accepted":
            self._queued[order.id] = None
        elif order.status == "pending_new":
            self._follow_ups.append(FollowUp("acknowledge", order.id))
        elif order.status == "pending_cancel":
            self._follow_ups.append(FollowUp("confirm_cancel", order.id))

    def _listed(self, symbol: str) -> Asset:
        try:
            return self.market.asset(symbol)
        except UnknownSymbol:
            raise errors.unprocessable(f'asset "{symbol}" not found') from None

    def _market_price(self, symbol: str, side: str, now: datetime) -> Decimal:
        quote = self.market.quote(symbol, to_ns(now))
        touch = ZERO if quote is None else (quote.ask if side == "buy" else quote.bid)
        return touch or self.market.mark(symbol, to_ns(now))

    def _check_stop_side(self, request: OrderRequest, price: Decimal) -> None:
        if request.stop_price is None:
            return
        wrong = request.stop_price <= price if request.side == "buy" else request.stop_price >= price
        if wrong:
            word = "greater" if request.side == "buy" else "less"
            raise errors.unprocessable(
                f"stop price must be {word} than current price",
                market_price=plain(price),
                stop_price=plain(request.stop_price),
            )

    def _new_order(
        self, request: OrderRequest, asset: Asset, now: datetime, intent: Any, reserve_price: Decimal
    ) -> Order:
        phase = self.sessions.phase(now)
        tradable_now = phase is Phase.REGULAR or (phase is not Phase.CLOSED and request.extended_hours)
        order_type, limit = request.type, request.limit_price
        if order_type == "stop" and request.side == "buy" and request.stop_price is not None:
            order_type, limit = "stop_limit", _buy_stop_limit(request.stop_price)
        return Order(
            id=self.ids.uuid(),
            client_order_id=request.client_order_id or self.ids.uuid(),
            symbol=asset.symbol,
            side=request.side,
            type=order_type,
            time_in_force=request.time_in_force,
            position_intent=intent,
            status="pending_new" if tradable_now else "accepted",
            created_at=now,
            submitted_at=now,
            updated_at=now,
            expires_at=self._expires_at(request, now),
            reserve_price=reserve_price,
            qty=request.qty,
            notional=request.notional,
            limit_price=limit,
            stop_price=request.stop_price,
            trail_price=request.trail_price,
            trail_percent=request.trail_percent,
            extended_hours=request.extended_hours,
            order_class=request.order_class,
        )

    def _expires_at(self, request: OrderRequest, now: datetime) -> datetime:
        if request.time_in_force == "gtc":
            return at_new_york((now + GTC_LIFETIME).astimezone(NEW_YORK).date(), GTC_EXPIRY_TIME)
        session = self.sessions.order_session(now, extended=request.extended_hours)
        return session.post_close if request.extended_hours else session.close

    def _left(self, quote: Quote) -> Displayed:
        displayed = self._displayed.get(quote.symbol)
        if displayed is None or displayed.version != quote.version:
            displayed = self._displayed[quote.symbol] = Displayed.of(quote, limited=self._limited)
        return displayed

    def _is_ready(self, order: Order, quote: Quote, now: datetime) -> bool:
        if order.stop_price is None or order.triggered:
            return True
        if not is_triggered(order, quote):
            return False
        self.change(order.id, "", now, {"triggered": True})
        return True

    def _execute(self, fill: Fill, now: datetime) -> None:
        order = self.book.orders[fill.order.id]
        execution_id = self.ids.uuid()
        if fill.complete:
            status: Status = "filled"
        elif order.status in ("pending_cancel", "pending_replace"):
            status = order.status
        else:
            status = "partially_filled"
        self.emit(
            OrderExecuted(
                at=now,
                event_id=self.ids.ulid(now),
                order_id=order.id,
                execution_id=execution_id,
                activity_id=activity_id(now, execution_id),
                qty=fill.qty,
                price=fill.price,
                status=status,
            )
        )

    def _expire(self, order_id: str, now: datetime) -> None:
        order = self.book.orders[order_id]
        if not order.is_open:
            return
        if order.expires_at > now:
            heapq.heappush(self._expiries, (order.expires_at, order_id))
        elif order.time_in_force == "gtc":
            self.change(order_id, "pending_cancel", now, {"status": "pending_cancel"})
        elif order.time_in_force == "day":
            self.change(order_id, "expired", now, {"status": "expired", "expired_at": now})
        else:
            self.change(order_id, "canceled", now, {"status": "canceled", "canceled_at": now})

    def _release(self, phase: Phase, now: datetime) -> None:
        for order_id in list(self._queued):
            if phase is Phase.REGULAR or self.book.orders[order_id].extended_hours:
                self.change(order_id, "pending_new", now, {"status": "pending_new"})

    def _start_day(self, now: datetime) -> None:
        session = self.sessions.current_or_last(now)
        if self.book.day is not None and session.day <= self.book.day:
            return
        evening = self.marks(self.sessions.last_active(session.pre_open - timedelta(seconds=1)))
        marks = {symbol: evening(symbol) for symbol in self.market.assets}
        self.emit(DayStarted(now, session.day, self.book.equity(evening), marks))

    def _update(self, event: BookEvent, order: Order) -> dict[str, Any] | None:
        """The data of the trade update, without the moment of publishing."""
        if isinstance(event, OrderExecuted):
            name = "fill" if event.status == "filled" else "partial_fill"
            execution: dict[str, Any] = {
                "execution_id": event.execution_id,
                "price": plain(event.price),
                "qty": plain(event.qty),
                "position_qty": plain(self.book.position_qty(order.symbol)),
            }
        elif isinstance(event, OrderCreated | OrderChanged):
            name = event.event
            execution_id = event.execution_id if isinstance(event, OrderChanged) else None
            execution = {"execution_id": execution_id, "price": None, "qty": None, "position_qty": None}
        else:
            return None
        if not name:
            return None
        requested = order.cancel_requested_at
        wire = self.wire_order(order) | {"cancel_requested_at": rfc3339(requested) if requested else None}
        at = rfc3339(event.at)
        return {"event_id": event.event_id, "event": name, "timestamp": at, **execution, "order": wire}


def _buy_stop_limit(stop: Decimal) -> Decimal:
    collar = BUY_STOP_COLLAR_BELOW_50 if stop < FIFTY_DOLLARS else BUY_STOP_COLLAR
    grid = Decimal("0.01") if stop >= 1 else Decimal("0.0001")
    return (stop * collar).quantize(grid, rounding=ROUND_CEILING)
