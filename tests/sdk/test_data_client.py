"""Unmodified alpaca-py's StockHistoricalDataClient, method by method, in every feed that is served."""

from datetime import timedelta
from typing import Any

import pytest
from alpaca.data.enums import Adjustment, DataFeed
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.data.models import Bar, Quote, Snapshot, Trade
from alpaca.data.requests import (
    StockBarsRequest,
    StockLatestBarRequest,
    StockLatestQuoteRequest,
    StockLatestTradeRequest,
    StockQuotesRequest,
    StockSnapshotRequest,
    StockTradesRequest,
)
from alpaca.data.timeframe import TimeFrame

from tests.exchange.conftest import MONDAY_TEN, Venue, refusal
from tests.sdk.walk import PLUMBING, gaps, steps

SERVED = (DataFeed.IEX, DataFeed.SIP, DataFeed.DELAYED_SIP)
BOTH = ["AAPL", "MSFT"]


class Walk:
    """Each method for two tickers; historical ones for an hour that is over in every feed."""

    def __init__(self, venue: Venue, feed: DataFeed) -> None:
        self._data = venue.data
        self._latest: dict[str, Any] = {"symbol_or_symbols": BOTH, "feed": feed}
        begin = MONDAY_TEN - timedelta(minutes=29)
        self._span = self._latest | {"start": begin, "end": begin + timedelta(minutes=5), "limit": 20}

    def _all(self, found: Any, model: type) -> None:
        assert sorted(found) == BOTH
        for rows in found.values():
            assert rows
            assert all(isinstance(row, model) for row in (rows if isinstance(rows, list) else [rows]))

    def get_stock_bars(self) -> None:
        span = self._span | {"timeframe": TimeFrame.Minute, "adjustment": Adjustment.ALL}
        self._all(self._data.get_stock_bars(StockBarsRequest(**span)).data, Bar)

    def get_stock_quotes(self) -> None:
        found = self._data.get_stock_quotes(StockQuotesRequest(**self._span | {"limit": None})).data
        self._all(found, Quote)

    def get_stock_trades(self) -> None:
        found = self._data.get_stock_trades(StockTradesRequest(**self._span | {"limit": None})).data
        self._all(found, Trade)

    def get_stock_latest_trade(self) -> None:
        self._all(self._data.get_stock_latest_trade(StockLatestTradeRequest(**self._latest)), Trade)

    def get_stock_latest_quote(self) -> None:
        self._all(self._data.get_stock_latest_quote(StockLatestQuoteRequest(**self._latest)), Quote)

    def get_stock_latest_bar(self) -> None:
        self._all(self._data.get_stock_latest_bar(StockLatestBarRequest(**self._latest)), Bar)

    def get_stock_snapshot(self) -> None:
        found = self._data.get_stock_snapshot(StockSnapshotRequest(**self._latest))
        self._all(found, Snapshot)
        assert all(
            each.latest_quote and each.daily_bar and each.previous_daily_bar for each in found.values()
        )


def test_every_method_is_walked_or_left_out_for_a_reason() -> None:
    assert gaps(StockHistoricalDataClient, Walk, PLUMBING) == set()


@pytest.mark.parametrize("feed", SERVED)
@pytest.mark.parametrize("method", steps(Walk))
def test_the_method_works_and_its_answer_parses(sdk: Venue, method: str, feed: DataFeed) -> None:
    getattr(Walk(sdk, feed), method)()


@pytest.mark.parametrize("feed", [feed for feed in DataFeed if feed not in SERVED])
def test_a_feed_that_is_not_served_is_refused(sdk: Venue, feed: DataFeed) -> None:
    asked = StockLatestQuoteRequest(symbol_or_symbols="AAPL", feed=feed)
    error = refusal(lambda: sdk.data.get_stock_latest_quote(asked))
    assert (error.status_code, error.message) == (400, f"invalid feed: {feed.value}")
