"""Two providers behind one question."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import timedelta
from typing import Any, Self

import pytest

from market import source as source_module
from market.clock import MarketClock
from market.errors import ClockUnavailableError, FeedNetworkError, FeedUnauthorizedError
from market.feed import QuoteFeed
from market.latency import FeedLatency
from market.port import MarketData, QuoteStream
from market.source import QuoteSource
from schemas.market import Provider, Quote
from tests.unit.market_builders import MARKET, NOW, Broker, Hands, market_clock, settled


def quote(provider: Provider = Provider.PRIMARY, *, age: float = 1, ticker: str = "AAPL") -> Quote:
    at = MARKET - timedelta(seconds=age)
    return Quote(ticker=ticker, provider=provider, bid=None, ask=None, quoted_at=at, received_at=NOW)


class Shelf:
    """A provider that answers what lies on it, when its gate is open."""

    def __init__(self, *quotes: Quote, failure: Exception | None = None) -> None:
        self.quotes = {each.ticker: each for each in quotes}
        self.failure = failure
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = 0
        self.is_closed = False

    async def latest_quotes(self, tickers: Collection[str]) -> Mapping[str, Quote]:
        self.asked += 1
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return {ticker: self.quotes[ticker] for ticker in tickers if ticker in self.quotes}

    def stream_quotes(self) -> QuoteStream:
        return Wire(self)

    async def close(self) -> None:
        self.is_closed = True


class Wire:
    """A stream that gives each subscribed quote once."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.subscribed = asyncio.Queue[frozenset[str]]()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None: ...

    async def subscribe(self, tickers: Collection[str]) -> None:
        self.subscribed.put_nowait(frozenset(tickers))

    async def __aiter__(self) -> AsyncIterator[Quote]:
        while True:
            for ticker in await self.subscribed.get():
                yield self.shelf.quotes[ticker]

    async def ping(self, timeout_seconds: float) -> None: ...


@pytest.fixture
async def clock() -> MarketClock:
    clock = market_clock(Broker(Hands()))
    await clock.refresh()
    return clock


FRESH, OTHER = quote(), quote(Provider.SECONDARY)
STALE = quote(age=15.000001)


async def test_both_are_asked_and_told(clock: MarketClock) -> None:
    pair = await QuoteSource(clock, Shelf(FRESH), Shelf(OTHER)).pair("AAPL", NOW)
    assert (pair.primary, pair.secondary, pair.late) == (FRESH, OTHER, ())
    assert pair.market_now == MARKET


async def test_one_provider_is_enough(clock: MarketClock) -> None:
    pair = await QuoteSource(clock, Shelf(FRESH)).pair("AAPL", NOW)
    assert (pair.primary, pair.secondary) == (FRESH, None)


async def test_a_provider_that_fails_or_does_not_know_the_ticker_has_no_quote(clock: MarketClock) -> None:
    broken = Shelf(failure=FeedNetworkError("down"))
    pair = await QuoteSource(clock, broken, Shelf(OTHER)).pair("AAPL", NOW)
    assert (pair.primary, pair.secondary) == (None, OTHER)
    pair = await QuoteSource(clock, Shelf(), broken).pair("AAPL", NOW)
    assert (pair.primary, pair.secondary) == (None, None)


async def test_a_slow_secondary_does_not_hold_up_a_fresh_primary(
    clock: MarketClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "SECONDARY_GRACE_SECONDS", 0.0)
    slow = Shelf(OTHER)
    slow.gate.clear()
    pair = await QuoteSource(clock, Shelf(FRESH), slow).pair("AAPL", NOW)
    assert (pair.primary, pair.secondary) == (FRESH, None)


@pytest.mark.parametrize("primary", [Shelf(STALE), Shelf(), Shelf(failure=FeedNetworkError("down"))])
async def test_a_slow_secondary_is_waited_for_when_it_is_needed(
    clock: MarketClock, monkeypatch: pytest.MonkeyPatch, primary: Shelf
) -> None:
    monkeypatch.setattr(source_module, "SECONDARY_GRACE_SECONDS", 0.0)
    slow = Shelf(OTHER)
    slow.gate.clear()
    asking = asyncio.create_task(QuoteSource(clock, primary, slow).pair("AAPL", NOW))
    await settled()
    assert not asking.done()
    slow.gate.set()
    assert (await asking).secondary == OTHER


async def test_without_a_clock_no_quote_has_an_age(clock: MarketClock) -> None:
    broker = Broker(Hands())
    broker.failure = OSError("down")
    with pytest.raises(ClockUnavailableError):
        await QuoteSource(market_clock(broker), Shelf(FRESH)).pair("AAPL", NOW)


