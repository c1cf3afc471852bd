"""Alpaca's JSON to our models. Numbers come as strings or exact Decimals; a float never occurs.

Every function raises ``UnreadableError`` where a required field is missing or not what it should be, and
ignores fields it does not know.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from broker.alpaca.errors import UnreadableError
from schemas.base import storable
from schemas.broker import Account, BrokerClock, CalendarDay, CashActivity, Position, TradeEvent, TradeUpdate
from schemas.orders import BrokerOrder, Fill, Side

NEW_YORK = ZoneInfo("America/New_York")

_ACCOUNT_BLOCKS = ("trading_blocked", "account_blocked", "transfers_blocked", "trade_suspended_by_user")
_SIDES = {"buy": Side.BUY, "sell": Side.SELL, "sell_short": Side.SELL}
_POSITION_SIDES = {"long": Side.BUY, "short": Side.SELL}
_FILL_TYPES = frozenset({"fill", "partial_fill"})
_FILL_EVENTS = frozenset(
    {TradeEvent.FILL, TradeEvent.PARTIAL_FILL, TradeEvent.TRADE_BUST, TradeEvent.TRADE_CORRECT}
)

_EVENTS = frozenset(event.value for event in TradeEvent)

Json = Mapping[str, Any]

_T = TypeVar("_T")


def as_object(value: object) -> Json:
    """``value`` if it is a JSON object."""
    if not isinstance(value, dict):
        raise UnreadableError(f"expected an object, got {type(value).__name__}")
    return value


def as_list(value: object) -> list[Any]:
    """``value`` if it is a JSON array."""
    if not isinstance(value, list):
        raise UnreadableError(f"expected an array, got {type(value).__name__}")
    return value


def order(raw: object) -> BrokerOrder:
    """An order of the REST API or inside a stream message."""
    data = as_object(raw)
    return BrokerOrder(
        broker_order_id=text(data, "id"),
        client_order_id=text(data, "client_order_id"),
        ticker=text(data, "symbol"),
        side=_one_of(data, "side", _SIDES),
        raw_type=text(data, "type" if data.get("type") else "order_type"),
        raw_time_in_force=text(data, "time_in_force"),
        raw_status=text(data, "status"),
        quantity=_maybe(data, "qty", _decimal),
        filled_quantity=_maybe(data, "filled_qty", _decimal) or Decimal(0),
        filled_average_price=_maybe(data, "filled_avg_price", _decimal),
        notional=_maybe(data, "notional", _decimal),
        limit_price=_maybe(data, "limit_price", _decimal),
        stop_price=_maybe(data, "stop_price", _decimal),
        order_class=_maybe(data, "order_class", text) or "",
        extended_hours=data.get("extended_hours") is True,
        created_at=_time(data, "created_at"),
        updated_at=_maybe(data, "updated_at", _time),
        submitted_at=_maybe(data, "submitted_at", _time),
        replaced_by=_maybe(data, "replaced_by", text),
        replaces=_maybe(data, "replaces", text),
        legs=tuple(text(as_object(leg), "id") for leg in data.get("legs") or ()),
    )


def account(raw: object) -> Account:
    """GET /v2/account."""
    data = as_object(raw)
    blocked = any(data.get(name) is not False for name in _ACCOUNT_BLOCKS)
    return Account(
        account_id=text(data, "id"),
        account_number=text(data, "account_number"),
        status=text(data, "status"),
        currency=_maybe(data, "currency", text) or "USD",
        cash=_decimal(data, "cash"),
        equity=_decimal(data, "equity"),
        last_equity=_decimal(data, "last_equity"),
        buying_power=_decimal(data, "buying_power"),
        non_marginable_buying_power=_maybe(data, "non_marginable_buying_power", _decimal),
        long_market_value=_maybe(data, "long_market_value", _decimal),
        short_market_value=_maybe(data, "short_market_value", _decimal),
        multiplier=_maybe(data, "multiplier", _decimal),
        shorting_enabled=data.get("shorting_enabled") is True,
        tradable=data.get("status") == "ACTIVE" and not blocked,
    )


def position(raw: object) -> Position:
    """One row of GET /v2/positions."""
    data = as_object(raw)
    return Position(
        ticker=text(data, "symbol"),
        quantity=_decimal(data, "qty"),
        quantity_available=_maybe(data, "qty_available", _decimal),
        average_entry_price=_decimal(data, "avg_entry_price"),
        market_value=_maybe(data, "market_value", _decimal),
        current_price=_maybe(data, "current_price", _decimal),
        last_day_price=_maybe(data, "lastday_price", _decimal),
        side=_one_of(data, "side", _POSITION_SIDES),
    )


def fill_activity(raw: object) -> Fill:
    """One row of GET /v2/account/activities/FILL. Its id holds New York time: never read a time from it."""
    data = as_object(raw)
    if data.get("activity_type") != "FILL" or data.get("type") not in _FILL_TYPES:
        raise UnreadableError(f"not a fill: {data.get('activity_type')!r} {data.get('type')!r}")
    return Fill(
        activity_id=text(data, "id"),
        broker_order_id=text(data, "order_id"),
        ticker=text(data, "symbol"),
        side=_one_of(data, "side", _SIDES),
        quantity=_decimal(data, "qty"),
        price=_decimal(data, "price"),
        cumulative_quantity=_decimal(data, "cum_qty"),
        executed_at=_time(data, "transaction_time"),
    )


def cash_activity(raw: object) -> CashActivity | None:
    """One row of GET /v2/account/activities?category=non_trade_activity; None where no cash has moved.

    Rows that are not carried out (``status``) and rows that move shares alone have no cash in them.
    """
    data = as_object(raw)
    amount = _maybe(data, "net_amount", _decimal)
    if not amount or data.get("status") not in (None, "executed"):
        return None
    try:
        day = date.fromisoformat(text(data, "date")[:10])
    except ValueError:
        raise UnreadableError("date is not a date") from None
    return CashActivity(
        activity_id=text(data, "id"),
        activity_type=text(data, "activity_type"),
        amount=amount,
        day=day,
        ticker=_maybe(data, "symbol", text) or None,
        description=_maybe(data, "description", text) or "",
    )


def activity_id(raw: object) -> str:
    """The id of any activity: the token of the page after it."""
    return text(as_object(raw), "id")


def clock(raw: object) -> BrokerClock:
    """GET /v2/clock."""
    data = as_object(raw)
    if not isinstance(data.get("is_open"), bool):
        raise UnreadableError("is_open is not a boolean")
    return BrokerClock(
        timestamp=_time(data, "timestamp"),
        is_open=data["is_open"],
        next_open=_time(data, "next_open"),
        next_close=_time(data, "next_close"),
    )


def calendar_day(raw: object) -> CalendarDay:
    """One row of GET /v2/calendar. Its times are New York wall time; ours are absolute."""
    data = as_object(raw)
    try:
        day = date.fromisoformat(text(data, "date"))
    except ValueError:
        raise UnreadableError("date is not a date") from None
    return CalendarDay(
        day=day,
        open=_new_york(day, data, "open"),
        close=_new_york(day, data, "close"),
        session_open=_new_york(day, data, "session_open"),
        session_close=_new_york(day, data, "session_close"),
    )


def trade_update(raw: object) -> TradeUpdate:
    """The ``data`` of one trade_updates message."""
    data = as_object(raw)
    told = order(data.get("order"))
    raw_event = text(data, "event")
    event = TradeEvent(raw_event) if raw_event in _EVENTS else TradeEvent.OTHER
    return TradeUpdate(
        event=event,
        raw_event=raw_event,
        event_id=_maybe(data, "event_id", text),
        at=_time(data, "timestamp" if data.get("timestamp") else "at"),
        order=told,
        fill=_stream_fill(data, told) if event in _FILL_EVENTS else None,
    )


def _stream_fill(data: Json, told: BrokerOrder) -> Fill:
    # A bust or correction names the execution it takes back; its own id is new.
    execution = "previous_execution_id" if data.get("previous_execution_id") else "execution_id"
    return Fill(
        execution_id=text(data, execution),
        broker_order_id=told.broker_order_id,
        ticker=told.ticker,
        side=told.side,
        quantity=_decimal(data, "qty"),
        price=_decimal(data, "price"),
        cumulative_quantity=told.filled_quantity,
        executed_at=_time(data, "timestamp"),
        correction_id=_maybe(data, "execution_id", text) if data["event"] == "trade_correct" else None,
    )


def _maybe(data: Json, name: str, read: Callable[[Json, str], _T]) -> _T | None:
    return None if data.get(name) is None else read(data, name)


def text(data: Json, name: str) -> str:
    """The text field ``name``, storable: no answer may be lost because of one of its characters."""
    value = data.get(name)
    if not isinstance(value, str):
        raise UnreadableError(f"{name} is not a text")
    return storable(value)


def _decimal(data: Json, name: str) -> Decimal:
    value = data.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise UnreadableError(f"{name} is not a number")
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise UnreadableError(f"{name} is not a number") from None
    if not number.is_finite():
        raise UnreadableError(f"{name} is not a finite number")
    return number


def _time(data: Json, name: str) -> datetime:
    try:
        value = datetime.fromisoformat(text(data, name))
        if value.tzinfo is None:
            raise UnreadableError(f"{name} has no zone")
        return value.astimezone(UTC)
    except (ValueError, OverflowError):  # the calendar's first or last day, in another zone
        raise UnreadableError(f"{name} is not a time") from None


def _new_york(day: date, data: Json, name: str) -> datetime:
    digits = text(data, name).replace(":", "")
    try:
        wall = time(int(digits[:2]), int(digits[2:4]))
    except ValueError:
        raise UnreadableError(f"{name} is not a time of day") from None
    return datetime.combine(day, wall, tzinfo=NEW_YORK)


def _one_of(data: Json, name: str, known: Mapping[str, Side]) -> Side:
    value = known.get(text(data, name))
    if value is None:
        raise UnreadableError(f"{name} is unknown")
    return value
