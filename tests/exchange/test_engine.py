"""Order life cycles decided by the engine alone: sessions, expiry, matching, races."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tests.exchange.floor import Floor, refused

FRIDAY_EARLY_CLOSE = datetime(2026, 11, 27, 18, 0, tzinfo=UTC)
SUNDAY = datetime(2026, 11, 22, 17, 0, tzinfo=UTC)
MONDAY_OPEN = datetime(2026, 11, 23, 14, 30, tzinfo=UTC)


def test_a_day_order_expires_at_an_early_close() -> None:
    floor = Floor(FRIDAY_EARLY_CLOSE - timedelta(minutes=3))
    order = floor.working(type="limit", limit_price="90")
    assert order.expires_at == FRIDAY_EARLY_CLOSE
    floor.advance(FRIDAY_EARLY_CLOSE - timedelta(seconds=1))
    assert floor.order(order).status == "new"
    floor.advance(FRIDAY_EARLY_CLOSE)
    expired = floor.order(order)
    assert (expired.status, expired.expired_at) == ("expired", FRIDAY_EARLY_CLOSE)
    assert floor.book.reserved == 0


def test_a_partly_filled_day_order_expires_with_its_fill() -> None:
    floor = Floor(FRIDAY_EARLY_CLOSE - timedelta(minutes=3))
    floor.quote("AAPL", "99.98", "100.02", ask_size=4)
    order = floor.working()
    floor.advance(FRIDAY_EARLY_CLOSE)
    expired = floor.order(order)
    assert (expired.status, expired.filled_qty) == ("expired", Decimal(4))
    assert floor.names(order) == ["pending_new", "new", "partial_fill", "expired"]


def test_an_order_entered_while_closed_waits_for_the_open() -> None:
    floor = Floor(SUNDAY)
    order = floor.submit()
    floor.settle()
    assert floor.order(order).status == "accepted"
    floor.advance(MONDAY_OPEN - timedelta(seconds=1))
    assert floor.order(order).status == "accepted"
    floor.advance(MONDAY_OPEN)
    assert floor.order(order).status == "filled"
    assert floor.names(order) == ["accepted", "pending_new", "new", "fill"]


def test_a_day_order_entered_after_the_close_belongs_to_the_next_session() -> None:
    floor = Floor(FRIDAY_EARLY_CLOSE + timedelta(minutes=1))
    order = floor.submit()
    assert order.expires_at == datetime(2026, 11, 30, 21, 0, tzinfo=UTC)


def test_gtc_ends_ninety_days_later_in_the_afternoon() -> None:
    floor = Floor()
    order = floor.working(type="limit", limit_price="90", time_in_force="gtc")
    assert order.expires_at == datetime(2027, 2, 21, 21, 15, tzinfo=UTC)
    floor.advance(order.expires_at)
    assert floor.order(order).status == "canceled"
    assert floor.names(order)[-2:] == ["pending_cancel", "canceled"]


def test_extended_hours_orders_trade_before_the_open_and_others_do_not() -> None:
    floor = Floor(MONDAY_OPEN - timedelta(hours=2))
    early = floor.working(type="limit", limit_price="101", extended_hours=True)
    assert early.status == "filled"
    late = floor.submit("MSFT", type="limit", limit_price="101")
    floor.settle()
    assert floor.order(late).status == "accepted"
    assert early.expires_at == datetime(2026, 11, 24, 1, 0, tzinfo=UTC)


def test_displayed_size_bounds_each_fill_and_refreshes_with_the_quote() -> None:
    floor = Floor()
    floor.quote("AAPL", "99.98", "100.02", ask_size=6)
    first = floor.working(qty="4")
    second = floor.working(qty="4")
    assert (first.status, second.status, second.filled_qty) == ("filled", "partially_filled", Decimal(2))
    floor.quote("AAPL", "99.98", "100.01")
    assert floor.order(second).status == "filled"
    assert floor.order(second).filled_avg_price == Decimal("100.015")


def test_without_the_size_limit_one_quote_fills_all() -> None:
    floor = Floor(limited=False)
    floor.quote("AAPL", "99.98", "100.02", ask_size=1)
    assert floor.working(qty="500").status == "filled"


def test_price_then_time_decides_who_is_filled() -> None:
    floor = Floor()
    low = floor.working(type="limit", limit_price="99.90", qty="5")
    high = floor.working(type="limit", limit_price="99.95", qty="5")
    later = floor.working(type="limit", limit_price="99.95", qty="5")
    floor.quote("AAPL", "99.80", "99.85", ask_size=7)
    filled = [floor.order(order).filled_qty for order in (high, later, low)]
    assert filled == [Decimal(5), Decimal(2), Decimal(0)]
    assert floor.order(high).filled_avg_price == Decimal("99.85")


def test_a_limit_never_trades_outside_the_quote() -> None:
    floor = Floor()
    order = floor.working(type="limit", limit_price="105")
    assert order.filled_avg_price == Decimal("100.02")
    resting = floor.working(type="limit", limit_price="100.01")
    assert resting.status == "new"


@pytest.mark.parametrize(("size", "filled"), [(4, 4), (0, 0), (10, 10)])
def test_ioc_takes_what_is_there_and_cancels_the_rest(size: int, filled: int) -> None:
    floor = Floor()
    floor.quote("AAPL", "99.98", "100.02", ask_size=size)
    order = floor.working(time_in_force="ioc", type="limit", limit_price="100.05")
    assert order.filled_qty == filled
    assert order.status == ("filled" if filled == 10 else "canceled")


@pytest.mark.parametrize(("size", "status", "filled"), [(9, "canceled", 0), (10, "filled", 10)])
def test_fok_is_all_or_nothing(size: int, status: str, filled: int) -> None:
    floor = Floor()
    floor.quote("AAPL", "99.98", "100.02", ask_size=size)
    order = floor.working(time_in_force="fok", type="limit", limit_price="100.05")
    assert (order.status, order.filled_qty) == (status, filled)


def test_a_fill_can_win_the_race_against_a_cancel() -> None:
    floor = Floor()
    order = floor.working(type="limit", limit_price="99")
    floor.cancel(order)
    assert floor.order(order).status == "pending_cancel"
    floor.quote("AAPL", "98.90", "98.95")
    floor.settle()
    assert floor.order(order).status == "filled"
    assert floor.names(order)[-3:] == ["pending_cancel", "fill", "order_cancel_rejected"]


def test_a_partial_fill_during_a_cancel_stays_with_the_cancelled_order() -> None:
    floor = Floor()
    order = floor.working(type="limit", limit_price="99")
    floor.cancel(order)
    floor.quote("AAPL", "98.90", "98.95", ask_size=3)
    assert floor.order(order).status == "pending_cancel"
    floor.settle()
    cancelled = floor.order(order)
    assert (cancelled.status, cancelled.filled_qty) == ("canceled", Decimal(3))
    assert floor.book.position_qty("AAPL") == 3


def test_an_order_nobody_offers_to_waits_for_a_price() -> None:
    floor = Floor()
    floor.quote("AAPL", "0", "0", bid_size=0, ask_size=0)
    order = floor.working()
    assert order.status == "new"
    floor.quote("AAPL", "99.98", "100.02")
    assert floor.order(order).status == "filled"


def test_opening_both_ways_at_once_is_refused() -> None:
    floor = Floor()
    floor.working(type="limit", limit_price="90")
    short = refused(lambda: floor.submit(side="sell", type="limit", limit_price="110"))
    assert short.message == "cannot open a short sell while a long buy order is open"
    floor.working("MSFT", side="sell", type="limit", limit_price="110")
    long = refused(lambda: floor.submit("MSFT", type="limit", limit_price="90"))
    assert long.message == "cannot open a long buy while a short sell order is open"


def test_position_intent_is_inferred_and_a_wrong_one_refused() -> None:
    floor = Floor()
    assert floor.working().position_intent == "buy_to_open"
    assert floor.working(side="sell", qty="1").position_intent == "sell_to_close"
    mismatch = refused(lambda: floor.submit(position_intent="buy_to_close"))
    assert mismatch.message == "position intent mismatch, inferred: buy_to_open, specified: buy_to_close"


def test_a_new_day_takes_last_evening_as_its_base() -> None:
    floor = Floor()
    floor.working(qty="100")
    floor.quote("AAPL", "109.98", "110.02")
    equity = floor.book.cash + floor.engine.value(floor.now).net
    floor.advance(MONDAY_OPEN + timedelta(days=1))
    assert floor.book.last_equity == equity == Decimal("100998")
    assert floor.book.day_marks["AAPL"] == Decimal("110.00")
    assert floor.book.positions["AAPL"].day_cost == Decimal("11000")
