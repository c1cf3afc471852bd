"""Stops, trailing stops, groups, notional and auction orders, decided by the engine alone."""

from decimal import Decimal
from typing import Any

import pytest

from simulation.orders import Order
from tests.exchange.floor import Floor, refused
from tests.exchange.test_engine import MONDAY_OPEN

LEGS: dict[str, Any] = {"take_profit": {"limit_price": "101"}, "stop_loss": {"stop_price": "99"}}


def holding(qty: str = "10") -> Floor:
    floor = Floor()
    floor.working(qty=qty)
    return floor


def legs(floor: Floor, order: Order) -> list[Order]:
    return [floor.book.orders[leg] for leg in floor.book.children[order.id]]


def test_a_sell_stop_waits_for_the_bid_and_then_sells_at_market() -> None:
    floor = holding()
    stop = floor.working(side="sell", type="stop", stop_price="99")
    floor.quote("AAPL", "99.01", "99.05")
    assert floor.order(stop).status == "new"
    floor.quote("AAPL", "98.50", "98.55")
    assert floor.order(stop).status == "filled"
    assert floor.order(stop).filled_avg_price == Decimal("98.5")


def test_a_buy_stop_becomes_a_stop_limit_with_the_brokers_collar() -> None:
    floor = Floor()
    stop = floor.working(type="stop", stop_price="101")
    assert (stop.type, stop.limit_price) == ("stop_limit", Decimal("103.53"))
    floor.quote("AAPL", "104.00", "104.05")
    assert floor.order(stop).status == "new", "through the collar: it rests"
    floor.quote("AAPL", "103.00", "103.05")
    assert floor.order(stop).status == "filled"
    floor.quote("MSFT", "10.00", "10.02")
    assert floor.working("MSFT", type="stop", stop_price="11").limit_price == Decimal("11.44")


def test_a_triggered_stop_limit_stays_triggered() -> None:
    floor = holding()
    stop = floor.working(side="sell", type="stop_limit", stop_price="99", limit_price="98.90")
    floor.quote("AAPL", "98.50", "98.55")
    assert floor.order(stop).status == "new"
    floor.quote("AAPL", "99.50", "99.55")
    assert floor.order(stop).status == "filled"


@pytest.mark.parametrize(("side", "price"), [("sell", "100.50"), ("buy", "99.50")])
def test_a_stop_on_the_wrong_side_is_refused_with_both_prices(side: str, price: str) -> None:
    floor = holding() if side == "sell" else Floor()
    error = refused(lambda: floor.submit(side=side, type="stop", stop_price=price))
    assert (error.status, error.code) == (422, 42210000)
    assert error.extra == {
        "market_price": "99.98" if side == "sell" else "100.02",
        "stop_price": price.rstrip("0"),
    }


def test_stops_do_not_trigger_outside_regular_hours() -> None:
    floor = holding()
    stop = floor.working(side="sell", type="stop", stop_price="99", time_in_force="gtc")
    floor.advance(MONDAY_OPEN.replace(hour=22))
    floor.quote("AAPL", "90.00", "90.05")
    assert floor.order(stop).status == "new"
    floor.advance(MONDAY_OPEN.replace(day=24))
    floor.quote("AAPL", "90.01", "90.05")
    assert floor.order(stop).status == "filled"


@pytest.mark.parametrize(
    ("trail", "first", "moved"), [("trail_price", "98.98", "101.98"), ("trail_percent", "98.98", "101.95")]
)
def test_a_trailing_stop_follows_the_best_bid_and_never_retreats(trail: str, first: str, moved: str) -> None:
    floor = holding()
    order = floor.working(side="sell", type="trailing_stop", **{trail: "1"})
    assert (order.hwm, order.stop_price) == (Decimal("99.98"), Decimal(first))
    floor.quote("AAPL", "102.98", "103.00")
    floor.quote("AAPL", "102.50", "102.52")
    assert floor.order(order).hwm == Decimal("102.98")
    assert floor.order(order).stop_price == Decimal(moved)
    floor.quote("AAPL", "101.90", "101.95")
    assert floor.order(order).status == "filled"


def test_a_bracket_protects_only_once_its_entry_is_filled() -> None:
    floor = Floor()
    entry = floor.working(type="limit", limit_price="99.90", order_class="bracket", **LEGS)
    assert [leg.status for leg in legs(floor, entry)] == ["held", "held"]
    floor.quote("AAPL", "99.80", "99.85", ask_size=4)
    assert [leg.status for leg in legs(floor, entry)] == ["held", "held"]
    floor.quote("AAPL", "99.80", "99.85")
    floor.settle()
    profit, loss = legs(floor, entry)
    assert (profit.status, loss.status) == ("new", "held")
    assert (profit.side, profit.position_intent, profit.order_class) == ("sell", "sell_to_close", "bracket")
    assert floor.book.held_qty("AAPL") == 10


def test_the_profit_of_a_bracket_ends_its_stop() -> None:
    floor = Floor()
    entry = floor.working(order_class="bracket", **LEGS)
    floor.settle()
    floor.quote("AAPL", "101.20", "101.25", bid_size=6)
    profit, loss = legs(floor, entry)
    assert (profit.status, loss.status, loss.qty) == ("partially_filled", "held", Decimal(4))
    floor.quote("AAPL", "101.21", "101.25")
    profit, loss = legs(floor, entry)
    assert (profit.status, loss.status) == ("filled", "canceled")
    assert floor.book.position_qty("AAPL") == 0


def test_the_stop_of_a_bracket_ends_its_profit() -> None:
    floor = Floor()
    entry = floor.working(order_class="bracket", **LEGS)
    floor.settle()
    floor.quote("AAPL", "98.90", "98.95")
    floor.settle()
    profit, loss = legs(floor, entry)
    assert (profit.status, loss.status) == ("canceled", "filled")
    assert floor.names(loss) == ["held", "pending_new", "new", "fill"]
    assert floor.book.position_qty("AAPL") == 0


