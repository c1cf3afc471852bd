"""Unmodified alpaca-py's two streams, method by method."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from alpaca.data.live.stock import StockDataStream
from alpaca.data.models import Bar, Quote, Trade
from alpaca.trading.models import TradeUpdate
from alpaca.trading.requests import MarketOrderRequest
from alpaca.trading.stream import TradingStream

from tests.exchange.conftest import Venue, wait_until
from tests.sdk.walk import INSIDE_STOP, public_methods

TRADING_WALKED = {"subscribe_trade_updates", "run", "stop"}
CHANNELS = ("trades", "quotes", "bars", "updated_bars", "daily_bars", "trading_statuses")
DATA_WALKED = {
    "run", "stop", "register_trade_corrections", "register_trade_cancels",
    *(f"{way}_{channel}" for way in ("subscribe", "unsubscribe") for channel in CHANNELS),
}  # fmt: skip


def test_every_method_is_walked_or_left_out_for_a_reason() -> None:
    assert public_methods(TradingStream) == TRADING_WALKED | set(INSIDE_STOP)
    assert public_methods(StockDataStream) == DATA_WALKED | set(INSIDE_STOP)


@contextmanager
def running(stream: Any, wake: Callable[[], object] = lambda: None) -> Iterator[None]:
    """``wake`` has something sent after the stop, which the client else looks at every five seconds."""
    thread = threading.Thread(target=stream.run, daemon=True)
    thread.start()
    wait_until(lambda: stream._running)
    yield
    stream.stop()
    wake()
    thread.join(10)
    assert not thread.is_alive()


def test_the_trading_stream(sdk: Venue) -> None:
    seen: list[TradeUpdate] = []

    async def handler(update: TradeUpdate) -> None:
        seen.append(update)

    stream = TradingStream("TESTKEY", "TESTSECRET", url_override=sdk.running.ws_url + "/stream")
    stream.subscribe_trade_updates(handler)
    request = MarketOrderRequest(symbol="SPY", qty=2, side="buy", time_in_force="day")
    with running(stream, wake=lambda: sdk.client.submit_order(request)):
        order = sdk.client.submit_order(request)
        wait_until(lambda: bool(seen) and seen[-1].event == "fill")
        assert [update.event for update in seen] == ["pending_new", "new", "fill"]
        assert all(isinstance(update, TradeUpdate) and update.order.id == order.id for update in seen)


@pytest.mark.parametrize("feed", ["iex", "sip"])
def test_the_stock_data_stream(sdk: Venue, feed: str) -> None:
    """How: every channel is subscribed, a minute passes, then all but quotes are left again.

    Derived trades are never corrected and nothing halts, so the other channels are taken and stay silent.
    """
    seen: list[Any] = []

    async def handler(message: Any) -> None:
        seen.append(message)

    stream = StockDataStream("TESTKEY", "TESTSECRET", url_override=f"{sdk.running.ws_url}/v2/{feed}")
    for channel in CHANNELS:
        getattr(stream, f"subscribe_{channel}")(handler, "AAPL", "IBM")
    stream.register_trade_corrections(handler)
    stream.register_trade_cancels(handler)

    def kinds() -> Counter[type]:
        return Counter(type(message) for message in seen)

    with running(stream):
        wait_until(lambda: kinds()[Quote] > 0 and kinds()[Trade] > 0)
        later = sdk.client.get_clock().timestamp + timedelta(minutes=1)
        sdk.call("POST", "/_exchange/clock", json={"at": later.isoformat()})
        wait_until(lambda: kinds()[Bar] >= 4)
        for channel in CHANNELS:
            if channel != "quotes":
                getattr(stream, f"unsubscribe_{channel}")("AAPL", "IBM")
        stream.unsubscribe_quotes("IBM")
        seen.clear()
        wait_until(lambda: len(seen) >= 2)
        assert set(kinds()) == {Quote}
        assert {message.symbol for message in seen} == {"AAPL"}
