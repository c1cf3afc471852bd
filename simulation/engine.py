"""The exchange's decisions: commands in, book events out. Pure: time, quotes and ids are given to it."""

import heapq
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from simulation import errors
from simulation.account_rules import buying_power, check_account, check_configuration, check_wash_trade
from simulation.book import Book
from simulation.core import Core
from simulation.events import (
    AccountAdjusted,
    AccountConfiguration,
    AccountConfigured,
    DayStarted,
    EquityMarked,
    ExecutionBusted,
    ExecutionCorrected,
    OrderChanges,
)
from simulation.ids import Ids, activity_id
from simulation.market import Asset, Market, UnknownSymbol
from simulation.order_making import expires_at, make_legs, make_order
from simulation.order_request import OrderRequest
from simulation.order_rules import (
    check_asset,
    check_fields,
    check_group_prices,
    check_stop_side,
    check_window,
)
from simulation.orders import ZERO, Order
from simulation.replacing import Replacement, as_request, check_replaceable, replaced_order
from simulation.sessions import Phase, Sessions
from simulation.venue import Venue


class Engine(Core):
    """Takes the account's commands and lets time pass; everything it does is in ``drain()``."""

    def __init__(self, book: Book, market: Market, sessions: Sessions, ids: Ids, *, limited: bool) -> None:
        super().__init__(book, market, sessions, ids)
        self.venue = Venue(self, limited=limited)

    def submit(self, request: OrderRequest, now: datetime) -> Order:
        """Accept a new order, or raise Refusal; nothing is stored about a refused one."""
        check_fields(request)
        check_configuration(self.book, request)
        if request.client_order_id in self.book.by_client_order_id:
            raise errors.duplicate_client_order_id()
        asset = self._listed(request.symbol)
        check_asset(request, asset.settings)
        check_window(request, now, self.sessions.current_or_last(now).close)
        price = self.market_price(asset.symbol, request.side, now)
        check_stop_side(request, price)
        check_group_prices(request, price)
        check_wash_trade(self.book, request)
        power = buying_power(self.book, self.value(now))
        allowed = check_account(self.book, request, asset.settings, buying_power=power, price=price)
        order = make_order(
            request,
            allowed,
            symbol=asset.symbol,
            market_price=price,
            ids=self.ids,
            sessions=self.sessions,
            now=now,
            works_now=self.works_now(now, extended=request.extended_hours),
        )
        self.create(order, now)
        if request.order_class:
            for leg in make_legs(order, request, self.ids):
                self.create(leg, now)
        return order

    def replace(self, order_id: str, wanted: Replacement, now: datetime) -> Order:
        """Ask the venue to put a new order in an old one's place; returns the new one, or raises Refusal.

        A fill of the old order may win: then the new one is rejected.
        """
        old = self.book.orders[order_id]
        check_replaceable(old, wanted)
        if wanted.client_order_id in self.book.by_client_order_id:
            raise errors.duplicate_client_order_id()
        new = replaced_order(old, wanted)
        request, asset = as_request(new), self.market.assets[old.symbol]
        price = self.market_price(old.symbol, old.side, now)
        if wanted.stop_price is not None:
            check_stop_side(request, price)
        check_wash_trade(self.book, request)
        if old.status != "held":
            power = buying_power(self.book, self.value(now))
            allowed = check_account(
                self.book, request, asset.settings, buying_power=power, price=price, replacing=old
            )
            new = new.changed(now, {"reserve_price": allowed.reserve_price})
        if wanted.time_in_force is not None:
            until = expires_at(self.sessions, new.time_in_force, now, extended=new.extended_hours)
            new = new.changed(now, {"expires_at": until})
        successor = new.as_successor(
            order_id=self.ids.uuid(),
            client_order_id=wanted.client_order_id or self.ids.uuid(),
            expires_at=new.expires_at,
            now=now,
        )
        if old.status == "held":
            self.create(successor, now)
            self.venue.retire(old, successor, now)
            return successor
        # Until the venue has answered, the dearer of the two counts against buying power.
        dearer = max(old.reserved, new.leaves_qty * new.reserve_price)
        changes: OrderChanges = {"status": "pending_replace", "reserve_price": dearer / old.leaves_qty}
        self.change(old.id, "pending_replace", now, changes)
        self.create(successor, now)
        return successor

    def request_cancel(self, order_id: str, now: datetime) -> None:
        """Ask the venue to cancel; the outcome comes later and a fill may win.

        Raises Refusal if the order has ended or is being replaced.
        """
        order = self.book.orders[order_id]
        if not order.is_open:
            raise errors.unprocessable(f'order is already in "{order.status}" state')
        if order.status == "pending_replace" or order.is_replacing:
            raise errors.unprocessable("cannot cancel order in pending_replace status")
        if order.status == "held":
            # The venue does not know it yet: nothing to wait for.
            self.change(order_id, "canceled", now, {"status": "canceled", "canceled_at": now})
        elif order.status != "pending_cancel":
            changes: OrderChanges = {"status": "pending_cancel", "cancel_requested_at": now}
            self.change(order_id, "pending_cancel", now, changes)

    def cancel_now(self, order_id: str, now: datetime) -> None:
        """Cancel without the venue's delay, as liquidating everything does first."""
        self.change(order_id, "canceled", now, {"status": "canceled", "canceled_at": now})

    def configure(self, configuration: AccountConfiguration, now: datetime) -> None:
        """Note what the account's owner chose."""
        self.emit(AccountConfigured(now, configuration))

    def adjust(self, now: datetime, **moved: Any) -> None:
        """Move shares or cash without a trade; the fields are those of ``AccountAdjusted``."""
        self.emit(AccountAdjusted(now, activity_id(now, self.ids.uuid()), **moved))

    def bust(self, execution_id: str, now: datetime, *, told: bool) -> None:
        """Take an execution back. Raises LookupError if there is none."""
        order_id = self.book.execution(execution_id).order_id
        self.emit(
            ExecutionBusted(now, self.ids.ulid(now), order_id, execution_id, self.ids.uuid(), told=told)
        )

    def correct(
        self, execution_id: str, now: datetime, *, qty: Decimal | None, price: Decimal | None, told: bool
    ) -> None:
        """Put another quantity or price in an execution's place.

        Raises LookupError if there is none, ValueError if the order would have more filled than it is for.
        """
        gone = self.book.execution(execution_id)
        order = self.book.orders[gone.order_id]
        new_qty = gone.qty if qty is None else qty
        if order.qty is not None and order.filled_qty - gone.qty + new_qty > order.qty:
            raise ValueError(f"the order is for {order.qty} shares")
        correction_id = self.ids.uuid()
        self.emit(
            ExecutionCorrected(
                at=now,
                event_id=self.ids.ulid(now),
                order_id=order.id,
                execution_id=execution_id,
                correction_id=correction_id,
                activity_id=activity_id(now, correction_id),
                qty=new_qty,
                price=gone.price if price is None else price,
                told=told,
            )
        )

    def advance(self, now: datetime) -> None:
        """Let time pass: new day, expiries, release of orders queued for a session."""
        self._start_day(now)
        while self.expiries and self.expiries[0][0] <= now:
            _, order_id = heapq.heappop(self.expiries)
            if self.book.orders[order_id].is_open:
                self._expire(self.book.orders[order_id], now)
        phase = self.sessions.phase(now)
        if phase is not Phase.CLOSED:
            self._mark_equity(now)
            for order_id in list(self.queued):
                if self.works_now(now, extended=self.book.orders[order_id].extended_hours):
                    self.change(order_id, "pending_new", now, {"status": "pending_new"})

    def _listed(self, symbol: str) -> Asset:
        try:
            return self.market.asset(symbol)
        except UnknownSymbol:
            raise errors.unprocessable(f'asset "{symbol}" not found') from None

    def _expire(self, order: Order, now: datetime) -> None:
        if order.time_in_force == "cls" and order.is_working:
            self.venue.match_at_close(order, now)
            order = self.book.orders[order.id]
        if not order.is_open:
            return
        if order.time_in_force == "gtc":
            self.change(order.id, "pending_cancel", now, {"status": "pending_cancel"})
        elif order.time_in_force == "day":
            self.change(order.id, "expired", now, {"status": "expired", "expired_at": now})
        else:
            self.change(order.id, "canceled", now, {"status": "canceled", "canceled_at": now})

    def _start_day(self, now: datetime) -> None:
        session = self.sessions.current_or_last(now)
        if self.book.day is not None and session.day <= self.book.day:
            return
        evening = self.sessions.last_active(session.pre_open - timedelta(seconds=1))
        marks = {symbol: self.mark(symbol, evening) for symbol in self.market.assets}
        held = sum((position.qty * marks[symbol] for symbol, position in self.book.positions.items()), ZERO)
        self.emit(DayStarted(now, session.day, self.book.cash + held, marks))

    def _mark_equity(self, now: datetime) -> None:
        minute = now.replace(second=0, microsecond=0)
        if not self.book.equity_marks or self.book.equity_marks[-1][0] < minute:
            self.emit(EquityMarked(minute, self.book.cash + self.value(now).net))