@pytest.mark.parametrize("which", [0, 1, 2])
def test_cancelling_one_of_a_group_cancels_all(which: int) -> None:
    floor = Floor()
    entry = floor.working(type="limit", limit_price="99.90", order_class="bracket", **LEGS)
    family = [entry, *legs(floor, entry)]
    floor.cancel(family[which])
    floor.settle()
    assert {floor.order(order).status for order in family} == {"canceled"}


def test_an_oto_sends_its_stop_after_the_entry() -> None:
    floor = Floor()
    entry = floor.working(order_class="oto", stop_loss={"stop_price": "99", "limit_price": "98.50"})
    floor.settle()
    (stop,) = legs(floor, entry)
    assert (stop.type, stop.status, stop.limit_price) == ("stop_limit", "new", Decimal("98.50"))
    floor.quote("AAPL", "98.80", "98.85")
    assert legs(floor, entry)[0].status == "filled"


def test_an_oco_is_an_exit_of_which_one_half_executes() -> None:
    floor = holding()
    oco = {"side": "sell", "type": "limit", "order_class": "oco", **LEGS}
    order = floor.working(**oco)
    (stop,) = legs(floor, order)
    assert (order.limit_price, stop.status, floor.book.held_qty("AAPL")) == (
        Decimal(101),
        "held",
        Decimal(10),
    )
    floor.quote("AAPL", "98.90", "98.95")
    floor.settle()
    assert (floor.order(order).status, floor.order(stop).status) == ("canceled", "filled")
    assert refused(lambda: floor.submit("MSFT", **oco)).message == "oco orders must be exit orders"


def test_legs_for_shares_that_were_sold_meanwhile_are_dropped() -> None:
    floor = Floor()
    entry = floor.working(type="limit", limit_price="99.90", order_class="bracket", **LEGS)
    floor.quote("AAPL", "99.80", "99.85", ask_size=9)
    sold = floor.working(side="sell", qty="9", type="limit", limit_price="100.50")
    floor.quote("AAPL", "100.60", "100.65")
    assert floor.order(sold).status == "filled"
    floor.quote("AAPL", "99.80", "99.85")
    floor.settle()
    assert {leg.status for leg in legs(floor, entry)} == {"canceled"}
    assert floor.book.position_qty("AAPL") == 1


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {"order_class": "bracket", "take_profit": {"limit_price": "101"}},
            "bracket orders require stop_loss",
        ),
        ({"order_class": "oto"}, "oto orders require either"),
        (
            {"order_class": "bracket", **LEGS, "time_in_force": "ioc"},
            "bracket orders must be DAY or GTC orders",
        ),
        (
            {"order_class": "bracket", **LEGS, "type": "stop", "stop_price": "101"},
            "bracket orders must be market",
        ),
        ({"order_class": "bracket", **LEGS, "qty": "0.5"}, "fractional orders must be simple orders"),
        ({**LEGS}, "take_profit and stop_loss need order_class"),
        (
            {
                "order_class": "bracket",
                "take_profit": {"limit_price": "100"},
                "stop_loss": {"stop_price": "99"},
            },
            "take_profit.limit_price must be >= base_price + 0.01",
        ),
        (
            {
                "order_class": "bracket",
                "take_profit": {"limit_price": "98"},
                "stop_loss": {"stop_price": "99"},
            },
            "take_profit.limit_price must be > stop_loss.stop_price",
        ),
    ],
)
def test_groups_that_do_not_fit_together_are_refused(fields: dict[str, Any], text: str) -> None:
    floor = Floor()
    error = refused(lambda: floor.submit(**fields))
    assert error.status == 422
    assert error.message.startswith(text)
    assert not floor.book.orders


def test_notional_orders_spend_the_money_and_sell_no_more_than_is_held() -> None:
    floor = Floor()
    order = floor.working(qty=None, notional="250")
    assert order.status == "filled"
    assert order.filled_qty == Decimal("2.499500099")
    assert Decimal("249.99") < order.filled_value <= 250
    too_much = refused(lambda: floor.submit(side="sell", qty=None, notional="260"))
    assert too_much.code == 40310000
    sold = floor.submit(side="sell", qty=None, notional="240")
    again = refused(lambda: floor.submit(side="sell", qty=None, notional="240"))
    assert again.extra["held_for_orders"] != "0"
    floor.settle()
    assert floor.order(sold).status == "filled"
    assert 0 < floor.book.position_qty("AAPL") < 1


def test_on_open_orders_take_the_first_quote_or_end() -> None:
    floor = Floor(MONDAY_OPEN.replace(hour=13))
    taken = floor.submit(time_in_force="opg")
    missed = floor.submit("MSFT", time_in_force="opg", type="limit", limit_price="90")
    floor.settle()
    assert {floor.order(order).status for order in (taken, missed)} == {"accepted"}
    floor.advance(MONDAY_OPEN)
    assert (floor.order(taken).status, floor.order(missed).status) == ("filled", "canceled")


def test_on_close_orders_wait_for_the_last_quote() -> None:
    floor = Floor()
    order = floor.working(time_in_force="cls")
    floor.quote("AAPL", "99.90", "99.95")
    assert floor.order(order).status == "new"
    close = MONDAY_OPEN.replace(hour=21, minute=0)
    floor.advance(close)
    assert floor.order(order).filled_avg_price == Decimal("99.95")
    late = Floor(close.replace(hour=20, minute=51))
    assert refused(lambda: late.submit(time_in_force="cls")).status == 403
