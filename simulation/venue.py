"""The venue's side: it acknowledges, matches, cancels and replaces, in its own time."""

from datetime import datetime

from simulation import groups
from simulation.account_rules import reserve_price
from simulation.core import Core
from simulation.events import OrderChanges, OrderExecuted
from simulation.ids import activity_id
from simulation.matching import Displayed, Fill, match
from simulation.orders import Order, Status
from simulation.quotes import Quote
from simulation.replacing import as_request
from simulation.sessions import Phase
from simulation.stops import is_triggered, trail
from simulation.wire import from_ns, to_ns

# What is not filled when the venue has looked once does not wait.
_IMMEDIATE = ("ioc", "fok", "opg")


class Venue:
    """Works the orders of a core; ``limited``: fills take no more than the quote displays."""

    def __init__(self, core: Core, *, limited: bool) -> None:
        self._core = core
        self._limited = limited
        self._displayed: dict[str, Displayed] = {}

    def acknowledge(self, order_id: str, now: datetime) -> None:
        """The venue takes the order to work; it may trade at once."""
        order = self._core.book.orders[order_id]
        if order.status != "pending_new":
            return
        if order.is_replacing and not self._succeed(order, now):
            return
        status: Status = "partially_filled" if self._core.book.orders[order_id].filled_qty else "new"
        self._core.change(order_id, "new", now, {"status": status}, execution_id=self._core.ids.uuid())
        self.match(order.symbol, now)
        order = self._core.book.orders[order_id]
        if order.is_open and order.time_in_force in _IMMEDIATE:
            self._core.change(order_id, "canceled", now, {"status": "canceled", "canceled_at": now})

    def reject(self, order_id: str, now: datetime) -> None:
        """The venue refuses an order that was accepted before."""
        if self._core.book.orders[order_id].status == "pending_new":
            self._core.change(order_id, "rejected", now, {"status": "rejected", "failed_at": now})

    def confirm_cancel(self, order_id: str, now: datetime) -> None:
        """The venue's answer to a cancel request."""
        order = self._core.book.orders[order_id]
        if order.is_open:
            self._core.change(order_id, "canceled", now, {"status": "canceled", "canceled_at": now})
        elif order.status == "filled":
            self._core.change(order_id, "order_cancel_rejected", now, {})

    def match(self, symbol: str, now: datetime, quote: Quote | None = None) -> None:
        """Trigger stops and execute whatever the quote (default: the current one) allows."""
        phase = self._core.sessions.phase(now)
        quote = quote or self._core.market.quote(symbol, to_ns(now))
        if phase is Phase.CLOSED or quote is None:
            return
        if phase is Phase.REGULAR:
            groups.trigger(self._core, symbol, quote, now)
        for order in self._core.book.open_orders(symbol):
            moved = trail(order, quote) if order.is_working and phase is Phase.REGULAR else None
            if moved is not None:
                self._core.change(order.id, "", now, moved)
        ready = [
            order
            for order in self._core.book.open_orders(symbol)
            if order.is_working
            and order.time_in_force != "cls"
            and self._core.works_now(now, extended=order.extended_hours)
            and self._is_ready(order, quote, now)
        ]
        self._match(ready, quote, now)

    def match_at_close(self, order: Order, now: datetime) -> None:
        """Execute an on-close order against the last quote of its session."""
        quote = self._core.market.quote(order.symbol, to_ns(order.expires_at))
        if quote is not None:
            self._match([order], quote, now)

    def retire(self, old: Order, new: Order, now: datetime) -> None:
        """End the old order as replaced; what it had filled counts in the new one."""
        gone: OrderChanges = {"status": "replaced", "replaced_at": now, "replaced_by": new.id}
        self._core.change(old.id, "replaced", now, gone)
        carried: OrderChanges = {
            "took_over": True,
            "filled_qty": old.filled_qty,
            "filled_value": old.filled_value,
        }
        self._core.change(new.id, "", now, carried)
        for leg in list(self._core.book.children.get(old.id, ())):
            self._core.change(leg, "", now, {"parent_id": new.id})

    def _succeed(self, new: Order, now: datetime) -> bool:
        """Put a replacement in its predecessor's place, or reject it if that one filled or ended first."""
        assert new.replaces is not None
        old = self._core.book.orders[new.replaces]
        if old.status == "pending_replace" and new.qty is not None and old.filled_qty < new.qty:
            self.retire(old, new, now)
            return True
        self._core.change(new.id, "rejected", now, {"status": "rejected", "failed_at": now})
        back: OrderChanges = {}
        if old.status == "pending_replace":
            price = reserve_price(as_request(old), self._core.market_price(old.symbol, old.side, now))
            back = {"status": "partially_filled" if old.filled_qty else "new", "reserve_price": price}
        self._core.change(old.id, "order_replace_rejected", now, back)
        return False

    def _is_ready(self, order: Order, quote: Quote, now: datetime) -> bool:
        if order.stop_price is None or order.triggered:
            return True
        if self._core.sessions.phase(now) is not Phase.REGULAR or not is_triggered(order, quote):
            return False
        self._core.change(order.id, "", now, {"triggered": True})
        return True

    def _match(self, orders: list[Order], quote: Quote, now: datetime) -> None:
        displayed = self._displayed.get(quote.symbol)
        if displayed is None or displayed.version != quote.version:
            displayed = self._displayed[quote.symbol] = Displayed.of(quote, limited=self._limited)
        for fill in match(orders, quote, displayed):
            self._execute(fill, quote, now)

    def _execute(self, fill: Fill, quote: Quote, now: datetime) -> None:
        order = self._core.book.orders[fill.order.id]
        execution_id = self._core.ids.uuid()
        if fill.complete:
            status: Status = "filled"
        elif order.status in ("pending_cancel", "pending_replace"):
            status = order.status
        else:
            status = "partially_filled"
        self._core.emit(
            OrderExecuted(
                at=now,
                event_id=self._core.ids.ulid(now),
                order_id=order.id,
                execution_id=execution_id,
                activity_id=activity_id(now, execution_id),
                qty=fill.qty,
                price=fill.price,
                status=status,
                quote_at=from_ns(quote.t_ns),
            )
        )
