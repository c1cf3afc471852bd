"""What every market-data adapter must do, shown on the paper exchange. Cases D1 to D9."""

from decimal import Decimal

import pytest

from market.alpaca_data import AlpacaMarketData
from market.errors import (
    FeedNetworkError,
    FeedRateLimitError,
    FeedRequestError,
    FeedUnauthorizedError,
    MarketDataError,
)
from schemas.market import Provider
from tests.contract_market.conftest import Venue, VenueFactory, data_settings

LATEST = "/v2/stocks/quotes/latest"


async def test_d1_a_quote_is_exactly_what_the_exchange_shows(venue: Venue) -> None:
    await venue.control("quotes", symbol="AAPL", bid="180.4401", ask="180.48", bid_size=200, ask_size=7)
    quote = (await venue.primary.latest_quotes(["AAPL"]))["AAPL"]
    assert (quote.bid, quote.ask) == (Decimal("180.4401"), Decimal("180.48"))
    assert (quote.bid_size, quote.ask_size) == (Decimal(200), Decimal(7))
    assert (quote.ticker, quote.provider) == ("AAPL", Provider.PRIMARY)


async def test_d2_its_time_is_the_exchanges(venue: Venue) -> None:
    before = await venue.clock()
    await venue.control("quotes", symbol="AAPL", bid="180", ask="181")
    quote = (await venue.primary.latest_quotes(["AAPL"]))["AAPL"]
    assert before <= quote.quoted_at <= await venue.clock()


async def test_d3_many_tickers_at_once_and_an_unknown_one_is_missing(venue: Venue) -> None:
    quotes = await venue.primary.latest_quotes(["AAPL", "MSFT", "NOSUCH", "IBM"])
    assert sorted(quotes) == ["AAPL", "IBM", "MSFT"]
    assert all(quote.bid and quote.ask and quote.bid < quote.ask for quote in quotes.values())
    assert await venue.primary.latest_quotes(["NOSUCH"]) == {}


@pytest.mark.parametrize(("bid", "ask"), [("0", "181"), ("180", "0"), ("0", "0")])
async def test_d4_a_side_where_nobody_is_has_no_price(venue: Venue, bid: str, ask: str) -> None:
    await venue.control("quotes", symbol="AAPL", bid=bid, ask=ask)
    quote = (await venue.primary.latest_quotes(["AAPL"]))["AAPL"]
    assert (quote.bid, quote.ask) == (Decimal(bid) or None, Decimal(ask) or None)


async def test_d5_each_provider_tells_its_own_feed(venue: Venue) -> None:
    await venue.control("quotes", symbol="AAPL", bid="100", ask="101", feeds=["iex"])
    await venue.control("quotes", symbol="AAPL", bid="200", ask="201", feeds=["sip"])
    first = (await venue.primary.latest_quotes(["AAPL"]))["AAPL"]
    second = (await venue.secondary.latest_quotes(["AAPL"]))["AAPL"]
    assert (first.bid, first.provider) == (Decimal(100), Provider.PRIMARY)
    assert (second.bid, second.provider) == (Decimal(200), Provider.SECONDARY)


async def test_d6_wrong_keys(venue: Venue) -> None:
    data = AlpacaMarketData(data_settings(venue.exchange, secret="wrong"))
    with pytest.raises(FeedUnauthorizedError):
        await data.latest_quotes(["AAPL"])
    await data.close()


async def test_d7_a_feed_that_is_not_offered(venue: Venue) -> None:
    data = AlpacaMarketData(data_settings(venue.exchange, feed="otc"))
    with pytest.raises(FeedRequestError, match="invalid feed"):
        await data.latest_quotes(["AAPL"])
    await data.close()


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("status_429", FeedRateLimitError),
        ("status_500", FeedNetworkError),
        ("status_504_before_landing", FeedNetworkError),
        ("drop_before_landing", FeedNetworkError),
        ("drop_after_landing", FeedNetworkError),
        ("hang_after_landing", FeedNetworkError),
    ],
)
async def test_d8_a_failure_is_one_request_and_one_typed_error(
    venue: Venue, action: str, kind: type[MarketDataError]
) -> None:
    await venue.control("faults", match={"path": LATEST}, action=action, times=5)
    with pytest.raises(kind):
        await venue.primary.latest_quotes(["AAPL"])
    left = await venue.control("faults")
    assert [fault["times"] for fault in left] == [4], "the SDK repeats nothing by itself"


async def test_d9_a_dead_exchange_and_its_return(venue_factory: VenueFactory) -> None:
    venue = await venue_factory()
    assert "AAPL" in await venue.primary.latest_quotes(["AAPL"])
    await venue.exchange.kill()
    with pytest.raises(FeedNetworkError):
        await venue.primary.latest_quotes(["AAPL"])
    await venue.exchange.start()
    assert "AAPL" in await venue.primary.latest_quotes(["AAPL"])
