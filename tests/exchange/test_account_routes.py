"""Replacing, closing, advanced orders, configuration and history through the unmodified client."""

from datetime import datetime
from typing import Any

import pytest
from alpaca.trading.enums import OrderClass, OrderStatus
from alpaca.trading.models import AccountConfiguration, ClosePositionResponse, Order, PortfolioHistory
from alpaca.trading.requests import (
    ClosePositionRequest,
    CreateWatchlistRequest,
    GetOrderByIdRequest,
    GetOrdersRequest,
    GetPortfolioHistoryRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
    StopLimitOrderRequest,
    StopLossRequest,
    StopOrderRequest,
    TakeProfitRequest,
    TrailingStopOrderRequest,
    UpdateWatchlistRequest,
)

from tests.exchange.conftest import Venue, refusal

DAY_BUY: dict[str, Any] = {"qty": 10, "side": "buy", "time_in_force": "day"}
DAY_SELL = DAY_BUY | {"side": "sell"}


@pytest.fixture
def holder(venue: Venue) -> Venue:
    """An account with ten AAPL at 180.48."""
    venue.quote("AAPL", "180.44", "180.48")
    venue.reaches(venue.order(qty="10").json()["id"], "filled")
    return venue


@pytest.mark.parametrize(
    ("request_class", "fields"),
    [
        (StopOrderRequest, {"stop_price": 170}),
        (StopLimitOrderRequest, {"stop_price": 170, "limit_price": 169.5}),
        (TrailingStopOrderRequest, {"trail_percent": 2}),
        (TrailingStopOrderRequest, {"trail_price": 3}),
        (LimitOrderRequest, {"limit_price": 190, "extended_hours": True}),
    ],
)
def test_every_exit_order_type_parses_and_rests(
    holder: Venue, request_class: Any, fields: dict[str, Any]
) -> None:
    order = holder.client.submit_order(request_class(symbol="AAPL", **DAY_SELL, **fields))
    holder.reaches(str(order.id), "new")
    assert holder.client.get_open_position("AAPL").qty_available == "0"


def test_a_bracket_is_one_order_with_two_legs(venue: Venue) -> None:
    venue.quote("AAPL", "180.44", "180.48")
    request = LimitOrderRequest(
        symbol="AAPL",
        **DAY_BUY,
        limit_price=181,
        order_class=OrderClass.BRACKET,
        take_profit=TakeProfitRequest(limit_price=190),
        stop_loss=StopLossRequest(stop_price=170),
    )
    order = venue.client.submit_order(request)
    assert isinstance(order, Order)
    assert order.legs is not None
    assert [leg.status for leg in order.legs] == [OrderStatus.HELD, OrderStatus.HELD]
    venue.reaches(str(order.legs[0].id), "new")
    nested = venue.client.get_order_by_id(order.id, GetOrderByIdRequest(nested=True))
    assert [leg.status for leg in nested.legs] == [OrderStatus.NEW, OrderStatus.HELD]
    rolled_up = venue.client.get_orders(GetOrdersRequest(status="all", nested=True))
    assert [row.id for row in rolled_up] == [order.id]
    flat = venue.client.get_orders(GetOrdersRequest(status="all", nested=False))
    assert len(flat) == 3
    assert venue.summary()["accepted_total"] == 1
    venue.client.cancel_order_by_id(order.legs[0].id)
    venue.reaches(str(order.legs[1].id), "canceled")


def test_a_replaced_order_links_both_ways(venue: Venue) -> None:
    old = venue.client.submit_order(LimitOrderRequest(symbol="MSFT", **DAY_BUY, limit_price=100))
    venue.reaches(str(old.id), "new")
    new = venue.client.replace_order_by_id(old.id, ReplaceOrderRequest(qty=5, limit_price=101))
    assert new.id != old.id
    assert new.replaces == old.id
    venue.reaches(str(new.id), "new")
    replaced = venue.client.get_order_by_id(old.id)
    assert (replaced.status, replaced.replaced_by) == (OrderStatus.REPLACED, new.id)
    error = refusal(lambda: venue.client.replace_order_by_id(old.id, ReplaceOrderRequest(qty=6)))
    assert (error.status_code, error.code, error.message) == (422, 42210000, "order already replaced")


def test_positions_close_by_quantity_percentage_and_whole(holder: Venue) -> None:
    half = holder.client.close_position("AAPL", ClosePositionRequest(percentage="50"))
    assert (half.qty, half.side, half.type) == ("5", "sell", "market")
    holder.reaches(str(half.id), "filled")
    two = holder.client.close_position("AAPL", ClosePositionRequest(qty="2"))
    holder.reaches(str(two.id), "filled")
    rest = holder.client.close_position("AAPL")
    assert holder.reaches(str(rest.id), "filled")["filled_qty"] == "3"
    error = refusal(lambda: holder.client.close_position("AAPL"))
    assert (error.status_code, error.code, error.message) == (404, 40410000, "position does not exist")


