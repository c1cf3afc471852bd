"""Feed latency on the market's clock, and when a provider counts as late."""

from datetime import timedelta

import pytest

from market.latency import FeedLatency
from schemas.market import Quote
from tests.unit.market_builders import MARKET, Broker, Hands, market_clock


class Feed:
    """A feed whose quotes arrive now, ``late`` real seconds after they were made."""

    def __init__(self, speed: float = 1.0) -> None:
        self.hands = Hands()
        self.clock = market_clock(Broker(self.hands), speed=speed)
        self.latency = FeedLatency(self.clock, monotonic=lambda: self.hands.monotonic)
        self.speed = speed

    def arrive(self, late: float) -> bool:
        now = self.hands.wall
        quoted = self.clock.at(now) - timedelta(seconds=late * self.speed)
        self.latency.observe(Quote(ticker="AAPL", bid=None, ask=None, quoted_at=quoted, received_at=now))
        return self.latency.is_late


@pytest.fixture(params=[1.0, 20.0])
async def feed(request: pytest.FixtureRequest) -> Feed:
    feed = Feed(request.param)
    await feed.clock.refresh()
    return feed


def test_is_measured_in_real_milliseconds(feed: Feed) -> None:
    feed.arrive(0.25)
    assert feed.latency.milliseconds == pytest.approx(250)


def test_late_only_after_ten_seconds_of_late_quotes(feed: Feed) -> None:
    assert not feed.arrive(0.501)
    feed.hands.pass_seconds(9.999)
    assert not feed.arrive(5)
    feed.hands.pass_seconds(0.001)
    assert feed.arrive(0.501)


def test_five_hundred_milliseconds_are_in_time(feed: Feed) -> None:
    for _ in range(30):
        feed.hands.pass_seconds(1)
        assert not feed.arrive(0.5)


def test_one_quote_in_time_starts_the_window_anew(feed: Feed) -> None:
    for late in (1, 0.1, 1, 1):
        feed.hands.pass_seconds(6)
        assert not feed.arrive(late)


def test_one_late_quote_and_silence_mark_nobody(feed: Feed) -> None:
    feed.arrive(3)
    feed.hands.pass_seconds(3600)
    assert not feed.latency.is_late


async def test_in_time_again_with_the_first_quote_that_is(feed: Feed) -> None:
    feed.arrive(1)
    feed.hands.pass_seconds(10)
    assert feed.arrive(1)
    assert not feed.arrive(0.1)


def test_a_clock_ahead_of_ours_is_not_late(feed: Feed) -> None:
    feed.arrive(-0.05)
    assert feed.latency.milliseconds == pytest.approx(-50)


def test_without_the_markets_clock_nothing_is_judged() -> None:
    latency = FeedLatency(market_clock(Broker(Hands())))
    latency.observe(Quote(ticker="AAPL", bid=None, ask=None, quoted_at=MARKET, received_at=MARKET))
    assert (latency.is_late, latency.milliseconds) == (False, None)
