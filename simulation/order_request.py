"""Reading an order request: JSON body in, typed request out, the broker's refusals for everything else."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, cast, get_args

from simulation import errors
from simulation.orders import OrderClass, OrderType, PositionIntent, Side, TimeInForce

CLIENT_ORDER_ID_MAX = 128
QTY_PLACES = Decimal("1e-9")
NUMBER_MAX = Decimal("1e12")
NOTIONAL_MIN = Decimal(1)
DOLLAR = Decimal(1)


@dataclass(frozen=True, slots=True)
class Leg:
    """take_profit or stop_loss of an advanced order."""

    limit_price: Decimal | None = None
    stop_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """What a client asks for; quantities in shares, money in US dollars. No side effects, no checks yet."""

    symbol: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    qty: Decimal | None = None
    notional: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    extended_hours: bool = False
    client_order_id: str | None = None
    order_class: OrderClass = ""
    take_profit: Leg | None = None
    stop_loss: Leg | None = None
    position_intent: PositionIntent | None = None


class _Float(Decimal):
    """A JSON number: it may carry binary float noise, which a JSON string cannot."""


def _no_constant(text: str) -> Any:
    raise errors.malformed()


def parse_json(body: bytes) -> dict[str, Any]:
    """The body as an object; JSON numbers become decimals, never floats.

    Raises Refusal 400 for anything but a JSON object.
    """
    try:
        value = json.loads(body, parse_float=_Float, parse_int=_Float, parse_constant=_no_constant)
    except (ValueError, RecursionError, InvalidOperation):
        raise errors.malformed() from None
    if not isinstance(value, dict):
        raise errors.malformed()
    return value


def decimal_field(body: Mapping[str, Any], name: str) -> Decimal | None:
    """A number given as JSON number or string; null and absence are None.

    Raises Refusal 422 if it is no finite number.
    """
    raw = body.get(name)
    if raw is None:
        return None
    if isinstance(raw, bool) or not isinstance(raw, str | Decimal):
        raise errors.invalid(f"invalid {name}")
    try:
        value = Decimal(raw)
    except InvalidOperation:
        raise errors.invalid(f"invalid {name}") from None
    if not value.is_finite() or abs(value) > NUMBER_MAX:
        raise errors.invalid(f"invalid {name}")
    if isinstance(raw, _Float):
        # A float of the client: 0.1 + 0.2 arrives with seventeen digits and means 0.3.
        value = value.quantize(QTY_PLACES)
    return value


def _choice(body: Mapping[str, Any], name: str, choices: tuple[Any, ...], message: str) -> Any:
    value = body.get(name)
    if value not in choices:
        raise errors.invalid(message)
    return value


def check_price(field: str, price: Decimal) -> None:
    """Refuse prices off the grid: two decimals from one dollar up, four below."""
    if price <= 0:
        raise errors.invalid(f"{field} must be > 0")
    grid = Decimal("0.01") if price >= DOLLAR else Decimal("0.0001")
    if price % grid:
        raise errors.sub_penny(field, price)


def price_field(body: Mapping[str, Any], name: str) -> Decimal | None:
    price = decimal_field(body, name)
    if price is not None:
        check_price(name, price)
    return price


def _quantity(body: Mapping[str, Any]) -> tuple[Decimal | None, Decimal | None]:
    qty, notional = decimal_field(body, "qty"), decimal_field(body, "notional")
    if qty is None and notional is None:
        raise errors.invalid("qty or notional is required")
    if qty is not None and notional is not None:
        raise errors.invalid("only one of qty or notional is accepted")
    if qty is not None and qty <= 0:
        raise errors.invalid("qty must be > 0")
    if qty is not None and qty % QTY_PLACES:
        raise errors.invalid("qty must be limited to 9 decimal places")
    if notional is not None and notional < NOTIONAL_MIN:
        raise errors.forbidden("cost basis must be >= minimal amount of order 1")
    return qty, notional


def client_order_id_field(body: Mapping[str, Any]) -> str | None:
    """The client's id, None if absent, null or empty. Raises Refusal 422 if it cannot be one."""
    value = body.get("client_order_id")
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise errors.invalid("invalid client_order_id")
    if len(value) > CLIENT_ORDER_ID_MAX:
        raise errors.invalid(f"client_order_id must be no more than {CLIENT_ORDER_ID_MAX} characters")
    return value


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise errors.invalid(f"invalid {name}")
    return value


def _leg(body: Mapping[str, Any], name: str) -> Leg | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise errors.invalid(f"invalid {name}")
    return Leg(price_field(value, "limit_price"), price_field(value, "stop_price"))


def parse_order(body: Mapping[str, Any]) -> OrderRequest:
    """A request with every field readable; rules between fields are in ``order_rules``.

    Raises Refusal with the broker's code for the first field that is not.
    """
    symbol = body.get("symbol")
    if not isinstance(symbol, str) or not symbol:
        raise errors.invalid("symbol is required")
    side = _choice(body, "side", get_args(Side), "side must be buy or sell")
    order_type = _choice(body, "type", get_args(OrderType), "invalid order type")
    tif = _choice(body, "time_in_force", get_args(TimeInForce), "invalid time_in_force")
    order_class = body.get("order_class") or ""
    if order_class == "simple":
        order_class = ""
    if order_class not in get_args(OrderClass):
        raise errors.invalid("invalid order_class")
    intent = body.get("position_intent")
    if intent is not None and intent not in get_args(PositionIntent):
        raise errors.invalid("invalid position_intent")
    qty, notional = _quantity(body)
    return OrderRequest(
        symbol=symbol,
        side=side,
        type=order_type,
        time_in_force=tif,
        qty=qty,
        notional=notional,
        limit_price=price_field(body, "limit_price"),
        stop_price=price_field(body, "stop_price"),
        trail_price=decimal_field(body, "trail_price"),
        trail_percent=decimal_field(body, "trail_percent"),
        extended_hours=_flag(body, "extended_hours"),
        client_order_id=client_order_id_field(body),
        order_class=cast(OrderClass, order_class),
        take_profit=_leg(body, "take_profit"),
        stop_loss=_leg(body, "stop_loss"),
        position_intent=intent,
    )
