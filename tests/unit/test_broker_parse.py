"""Alpaca's JSON to our models: exact, aware, and nothing guessed where a field is missing."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from broker.alpaca import parse
from broker.alpaca.errors import UnreadableError, read_json
from schemas.broker import TradeEvent
from schemas.orders import Side
from tests.unit.broker_server import ORDER

ACCOUNT = {
    "id": "8f1d",
    "account_number": "PA1",
    "status": "ACTIVE",
    "currency": "USD",
    "cash": "100000.10",
    "equity": "100000.10",
    "last_equity": "99999.99",
    "buying_power": "400000.4",
    "multiplier": "4",
    "trading_blocked": False,
    "account_blocked": False,
    "transfers_blocked": False,
    "trade_suspended_by_user": False,
    "shorting_enabled": True,
    "a_field_of_tomorrow": {"x": 1},
}
FILL = {
    "id": "20261123101504123::5d0f8d1e-93a4-4a0e-8f0b-0f6f2f6d7c11",
    "activity_type": "FILL",
    "type": "partial_fill",
    "transaction_time": "2026-11-23T15:15:04.123456Z",
    "symbol": "AAPL",
    "side": "sell_short",
    "order_id": "0b0e2b0a-6a55-4f43-9a0c-0d7f6f7c2a01",
    "order_status": "partially_filled",
    "qty": "4",
    "price": "180.47",
    "cum_qty": "4",
    "leaves_qty": "6",
}
UPDATE = {
    "at": "2026-11-23T15:15:04.131Z",
    "event_id": "01JDCZ8Q4T9N4X6M2R7V5K3B1A",
    "event": "partial_fill",
    "execution_id": "5d0f8d1e-93a4-4a0e-8f0b-0f6f2f6d7c11",
    "timestamp": "2026-11-23T15:15:04.123456Z",
    "price": "180.47",
    "qty": "4",
    "position_qty": "4",
    "order": ORDER | {"filled_qty": "7", "status": "partially_filled"},
}
DAY = {
    "date": "2026-11-27",
    "open": "09:30",
    "close": "13:00",
    "session_open": "0400",
    "session_close": "1700",
}


def without(raw: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in raw.items() if name not in names}


def test_order() -> None:
    told = parse.order(ORDER)
    assert told.quantity == 10
    assert told.limit_price == Decimal("180.5")
    assert told.submitted_at == datetime(2026, 11, 23, 15, 15, 3, 948877, tzinfo=UTC), "cut to microseconds"
    assert told.raw_status == "new"
    assert told.filled_average_price is None


@pytest.mark.parametrize("digits", ["180.47", "0.0001", "123456789.123456789", "1e-9"])
@pytest.mark.parametrize("quoted", [True, False])
def test_numbers_are_exact_whether_quoted_or_not(digits: str, quoted: bool) -> None:
    text = json.dumps(without(ORDER, "limit_price"))[:-1]
    value = f'"{digits}"' if quoted else digits
    assert parse.order(read_json(f'{text}, "limit_price": {value}}}')).limit_price == Decimal(digits)


@pytest.mark.parametrize("name", ["id", "client_order_id", "symbol", "side", "status", "created_at"])
def test_order_without_a_needed_field_is_unreadable(name: str) -> None:
    with pytest.raises(UnreadableError, match=name):
        parse.order(without(ORDER, name))


@pytest.mark.parametrize(
    "wrong",
    [
        {"qty": "NaN"},
        {"qty": "Infinity"},
        {"qty": "ten"},
        {"qty": True},
        {"qty": [1]},
        {"limit_price": ""},
        {"side": "hold"},
        {"created_at": "2026-11-23T15:15:03"},
        {"created_at": "yesterday"},
        {"created_at": 1700000000},
        {"status": None},
        {"legs": [7]},
    ],
)
def test_order_with_a_wrong_field_is_unreadable(wrong: dict[str, Any]) -> None:
    with pytest.raises(UnreadableError):
        parse.order(ORDER | wrong)


@pytest.mark.parametrize("raw", [None, [], "text", 7])
def test_what_is_no_object_is_unreadable(raw: object) -> None:
    for read in (parse.order, parse.account, parse.position, parse.fill_activity, parse.clock):
        with pytest.raises(UnreadableError):
            read(raw)


@pytest.mark.parametrize("text", ["", "<html>", "{", '{"a": NaN}', '{"a": Infinity}', b"\xff", "[" * 100_000])
def test_what_is_no_json_is_unreadable(text: str) -> None:
    with pytest.raises(UnreadableError):
        read_json(text)


def test_account() -> None:
    told = parse.account(ACCOUNT)
    assert (told.cash, told.equity) == (Decimal("100000.10"), Decimal("100000.10"))
    assert told.tradable


@pytest.mark.parametrize(
    "change",
    [
        {"status": "ACCOUNT_UPDATED"},
        {"trading_blocked": True},
        {"account_blocked": True},
        {"transfers_blocked": True},
        {"trade_suspended_by_user": True},
        {"trading_blocked": None},
    ],
)
def test_blocked_or_doubtful_account_is_not_tradable(change: dict[str, Any]) -> None:
    assert not parse.account(ACCOUNT | change).tradable
    assert not parse.account(without(ACCOUNT, "account_blocked")).tradable


def test_short_position_is_negative() -> None:
    told = parse.position(
        {"symbol": "AAPL", "qty": "-5", "qty_available": "-5", "avg_entry_price": "180.1", "side": "short"}
    )
    assert (told.quantity, told.side) == (Decimal(-5), Side.SELL)


def test_fill_row() -> None:
    told = parse.fill_activity(FILL)
    assert told.activity_id == FILL["id"]
    assert told.execution_id is None
    assert told.side is Side.SELL
    assert told.executed_at == datetime(2026, 11, 23, 15, 15, 4, 123456, tzinfo=UTC)


@pytest.mark.parametrize("change", [{"activity_type": "DIV"}, {"type": "trade_bust"}, {"cum_qty": None}])
def test_row_that_is_no_fill_raises(change: dict[str, Any]) -> None:
    with pytest.raises(UnreadableError):
        parse.fill_activity(FILL | change)


FEE = {
    "id": "20261123000000000::3a", "activity_type": "FEE", "date": "2026-11-23", "net_amount": "-0.02",
    "description": "TAF fee for proceed of 10 shares", "status": "executed",
}  # fmt: skip


def test_cash_activity() -> None:
    told = parse.cash_activity(FEE)
    assert told is not None
    assert (told.activity_id, told.activity_type, told.amount) == (FEE["id"], "FEE", Decimal("-0.02"))
    assert (told.day, told.ticker) == (date(2026, 11, 23), None)
    dividend = parse.cash_activity(FEE | {"activity_type": "DIV", "symbol": "AAPL", "net_amount": "1.5"})
    assert dividend is not None
    assert dividend.ticker == "AAPL"


@pytest.mark.parametrize("change", [{"status": "canceled"}, {"net_amount": "0"}, {"net_amount": None}])
def test_an_activity_that_moved_no_cash_is_left_out(change: dict[str, Any]) -> None:
    assert parse.cash_activity(FEE | change) is None


@pytest.mark.parametrize(
    "change", [{"date": "soon"}, {"net_amount": "x"}, {"id": None}, {"activity_type": 7}]
)
def test_an_unreadable_activity_raises(change: dict[str, Any]) -> None:
    with pytest.raises(UnreadableError):
        parse.cash_activity(FEE | change)


def test_trade_update_with_a_fill() -> None:
    told = parse.trade_update(UPDATE)
    assert told.event is TradeEvent.PARTIAL_FILL
    assert told.event_id == "01JDCZ8Q4T9N4X6M2R7V5K3B1A"
    assert told.fill is not None
    assert told.fill.execution_id == UPDATE["execution_id"]
    assert (told.fill.quantity, told.fill.cumulative_quantity) == (Decimal(4), Decimal(7))
    assert told.fill.executed_at == told.at


def test_trade_update_without_a_fill_and_of_an_unknown_kind() -> None:
    told = parse.trade_update(UPDATE | {"event": "tickled", "price": None, "qty": None})
    assert (told.event, told.raw_event, told.fill) == (TradeEvent.OTHER, "tickled", None)


@pytest.mark.parametrize("name", ["execution_id", "price", "qty", "order", "timestamp", "event"])
def test_fill_without_a_needed_field_is_unreadable(name: str) -> None:
    with pytest.raises(UnreadableError):
        parse.trade_update(without(UPDATE, name, "at" if name == "timestamp" else name))


def test_bust_names_the_execution_it_takes_back() -> None:
    told = parse.trade_update(UPDATE | {"event": "trade_bust", "previous_execution_id": "the-first"})
    assert told.fill is not None
    assert (told.fill.execution_id, told.fill.correction_id) == ("the-first", None)


def test_correction_names_the_execution_it_corrects_and_itself() -> None:
    told = parse.trade_update(UPDATE | {"event": "trade_correct", "previous_execution_id": "the-first"})
    assert told.fill is not None
    assert (told.fill.execution_id, told.fill.correction_id) == ("the-first", UPDATE["execution_id"])


def test_clock() -> None:
    told = parse.clock(
        {
            "timestamp": "2026-11-23T10:15:04.123456789-05:00",
            "is_open": True,
            "next_open": "2026-11-24T09:30:00-05:00",
            "next_close": "2026-11-23T16:00:00-05:00",
        }
    )
    assert told.timestamp == datetime(2026, 11, 23, 15, 15, 4, 123456, tzinfo=UTC)
    with pytest.raises(UnreadableError):
        parse.clock({"timestamp": "2026-11-23T10:15:04Z", "is_open": "true"})


def test_calendar_times_are_new_york_in_winter_and_summer() -> None:
    told = parse.calendar_day(DAY)
    assert told.open == datetime(2026, 11, 27, 14, 30, tzinfo=UTC)
    assert told.close == datetime(2026, 11, 27, 18, 0, tzinfo=UTC)
    assert told.session_close == datetime(2026, 11, 27, 22, 0, tzinfo=UTC)
    summer = parse.calendar_day(DAY | {"date": "2026-07-02", "close": "16:00", "session_close": "2000"})
    assert summer.open == datetime(2026, 7, 2, 13, 30, tzinfo=UTC)
    assert summer.session_close == datetime(2026, 7, 3, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize("change", [{"date": "27.11."}, {"open": "9h30"}, {"close": "25:00"}, {"open": None}])
def test_calendar_day_with_a_wrong_field_is_unreadable(change: dict[str, Any]) -> None:
    with pytest.raises(UnreadableError):
        parse.calendar_day(DAY | change)


def test_an_order_with_characters_that_no_database_takes_can_be_stored() -> None:
    odd = "a\x00b\ud800"
    names = ("id", "symbol", "type", "time_in_force", "status", "order_class", "replaced_by", "replaces")
    answer = json.dumps(ORDER | dict.fromkeys(names, odd) | {"legs": [{"id": odd}]})
    told = parse.order(read_json(answer))
    assert (told.broker_order_id, told.raw_status, told.order_class, told.legs) == (
        ("a b?",) * 3 + (("a b?",),)
    )
    assert not any(bad in told.model_dump_json() for bad in ("\\u0000", "\ud800"))
