"""A provider's stream held open: reconnects, changing subscriptions, the last quote of each ticker."""

import asyncio
from collections.abc import AsyncIterator, Collection
from datetime import timedelta
from typing import Self

import pytest

from market import feed as feed_module
from market.errors import FeedNetworkError, FeedUnauthorizedError, MarketDataError
from market.feed import QuoteFeed
from market.latency import FeedLatency
from schemas.market import Provider, Quote
from tests.unit.market_builders import MARKET, NOW, Broker, Hands, market_clock, settled


def quote(ticker: str = "AAPL", *, second: int = 0) -> Quote:
    at = MARKET + timedelta(seconds=second)
    return Quote(ticker=ticker, bid=None, ask=None, quoted_at=at, received_at=NOW)


class Connection:
    """A stream the test writes to; an exception put in ends it."""

    def __init__(self, refusal: MarketDataError | None = None) -> None:
        self.refusal = refusal
        self.items = asyncio.Queue[Quote | MarketDataError]()
        self.subscriptions = asyncio.Queue[frozenset[str]]()
        self.opened = asyncio.Event()
        self.is_closed = False

    async def __aenter__(self) -> Self:
        if self.refusal is not None:
            raise self.refusal
        self.opened.set()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.is_closed = True

    async def subscribe(self, tickers: Collection[str]) -> None:
        self.subscriptions.put_nowait(frozenset(tickers))

    async def __aiter__(self) -> AsyncIterator[Quote]:
        while True:
            item = await self.items.get()
            if isinstance(item, MarketDataError):
                raise item
            yield item

    async def ping(self, timeout_seconds: float) -> None: ...


class Line:
    """Hands out the prepared connections, one for each try."""

    def __init__(self, *connections: Connection) -> None:
        self.left = list(connections)

    def stream_quotes(self) -> Connection:
        return self.left.pop(0) if self.left else Connection(FeedNetworkError("no more"))


class Running:
    def __init__(self, *connections: Connection) -> None:
        self.line = Line(*connections)
        self.feed = QuoteFeed(self.line, Provider.PRIMARY, FeedLatency(market_clock(Broker(Hands()))))

    async def __aenter__(self) -> QuoteFeed:
        self.task = asyncio.create_task(self.feed.run())
        return self.feed

    async def __aexit__(self, *exc_info: object) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "RECONNECT_SECONDS", 0.0)


async def test_tells_the_last_quote_while_it_is_streamed() -> None:
    connection = Connection()
    async with Running(connection) as feed:
        feed.watch(["AAPL"])
        assert await connection.subscriptions.get() == {"AAPL"}
        for second in (0, 2, 1):
            connection.items.put_nowait(quote(second=second))
        connection.items.put_nowait(quote("MSFT"))
        await settled()
        assert feed.last("AAPL") == quote(second=2), "an older one changes nothing"
        assert feed.last("MSFT") is None, "nobody asked for it"
        assert feed.take_changed() == [quote(second=2)]
        assert feed.take_changed() == []


async def test_subscriptions_change_on_the_open_connection() -> None:
    connection = Connection()
    async with Running(connection) as feed:
        assert await connection.subscriptions.get() == set()
        feed.watch(["AAPL", "F"])
        assert await connection.subscriptions.get() == {"AAPL", "F"}
        connection.items.put_nowait(quote())
        await settled()
        feed.watch(["F"])
        assert await connection.subscriptions.get() == {"F"}
        assert feed.last("AAPL") is None
        assert feed.take_changed() == []
    assert connection.is_closed


async def test_reconnects_and_subscribes_again_and_tells_nothing_meanwhile() -> None:
    first, refused, second = Connection(), Connection(FeedUnauthorizedError("keys")), Connection()
    async with Running(first, refused, second) as feed:
        feed.watch(["AAPL"])
        await first.subscriptions.get()
        first.items.put_nowait(quote())
        await settled()
        assert feed.is_connected
        first.items.put_nowait(FeedNetworkError("gone"))
        await settled()
        assert first.is_closed
        assert await asyncio.wait_for(second.subscriptions.get(), 10) == {"AAPL"}


async def test_while_broken_no_quote_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "RECONNECT_SECONDS", 60.0)
    connection = Connection()
    async with Running(connection) as feed:
        feed.watch(["AAPL"])
        await connection.subscriptions.get()
        connection.items.put_nowait(quote())
        await settled()
        assert feed.last("AAPL") is not None
        connection.items.put_nowait(FeedNetworkError("gone"))
        await settled()
        assert not feed.is_connected
        assert feed.last("AAPL") is None


async def test_pauses_longer_after_each_failure_and_short_again_after_a_quote(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed_module, "RECONNECT_SECONDS", 1.0)
    pauses: list[float] = []
    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds:
            pauses.append(seconds)
        await real_sleep(0)

    monkeypatch.setattr(feed_module.asyncio, "sleep", sleep)
    failures = [Connection(FeedNetworkError("down")) for _ in range(7)]
    good = Connection()
    good.items.put_nowait(quote())
    good.items.put_nowait(FeedNetworkError("gone"))
    async with Running(*failures, good):
        while len(pauses) < 9:
            await real_sleep(0)
    assert pauses[:9] == [1, 2, 4, 8, 16, 30, 30, 1, 2]
