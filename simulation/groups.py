"""Advanced orders: what one order of a bracket, oco or oto does to the others.

A bracket's or oto's legs wait ``held`` until the entry is completely filled. Then the first leg goes to
work; a stop-loss beside a take-profit stays ``held`` until its price is touched, because one share cannot
be offered twice, and its trigger takes the take-profit out of the market. An oco is the second half of that
alone. The end of one order of a group without a fill is the end of all.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from simulation.book import Book
from simulation.events import OrderChanges
from simulation.orders import ZERO, Order
from simulation.quotes import Quote
from simulation.stops import is_triggered


class Changes(Protocol):
    """What groups need of the engine."""

    @property
    def book(self) -> Book: ...

    def change(self, order_id: str, event: str, now: datetime, changes: OrderChanges) -> None: ...


def after(engine: Changes, order: Order, now: datetime) -> None:
    """React to an order of a group that has just changed."""
    if not order.order_class:
        return
    if order.status == "filled":
        if _is_entry(order):
            _activate(engine, order, now)
        else:
            _cancel(engine, _others(engine.book, order), now)
    elif not order.is_open:
        if not _leaves_group_standing(order):
            _cancel(engine, [other for other in _others(engine.book, order) if not other.triggered], now)
    elif order.filled_qty and not _is_entry(order):
        _shrink(engine, order, now)


def trigger(engine: Changes, symbol: str, quote: Quote, now: datetime) -> list[Order]:
    """Send held stop-losses to work whose price is touched, their sibling leaving first; returns them."""
    triggered = []
    for order in engine.book.open_orders(symbol):
        if order.status != "held" or order.stop_price is None or not is_triggered(order, quote):
            continue
        if not _is_armed(engine.book, order):
            continue
        # Marked as triggered first, so that the sibling's end does not end it too.
        engine.change(order.id, "pending_new", now, {"status": "pending_new", "triggered": True})
        _cancel(engine, _others(engine.book, order), now)
        triggered.append(order)
    return triggered


def _is_entry(order: Order) -> bool:
    return order.parent_id is None and order.order_class != "oco"


def _leaves_group_standing(order: Order) -> bool:
    """A replaced order has a successor; a replacement that was refused never was part of the group."""
    return order.status == "replaced" or (order.status == "rejected" and order.replaces is not None)


def _others(book: Book, order: Order) -> list[Order]:
    parent_id = order.parent_id or order.id
    family = [parent_id, *book.children.get(parent_id, [])]
    return [book.orders[other] for other in family if other != order.id and book.orders[other].is_open]


def _is_armed(book: Book, leg: Order) -> bool:
    """Whether a held stop-loss guards something: its entry is filled, or its oco works."""
    parent = book.orders[leg.parent_id or leg.id]
    return parent.status == "filled" if _is_entry(parent) else parent.is_working


def _activate(engine: Changes, entry: Order, now: datetime) -> None:
    legs = [engine.book.orders[leg] for leg in engine.book.children.get(entry.id, [])]
    waiting = [leg for leg in legs if leg.status == "held"]
    if not waiting:
        return
    first = waiting[0]
    free = abs(engine.book.position_qty(entry.symbol)) - engine.book.held_qty(entry.symbol)
    if first.leaves_qty > free:
        # The shares were sold meanwhile: legs for shares that are gone would open the other way round.
        _cancel(engine, waiting, now)
    else:
        engine.change(first.id, "pending_new", now, {"status": "pending_new"})


def _shrink(engine: Changes, order: Order, now: datetime) -> None:
    """A partly filled take-profit leaves less to protect."""
    for other in _others(engine.book, order):
        if other.status == "held" and other.leaves_qty > order.leaves_qty > ZERO:
            engine.change(other.id, "restated", now, {"qty": order.leaves_qty})


def _cancel(engine: Changes, orders: Iterable[Order], now: datetime) -> None:
    for order in orders:
        if engine.book.orders[order.id].is_open:
            engine.change(order.id, "canceled", now, {"status": "canceled", "canceled_at": now})
