"""Unmodified alpaca-py's TradingClient, method by method: every answer parses into the SDK's models."""

from collections.abc import Callable
from datetime import date
from typing import Any
from uuid import uuid4

import pytest
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import CorporateActionType, OrderClass, OrderStatus
from alpaca.trading.models import (
    AccountConfiguration,
    Asset,
    Calendar,
    Clock,
    ClosePositionResponse,
    Order,
    PortfolioHistory,
    Position,
    TradeAccount,
    Watchlist,
)
from alpaca.trading.requests import (
    CancelOrderResponse,
    ClosePositionRequest,
    CreateWatchlistRequest,
    GetAssetsRequest,
    GetCalendarRequest,
    GetCorporateAnnouncementsRequest,
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

from tests.exchange.conftest import Venue, refusal, wait_until
from tests.sdk.walk import PLUMBING, gaps, steps

LEFT_OUT = PLUMBING | {
    "exercise_options_position": "options",
    "get_option_contract": "options",
    "get_option_contracts": "options",
}
BUY: dict[str, Any] = {"side": "buy", "time_in_force": "day"}
SELL: dict[str, Any] = {"side": "sell", "time_in_force": "day"}
FAR = {"limit_price": 50}
"""Far below the market: it rests."""
BRACKET: dict[str, Any] = {
    "take_profit": TakeProfitRequest(limit_price=110),
    "stop_loss": StopLossRequest(stop_price=90, limit_price=89),
}
OCO = BRACKET | {"order_class": OrderClass.OCO}
SUBMITTED: list[Callable[[], Any]] = [
    lambda: MarketOrderRequest(symbol="SPY", qty=20, **BUY),
    lambda: MarketOrderRequest(symbol="SPY", qty=0.5, **BUY),
    lambda: MarketOrderRequest(symbol="SPY", notional=150.25, **BUY),
    lambda: LimitOrderRequest(symbol="SPY", qty=1, **BUY, **FAR),
    lambda: LimitOrderRequest(symbol="SPY", qty=1, side="buy", time_in_force="gtc", **FAR),
    lambda: LimitOrderRequest(symbol="SPY", qty=1, side="buy", time_in_force="ioc", **FAR),
    lambda: LimitOrderRequest(symbol="SPY", qty=1, side="buy", time_in_force="fok", **FAR),
    lambda: LimitOrderRequest(symbol="SPY", qty=1, **BUY, **FAR, extended_hours=True),
    lambda: LimitOrderRequest(symbol="SPY", qty=1, side="buy", time_in_force="cls", **FAR),
    lambda: StopOrderRequest(symbol="SPY", qty=1, **BUY, stop_price=120),
    lambda: StopLimitOrderRequest(symbol="SPY", qty=1, **BUY, stop_price=120, limit_price=121),
    lambda: TrailingStopOrderRequest(symbol="QQQ", qty=1, **SELL, trail_price=3),
    lambda: TrailingStopOrderRequest(symbol="QQQ", qty=1, **SELL, trail_percent=2),
    lambda: MarketOrderRequest(symbol="QQQ", qty=2, **BUY, order_class=OrderClass.BRACKET, **BRACKET),
    lambda: MarketOrderRequest(
        symbol="QQQ", qty=2, **BUY, order_class=OrderClass.OTO, stop_loss=StopLossRequest(stop_price=90)
    ),
    lambda: LimitOrderRequest(symbol="AMZN", qty=2, **SELL, **OCO),
    lambda: MarketOrderRequest(symbol="TSLA", qty=2, **SELL, position_intent="sell_to_open"),
]


class Walk:
    """Each method as a user would call it; the answers are models, not dicts."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._client = venue.client

    def _bought(self, symbol: str, qty: float) -> Order:
        order = self._client.submit_order(MarketOrderRequest(symbol=symbol, qty=qty, **BUY))
        self._venue.reaches(str(order.id), "filled")
        return order

    def _resting(self, symbol: str) -> Order:
        order = self._client.submit_order(LimitOrderRequest(symbol=symbol, qty=2, **BUY, **FAR))
        self._venue.reaches(str(order.id), "new")
        return order

    def get_account(self) -> None:
        account = self._client.get_account()
        assert isinstance(account, TradeAccount)
        assert (account.status, account.trading_blocked) == ("ACTIVE", False)

    def get_account_configurations(self) -> None:
        assert isinstance(self._client.get_account_configurations(), AccountConfiguration)

    def set_account_configurations(self) -> None:
        before = self._client.get_account_configurations()
        after = self._client.set_account_configurations(before.model_copy(update={"no_shorting": True}))
        assert isinstance(after, AccountConfiguration)
        assert after.no_shorting
        assert self._client.set_account_configurations(before) == before

    def submit_order(self) -> None:
        self._bought("AMZN", 2)
        self._bought("QQQ", 2)
        for make in SUBMITTED:
            order = self._client.submit_order(make())
            assert isinstance(order, Order)
            assert order.status in (OrderStatus.PENDING_NEW, OrderStatus.ACCEPTED), order
        self._client.cancel_orders()

    def get_orders(self) -> None:
        order = self._resting("IBM")
        asked = GetOrdersRequest(status="open", symbols=["IBM"], nested=True, limit=500, direction="asc")
        (found,) = self._client.get_orders(asked)
        assert found.id == order.id
        assert all(isinstance(each, Order) for each in self._client.get_orders())

    def get_order_by_id(self) -> None:
        order = self._resting("IBM")
        found = self._client.get_order_by_id(order.id, GetOrderByIdRequest(nested=True))
        assert isinstance(found, Order)
        assert found.id == order.id

    def get_order_by_client_id(self) -> None:
        name = f"a b/{uuid4()}"
        request = LimitOrderRequest(symbol="IBM", qty=1, **BUY, **FAR, client_order_id=name)
        order = self._client.submit_order(request)
        found = self._client.get_order_by_client_id(name)
        assert isinstance(found, Order)
        assert (found.id, found.client_order_id) == (order.id, name)

    def replace_order_by_id(self) -> None:
        order = self._resting("IBM")
        request = ReplaceOrderRequest(
            qty=3, limit_price=51, time_in_force="gtc", client_order_id=str(uuid4())
        )
        new = self._client.replace_order_by_id(order.id, request)
        assert isinstance(new, Order)
        assert (new.replaces, new.qty, new.limit_price) == (order.id, "3", "51")

    def cancel_order_by_id(self) -> None:
        order = self._resting("IBM")
        assert self._client.cancel_order_by_id(order.id) is None
        self._venue.reaches(str(order.id), "canceled")

    def cancel_orders(self) -> None:
        order = self._resting("IBM")
        answers = self._client.cancel_orders()
        assert all(isinstance(answer, CancelOrderResponse) for answer in answers)
        assert order.id in {answer.id for answer in answers}
        self._venue.reaches(str(order.id), "canceled")

    def get_all_positions(self) -> None:
        self._bought("NVDA", 3)
        positions = self._client.get_all_positions()
        assert all(isinstance(each, Position) for each in positions)
        assert "NVDA" in {each.symbol for each in positions}

    def get_open_position(self) -> None:
        self._bought("NVDA", 1.5)
        position = self._client.get_open_position("NVDA")
        assert isinstance(position, Position)
        assert self._client.get_open_position(position.asset_id) == position

    def close_position(self) -> None:
        self._bought("META", 10)
        for request in (ClosePositionRequest(percentage="50"), ClosePositionRequest(qty="2"), None):
            order = self._client.close_position("META", request)
            assert isinstance(order, Order)
            self._venue.reaches(str(order.id), "filled")
        assert refusal(lambda: self._client.get_open_position("META")).status_code == 404

    def close_all_positions(self) -> None:
        self._bought("META", 4)
        answers = self._client.close_all_positions(cancel_orders=True)
        assert all(isinstance(answer, ClosePositionResponse) for answer in answers)
        (answer,) = [each for each in answers if each.symbol == "META"]
        assert isinstance(answer.body, Order)
        self._venue.reaches(str(answer.body.id), "filled")

    def get_asset(self) -> None:
        asset = self._client.get_asset("AAPL")
        assert isinstance(asset, Asset)
        assert self._client.get_asset(asset.id) == asset

    def get_all_assets(self) -> None:
        asked = GetAssetsRequest(status="active", asset_class="us_equity", exchange="NASDAQ")
        assets = self._client.get_all_assets(asked)
        assert all(isinstance(asset, Asset) for asset in assets)
        symbols = {asset.symbol for asset in assets}
        assert {"AAPL", "HALT"} <= symbols
        assert "GONE" not in symbols

    def get_clock(self) -> None:
        clock = self._client.get_clock()
        assert isinstance(clock, Clock)
        assert clock.is_open

    def get_calendar(self) -> None:
        days = self._client.get_calendar(GetCalendarRequest(start=date(2026, 11, 23), end=date(2026, 11, 27)))
        assert all(isinstance(day, Calendar) for day in days)
        assert [day.date.day for day in days] == [23, 24, 25, 27]
        assert len(self._client.get_calendar()) > 250

    def get_portfolio_history(self) -> None:
        asked = GetPortfolioHistoryRequest(period="1D", timeframe="1Min", extended_hours=True)
        for history in (self._client.get_portfolio_history(asked), self._client.get_portfolio_history()):
            assert isinstance(history, PortfolioHistory)
            assert len(history.timestamp) == len(history.equity) > 0

    def create_watchlist(self) -> None:
        self._watchlist()

    def get_watchlists(self) -> None:
        made = self._watchlist()
        found = self._client.get_watchlists()
        assert all(isinstance(each, Watchlist) for each in found)
        assert made.id in {each.id for each in found}

    def get_watchlist_by_id(self) -> None:
        made = self._watchlist()
        found = self._client.get_watchlist_by_id(made.id)
        assert isinstance(found, Watchlist)
        assert [asset.symbol for asset in found.assets or []] == ["AAPL"]

    def update_watchlist_by_id(self) -> None:
        made = self._watchlist()
        request = UpdateWatchlistRequest(name=f"new-{uuid4().hex[:8]}", symbols=["IBM", "SPY"])
        changed = self._client.update_watchlist_by_id(made.id, request)
        assert [asset.symbol for asset in changed.assets or []] == ["IBM", "SPY"]

    def add_asset_to_watchlist_by_id(self) -> None:
        changed = self._client.add_asset_to_watchlist_by_id(self._watchlist().id, "QQQ")
        assert [asset.symbol for asset in changed.assets or []] == ["AAPL", "QQQ"]

    def remove_asset_from_watchlist_by_id(self) -> None:
        changed = self._client.remove_asset_from_watchlist_by_id(self._watchlist().id, "AAPL")
        assert changed.assets == []

    def delete_watchlist_by_id(self) -> None:
        made = self._watchlist()
        self._client.delete_watchlist_by_id(made.id)
        assert refusal(lambda: self._client.get_watchlist_by_id(made.id)).status_code == 404

    def _watchlist(self) -> Watchlist:
        request = CreateWatchlistRequest(name=f"w-{uuid4().hex[:8]}", symbols=["AAPL"])
        made = self._client.create_watchlist(request)
        assert isinstance(made, Watchlist)
        return made

    def get_corporate_announcements(self) -> None:
        """Nothing is ever announced here."""
        asked = GetCorporateAnnouncementsRequest(
            ca_types=[CorporateActionType.DIVIDEND], since=date(2026, 11, 1), until=date(2026, 11, 20)
        )
        with pytest.warns(DeprecationWarning, match="get_corporate_announcements"):
            assert self._client.get_corporate_announcements(asked) == []

    def get_corporate_announcement_by_id(self) -> None:
        error = refusal(lambda: self._client.get_corporate_announcement_by_id(uuid4()))
        assert (error.status_code, error.code) == (404, 40410000)


def test_every_method_is_walked_or_left_out_for_a_reason() -> None:
    assert gaps(TradingClient, Walk, LEFT_OUT) == set()


@pytest.mark.parametrize("method", steps(Walk))
def test_the_method_works_and_its_answer_parses(sdk: Venue, method: str) -> None:
    getattr(Walk(sdk), method)()
    sdk.client.close_all_positions(cancel_orders=True)
    wait_until(lambda: not sdk.client.get_all_positions())
