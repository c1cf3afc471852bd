"""Replacing: a new order takes an old one's place, if that still stands when the venue agrees."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from simulation import errors
from simulation.order_request import (
    OrderRequest,
    client_order_id_field,
    decimal_field,
    price_field,
)
from simulation.orders import ZERO, Order, TimeInForce
from simulation.stops import trailed_stop

_NOT_YET = ("accepted", "pending_new", "pending_cancel", "pending_replace")


@dataclass(frozen=True, slots=True)
class Replacement:
    """The fields a PATCH may change; None: as before."""

    qty: Decimal | None = None
    time_in_force: TimeInForce | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail: Decimal | None = None
    client_order_id: str | None = None


def parse_replacement(body: Mapping[str, Any]) -> Replacement:
    """Raises Refusal 422 for a field that cannot be read."""
    tif = body.get("time_in_force")
    if tif not in (None, "day", "gtc"):
        raise errors.invalid("invalid time_in_force")
    qty, trail = decimal_field(body, "qty"), decimal_field(body, "trail")
    if qty is not None and qty <= 0:
        raise errors.invalid("qty must be > 0")
    if trail is not None and trail <= 0:
        raise errors.invalid("trail must be > 0")
    return Replacement(
        qty=qty,
        time_in_force=tif,
        limit_price=price_field(body, "limit_price"),
        stop_price=price_field(body, "stop_price"),
        trail=trail,
        client_order_id=client_order_id_field(body),
    )


def check_replaceable(order: Order, wanted: Replacement) -> None:
    """Raises Refusal 422 if this order cannot be replaced, or not by this."""
    if order.status == "replaced":
        raise errors.unprocessable("order already replaced")
    if not order.is_open:
        raise errors.unprocessable(f'order is already in "{order.status}" state')
    if order.status in _NOT_YET:
        raise errors.unprocessable(f"cannot replace order in {order.status} status")
    if order.notional is not None:
        raise errors.unprocessable("notional orders cannot be replaced")
    if wanted.qty is not None and (wanted.qty % 1 or (order.qty or ZERO) % 1):
        raise errors.unprocessable("qty of fractional orders cannot be replaced")
    if wanted.qty is not None and order.order_class:
        # The orders of a group share one quantity; only their prices move.
        raise errors.unprocessable(f"qty of {order.order_class} orders cannot be replaced")
    if wanted.qty is not None and wanted.qty <= order.filled_qty:
        raise errors.unprocessable("qty must be > filled_qty")
    if wanted.limit_price is not None and order.limit_price is None:
        raise errors.invalid(f"{order.type} orders must not have a limit price")
    if wanted.stop_price is not None and order.type not in ("stop", "stop_limit"):
        raise errors.invalid(f"{order.type} orders must not have a stop price")
    if wanted.trail is not None and order.type != "trailing_stop":
        raise errors.invalid("trail is for trailing_stop orders only")


def replaced_order(old: Order, wanted: Replacement) -> Order:
    """The order as it would stand: the old one with the changes; ids and moments are not yet its own.

    ``qty`` is the whole quantity, and what was filled before counts in it (FIX cancel/replace).
    Raises Refusal 422 if nothing changes.
    """
    trail_price, trail_percent, stop = old.trail_price, old.trail_percent, wanted.stop_price or old.stop_price
    if wanted.trail is not None and old.hwm is not None:
        trail_price = wanted.trail if trail_price is not None else None
        trail_percent = wanted.trail if trail_percent is not None else None
        stop = trailed_stop(old.side, old.hwm, trail_price, trail_percent)
    new = replace(
        old,
        qty=wanted.qty or old.qty,
        time_in_force=wanted.time_in_force or old.time_in_force,
        limit_price=wanted.limit_price or old.limit_price,
        stop_price=stop,
        trail_price=trail_price,
        trail_percent=trail_percent,
    )
    if new == old:
        raise errors.unprocessable("order parameters are not changed")
    return new


def as_request(order: Order) -> OrderRequest:
    """What is left of the order as a request, for the rules an order of that kind has to pass."""
    return OrderRequest(
        symbol=order.symbol,
        side=order.side,
        type=order.type,
        time_in_force=order.time_in_force,
        qty=order.leaves_qty,
        limit_price=order.limit_price,
        stop_price=order.stop_price,
        trail_price=order.trail_price,
        trail_percent=order.trail_percent,
        extended_hours=order.extended_hours,
        order_class=order.order_class,
    )