@pytest.mark.parametrize(
    ("ahead_seconds", "reading_age_seconds", "readings"), [(2, 5, 1), (2.001, 5, 3), (2.001, 1.9, 1)]
)
async def test_a_quote_from_the_future_has_the_clock_read_anew(
    ahead_seconds: float, reading_age_seconds: float, readings: int
) -> None:
    """How: the exchange's clock is set forward, which a second answer confirms; a reading younger than 2 s is not
    doubted."""
    hands = Hands()
    broker = Broker(hands)
    clock = market_clock(broker)
    await clock.refresh()
    hands.pass_seconds(reading_age_seconds)
    shown = quote(age=-reading_age_seconds - ahead_seconds)
    set_to = broker.clock.timestamp + timedelta(hours=3)
    broker.clock = broker.clock.model_copy(update={"timestamp": set_to})
    pair = await QuoteSource(clock, Shelf(shown)).pair("AAPL", NOW)
    assert broker.clock_calls == readings
    assert (pair.market_now == set_to) == (readings > 1)
    await QuoteSource(clock, Shelf(shown)).latest(["AAPL"])
    assert broker.clock_calls == readings


class TestLatest:
    """Many tickers from all providers, to be stored."""

    async def test_gives_all_that_anyone_knows(self, clock: MarketClock) -> None:
        msft = quote(ticker="MSFT")
        found = await QuoteSource(clock, Shelf(FRESH, msft), Shelf(OTHER)).latest(["AAPL", "MSFT", "F"])
        assert found == [FRESH, msft, OTHER]

    async def test_one_failure_is_no_failure(self, clock: MarketClock) -> None:
        broken = Shelf(failure=FeedNetworkError("down"))
        assert await QuoteSource(clock, broken, Shelf(OTHER)).latest(["AAPL"]) == [OTHER]

    async def test_all_failures_are_the_primarys(self, clock: MarketClock) -> None:
        first, last = Shelf(failure=FeedUnauthorizedError("keys")), Shelf(failure=FeedNetworkError("down"))
        with pytest.raises(FeedUnauthorizedError, match="keys"):
            await QuoteSource(clock, first, last).latest(["AAPL"])

    async def test_our_own_bug_is_not_taken_for_a_failure(self, clock: MarketClock) -> None:
        with pytest.raises(ZeroDivisionError):
            await QuoteSource(clock, Shelf(failure=ZeroDivisionError()), Shelf(OTHER)).latest(["AAPL"])


async def test_closes_every_provider(clock: MarketClock) -> None:
    shelves = Shelf(), Shelf()
    await QuoteSource(clock, *shelves).close()
    assert all(shelf.is_closed for shelf in shelves)


class TestFeed:
    """With a feed running, a fresh streamed quote answers without HTTP."""

    async def streaming(self, clock: MarketClock, shelf: Shelf) -> tuple[QuoteFeed, "asyncio.Task[None]"]:
        feed = QuoteFeed(shelf, Provider.PRIMARY, FeedLatency(clock))
        feed.watch(["AAPL"])
        task = asyncio.create_task(feed.run())
        await settled()
        assert feed.last("AAPL") is not None
        return feed, task

    async def test_saves_the_question(self, clock: MarketClock) -> None:
        shelf = Shelf(FRESH)
        feed, task = await self.streaming(clock, shelf)
        source = QuoteSource(clock, shelf, feeds=[feed])
        assert (await source.pair("AAPL", NOW)).primary == FRESH
        assert shelf.asked == 0
        task.cancel()

    async def test_a_stale_one_is_asked_again_and_the_newer_counts(self, clock: MarketClock) -> None:
        shelf = Shelf(STALE)
        feed, task = await self.streaming(clock, shelf)
        source = QuoteSource(clock, shelf, feeds=[feed])
        assert (await source.pair("AAPL", NOW)).primary == STALE
        shelf.quotes["AAPL"] = FRESH
        assert (await source.pair("AAPL", NOW)).primary == FRESH
        shelf.quotes["AAPL"] = quote(age=999)
        assert (await source.pair("AAPL", NOW)).primary == STALE
        task.cancel()

    async def test_a_late_feed_is_named(self, clock: MarketClock, monkeypatch: pytest.MonkeyPatch) -> None:
        feed, task = await self.streaming(clock, Shelf(FRESH))
        monkeypatch.setattr(FeedLatency, "is_late", property(lambda _: True))
        pair = await QuoteSource(clock, Shelf(FRESH), feeds=[feed]).pair("AAPL", NOW)
        assert pair.late == (Provider.PRIMARY,)
        task.cancel()


def test_the_adapter_and_the_shelf_are_both_the_port() -> None:
    from market.alpaca_data import AlpacaMarketData

    ports: list[type[MarketData] | Any] = [AlpacaMarketData, Shelf]
    for name in ("latest_quotes", "stream_quotes", "close"):
        assert all(callable(getattr(port, name)) for port in ports)
