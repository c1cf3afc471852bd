"""What every quote stream must do, shown on the paper exchange. Cases S1 to S6."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from market.alpaca_data import AlpacaMarketData
from market.clock import MarketClock
from market.errors import FeedNetworkError, FeedRateLimitError, FeedUnauthorizedError
from market.feed import QuoteFeed
from market.latency import FeedLatency
from schemas.market import Provider, Quote
from tests.contract_market.conftest import Venue, VenueFactory, data_settings
from tests.servers.processes import wait_until

WAIT_SECONDS = 30.0


async def take(quotes: AsyncIterator[Quote], count: int) -> list[Quote]:
    async with asyncio.timeout(WAIT_SECONDS):
        return [await anext(quotes) for _ in range(count)]


async def test_s1_quotes_of_subscribed_tickers_arrive_in_order(venue: Venue) -> None:
    async with venue.primary.stream_quotes() as stream:
        await stream.subscribe(["AAPL", "MSFT"])
        quotes = await take(aiter(stream), 8)
    assert {quote.ticker for quote in quotes} == {"AAPL", "MSFT"}
    for ticker in ("AAPL", "MSFT"):
        times = [quote.quoted_at for quote in quotes if quote.ticker == ticker]
        assert times == sorted(set(times))
    assert all(quote.bid and quote.ask and quote.bid < quote.ask for quote in quotes)


async def test_s2_the_stream_and_the_question_tell_the_same(venue: Venue) -> None:
    async with venue.primary.stream_quotes() as stream:
        await stream.subscribe(["AAPL"])
        quotes = aiter(stream)
        await take(quotes, 1)
        await venue.control("quotes", symbol="AAPL", bid="123.4501", ask="123.4502")
        while (streamed := (await take(quotes, 1))[0]).bid_size != 100:
            pass
        asked = (await venue.primary.latest_quotes(["AAPL"]))["AAPL"]
    assert (streamed.bid, streamed.ask) == (asked.bid, asked.ask)
    assert str(streamed.bid) == "123.4501"


async def test_s3_subscriptions_change_on_the_open_connection(venue: Venue) -> None:
    async with venue.primary.stream_quotes() as stream:
        quotes = aiter(stream)
        await stream.subscribe(["AAPL"])
        assert {quote.ticker for quote in await take(quotes, 2)} == {"AAPL"}
        await stream.subscribe(["IBM"])
        async with asyncio.timeout(WAIT_SECONDS):
            while (await anext(quotes)).ticker != "IBM":
                pass
        assert {quote.ticker for quote in await take(quotes, 4)} == {"IBM"}
        await stream.ping(WAIT_SECONDS)


async def test_s4_a_second_connection_with_the_same_key_is_refused(venue: Venue) -> None:
    async with venue.primary.stream_quotes():
        with pytest.raises(FeedRateLimitError, match="connection limit"):
            async with venue.primary.stream_quotes():
                pass
        async with venue.secondary.stream_quotes():
            pass


async def test_s5_wrong_keys(venue: Venue) -> None:
    data = AlpacaMarketData(data_settings(venue.exchange, secret="wrong"))
    with pytest.raises(FeedUnauthorizedError):
        async with data.stream_quotes():
            pass
    await data.close()


async def test_s6_a_dead_exchange_is_told_and_a_feed_comes_back_with_it(venue_factory: VenueFactory) -> None:
    venue = await venue_factory()
    async with MarketClock(venue.broker) as clock:
        feed = QuoteFeed(venue.primary, Provider.PRIMARY, FeedLatency(clock))
        feed.watch(["AAPL"])
        running = asyncio.create_task(feed.run())
        await _until_told(feed)
        async with venue.secondary.stream_quotes() as stream:
            await venue.exchange.kill()
            with pytest.raises(FeedNetworkError):
                await take(aiter(stream), 1_000_000)
        await venue.exchange.start()
        feed.take_changed()
        await _until_told(feed)
        assert feed.latency.milliseconds is not None
        running.cancel()


async def _until_told(feed: QuoteFeed) -> None:
    def told() -> bool:
        return feed.is_connected and feed.last("AAPL") is not None and bool(feed.take_changed())

    await wait_until(told, seconds_max=WAIT_SECONDS, what="a streamed quote of AAPL")
