"""Every stock route of the data client: answers parse, pages join, bars agree with their quotes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alpaca.data.models import Bar, Quote, Snapshot, Trade
from alpaca.data.requests import (
    StockBarsRequest,
    StockLatestBarRequest,
    StockLatestTradeRequest,
    StockQuotesRequest,
    StockSnapshotRequest,
    StockTradesRequest,
)
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit

from tests.exchange.conftest import MONDAY_TEN, Venue

BOTH = ["AAPL", "MSFT"]
FIVE_MINUTES_AGO = MONDAY_TEN - timedelta(minutes=5)


def test_historical_quotes_join_over_pages_without_loss_or_repetition(shared: Venue) -> None:
    span = {"start": FIVE_MINUTES_AGO, "end": MONDAY_TEN, "feed": "iex"}
    found = shared.data.get_stock_quotes(StockQuotesRequest(symbol_or_symbols=BOTH, **span))
    for symbol in BOTH:
        quotes = found[symbol]
        assert all(isinstance(quote, Quote) for quote in quotes)
        times = [quote.timestamp for quote in quotes]
        assert times == sorted(set(times))
        assert 1_190 <= len(times) <= 1_210, "five minutes of four quotes a second"
    small = StockQuotesRequest(symbol_or_symbols="AAPL", **span, limit=7)
    assert shared.data.get_stock_quotes(small)["AAPL"] == found["AAPL"][:7]
    newest = StockQuotesRequest(symbol_or_symbols="AAPL", **span, limit=7, sort="desc")
    assert shared.data.get_stock_quotes(newest)["AAPL"] == found["AAPL"][:-8:-1]


def test_a_page_token_goes_on_where_the_page_ended(shared: Venue) -> None:
    query: dict[str, Any] = {
        "symbols": "MSFT,AAPL",
        "start": FIVE_MINUTES_AGO.isoformat(),
        "end": (FIVE_MINUTES_AGO + timedelta(seconds=20)).isoformat(),
        "limit": 30,
    }
    whole = shared.call("GET", "/v2/stocks/trades", params=query | {"limit": 1_000}).json()
    assert whole["next_page_token"] is None
    joined: dict[str, list[Any]] = {}
    token = None
    while True:
        page = shared.call("GET", "/v2/stocks/trades", params=query | {"page_token": token}).json()
        for symbol, rows in page["trades"].items():
            joined.setdefault(symbol, []).extend(rows)
        token = page["next_page_token"]
        if token is None:
            break
    assert joined == whole["trades"]


def test_trades_and_bars_parse_and_agree(shared: Venue) -> None:
    span = {"start": FIVE_MINUTES_AGO, "end": MONDAY_TEN}
    trades = shared.data.get_stock_trades(StockTradesRequest(symbol_or_symbols="AAPL", **span))["AAPL"]
    assert all(isinstance(trade, Trade) for trade in trades)
    request = StockBarsRequest(symbol_or_symbols="AAPL", timeframe=TimeFrame.Minute, **span)
    bars = shared.data.get_stock_bars(request)["AAPL"]
    assert all(isinstance(bar, Bar) for bar in bars)
    starts = [bar.timestamp for bar in bars]
    assert starts[:5] == [FIVE_MINUTES_AGO + timedelta(minutes=minute) for minute in range(5)]
    for bar in bars[:5]:
        inside = [
            t.price for t in trades if bar.timestamp <= t.timestamp < bar.timestamp + timedelta(minutes=1)
        ]
        assert min(inside) <= bar.low <= bar.open <= bar.high <= max(inside)
        assert bar.low <= bar.vwap <= bar.high


@pytest.mark.parametrize(
    ("frame", "count"),
    [
        (TimeFrame(5, TimeFrameUnit.Minute), 13),
        (TimeFrame(1, TimeFrameUnit.Hour), 2),
        (TimeFrame.Day, 6),
        (TimeFrame.Week, 2),
        (TimeFrame.Month, 1),
    ],
)
def test_bars_come_in_every_timeframe(shared: Venue, frame: TimeFrame, count: int) -> None:
    short = frame.unit in (TimeFrameUnit.Minute, TimeFrameUnit.Hour)
    start = (
        MONDAY_TEN - timedelta(hours=1)
        if short
        else datetime(2026, 11, 1 if frame.unit == "Month" else 16, tzinfo=UTC)
    )
    request = StockBarsRequest(symbol_or_symbols="AAPL", timeframe=frame, start=start, end=MONDAY_TEN)
    bars = shared.data.get_stock_bars(request)["AAPL"]
    assert len(bars) == count
    assert len({bar.timestamp for bar in bars}) == count


def test_latest_trade_latest_bar_and_snapshot_parse(shared: Venue) -> None:
    trade = shared.data.get_stock_latest_trade(StockLatestTradeRequest(symbol_or_symbols=BOTH, feed="sip"))
    assert {symbol: isinstance(row, Trade) for symbol, row in trade.items()} == {"AAPL": True, "MSFT": True}
    bar = shared.data.get_stock_latest_bar(StockLatestBarRequest(symbol_or_symbols=BOTH))["MSFT"]
    assert isinstance(bar, Bar)
    request = StockSnapshotRequest(symbol_or_symbols=["AAPL", "NOPE"])
    snapshots = shared.data.get_stock_snapshot(request)
    assert list(snapshots) == ["AAPL"]
    snapshot = snapshots["AAPL"]
    assert isinstance(snapshot, Snapshot)
    assert snapshot.previous_daily_bar.timestamp.date().isoformat() == "2026-11-20"
    assert snapshot.daily_bar.timestamp.date().isoformat() == "2026-11-23"
    assert snapshot.minute_bar is not None
    assert snapshot.latest_quote.bid_price <= snapshot.latest_trade.price <= snapshot.latest_quote.ask_price


@pytest.mark.parametrize(
    "path",
    [
        "/v2/stocks/bars?symbols=AAPL&timeframe=9Moons",
        "/v2/stocks/bars?symbols=AAPL",
        "/v2/stocks/bars?timeframe=1Min",
        "/v2/stocks/quotes?symbols=AAPL&limit=10001",
        "/v2/stocks/quotes?symbols=AAPL&start=yesterday",
        "/v2/stocks/trades?symbols=AAPL&page_token=***",
        "/v2/stocks/trades?symbols=AAPL&sort=up",
        "/v2/stocks/snapshots",
    ],
)
def test_data_questions_that_make_no_sense_are_400(shared: Venue, path: str) -> None:
    answer = shared.call("GET", path)
    assert answer.status_code == 400, answer.text
    assert set(answer.json()) == {"message"}


def test_delayed_quotes_are_fifteen_minutes_old(shared: Venue) -> None:
    quote = shared.call("GET", "/v2/stocks/AAPL/quotes/latest?feed=delayed_sip").json()["quote"]
    age = shared.client.get_clock().timestamp - datetime.fromisoformat(quote["t"])
    assert timedelta(minutes=15) <= age < timedelta(minutes=16)