def test_closing_all_answers_207_and_can_cancel_orders_first(holder: Venue) -> None:
    holder.quote("MSFT", "400.00", "400.10")
    holder.reaches(holder.order("MSFT", side="sell", qty="2").json()["id"], "filled")
    protection = holder.order(side="sell", type="stop", stop_price="150", qty="10").json()
    holder.reaches(protection["id"], "new")
    answers = holder.client.close_all_positions(cancel_orders=False)
    assert all(isinstance(answer, ClosePositionResponse) for answer in answers)
    by_symbol = {answer.symbol: answer for answer in answers}
    assert (by_symbol["AAPL"].status, by_symbol["AAPL"].body.code) == (403, 40310000)
    assert by_symbol["MSFT"].status == 200
    (answer,) = [row for row in holder.client.close_all_positions(cancel_orders=True) if row.symbol == "AAPL"]
    assert answer.status == 200
    assert holder.status(protection["id"]) == "canceled"
    holder.reaches(str(answer.body.id), "filled")
    assert "AAPL" not in {position.symbol for position in holder.client.get_all_positions()}


def test_account_configurations_are_kept_and_obeyed(venue: Venue) -> None:
    chosen = venue.client.get_account_configurations()
    assert isinstance(chosen, AccountConfiguration)
    chosen.no_shorting, chosen.suspend_trade, chosen.max_margin_multiplier = True, True, "2"
    assert venue.client.set_account_configurations(chosen) == chosen
    account = venue.client.get_account()
    assert (account.buying_power, account.multiplier) == ("200000", "2")
    assert (account.shorting_enabled, account.trade_suspended_by_user) == (False, True)
    assert venue.order().json()["message"] == "new orders are rejected by user request"
    assert venue.call("PATCH", "/v2/account/configurations", json={"suspend_trade": False}).status_code == 200
    assert venue.order(side="sell").json()["message"] == "account is not allowed to short"
    bad = venue.call("PATCH", "/v2/account/configurations", json={"max_margin_multiplier": "9"})
    assert bad.status_code == 422


def test_portfolio_history_follows_the_equity(venue: Venue) -> None:
    venue.quote("AAPL", "100.00", "100.00")
    venue.reaches(venue.order(qty="100").json()["id"], "filled")
    venue.quote("AAPL", "110.00", "110.00")
    venue.call("POST", "/_exchange/clock", json={"at": "2026-11-23T10:05:30-05:00"})
    history = venue.client.get_portfolio_history(GetPortfolioHistoryRequest(period="1D", timeframe="1Min"))
    assert isinstance(history, PortfolioHistory)
    assert (history.equity[0], history.equity[-1]) == (100_000.0, 101_000.0)
    assert (history.profit_loss[-1], history.profit_loss_pct[-1]) == (1_000.0, 0.01)
    assert datetime.fromtimestamp(history.timestamp[-1]).minute == 5  # noqa: DTZ006
    daily = venue.client.get_portfolio_history(GetPortfolioHistoryRequest(period="1M", timeframe="1D"))
    assert daily.equity == [101_000.0]
    error = refusal(lambda: venue.client.get_portfolio_history(GetPortfolioHistoryRequest(period="1X")))
    assert error.status_code == 422


def test_notional_and_fractional_orders_fill(venue: Venue) -> None:
    venue.quote("AAPL", "180.00", "200.00")
    request = MarketOrderRequest(symbol="AAPL", notional=100, side="buy", time_in_force="day")
    order = venue.client.submit_order(request)
    assert (order.qty, order.notional) == (None, "100")
    assert venue.reaches(str(order.id), "filled")["filled_qty"] == "0.5"
    fraction = venue.order(qty="0.25").json()
    venue.reaches(fraction["id"], "filled")
    assert venue.client.get_open_position("AAPL").qty == "0.75"
    assert venue.order(qty=None, notional="0.5").status_code == 403
    assert venue.order(qty="1", notional="5").status_code == 422


def test_watchlists_are_kept_by_name(venue: Venue) -> None:
    made = venue.client.create_watchlist(CreateWatchlistRequest(name="mine", symbols=["AAPL", "MSFT"]))
    assert [asset.symbol for asset in made.assets] == ["AAPL", "MSFT"]
    assert [row.name for row in venue.client.get_watchlists()] == ["mine"]
    grown = venue.client.add_asset_to_watchlist_by_id(made.id, "IBM")
    assert [asset.symbol for asset in grown.assets] == ["AAPL", "MSFT", "IBM"]
    shrunk = venue.client.remove_asset_from_watchlist_by_id(made.id, "AAPL")
    assert [asset.symbol for asset in shrunk.assets] == ["MSFT", "IBM"]
    renamed = venue.client.update_watchlist_by_id(made.id, UpdateWatchlistRequest(name="ours"))
    assert (renamed.name, len(renamed.assets)) == ("ours", 2)
    assert venue.client.get_watchlist_by_id(made.id) == renamed
    twice = refusal(lambda: venue.client.create_watchlist(CreateWatchlistRequest(name="ours", symbols=[])))
    assert (twice.status_code, twice.code) == (422, 40010001)
    venue.client.delete_watchlist_by_id(made.id)
    assert refusal(lambda: venue.client.get_watchlist_by_id(made.id)).status_code == 404
