"""Clock, calendar and the pre-trade rule, against exchanges that stand in other years. Cases H1 to H6."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from market.calendar import TradingCalendar, load_calendar
from market.clock import MarketClock
from market.hours import MarketHours, TradingHours
from market.source import QuotePair, QuoteSource
from risk.pre_trade import check
from schemas.risk import CheckName, PreTradeFacts, PreTradeVerdict
from tests.contract_market.conftest import Venue, VenueFactory


@pytest.fixture(scope="module")
async def calendar() -> TradingCalendar:
    return await load_calendar()


def now() -> datetime:
    return datetime.now(UTC)


async def look(venue: Venue, calendar: TradingCalendar, *, extended: bool = False) -> PreTradeVerdict:
    """The whole pre-trade look at AAPL, with an approval of this moment."""
    async with MarketClock(venue.broker) as clock:
        pair = await QuoteSource(clock, venue.primary, venue.secondary).pair("AAPL", now())
        hours = await MarketHours(clock, calendar, venue.broker).at(now(), extended=extended)
    return check(facts(pair, hours, extended=extended))


def facts(pair: QuotePair, hours: TradingHours, *, extended: bool = False) -> PreTradeFacts:
    return PreTradeFacts(
        now=hours.wall_now,
        market_now=hours.market_now,
        approved_at=hours.wall_now,
        extended_hours=extended,
        is_open=hours.is_open,
        seconds_to_close=hours.seconds_to_close,
        primary=pair.primary,
        secondary=pair.secondary,
        late_providers=pair.late,
        hours_doubt=hours.doubt,
    )


@pytest.mark.parametrize("speed", [1.0, 20.0])
async def test_h1_market_time_is_the_exchanges_at_any_speed(venue: Venue, speed: float) -> None:
    await venue.go_on(seconds=1, speed=speed)
    async with MarketClock(venue.broker, speed=speed) as clock:
        error = timedelta(seconds=clock.reading().error_seconds * speed)
        for _ in range(20):
            earliest = await venue.clock()
            told = clock.at(now())
            latest = await venue.clock()
            assert earliest - error <= told <= latest + error


async def test_h2_in_a_session_an_order_may_go(venue: Venue, calendar: TradingCalendar) -> None:
    assert failures(await look(venue, calendar)) == {}


async def test_h3_wide_crossed_and_disagreeing_quotes_refuse(venue: Venue, calendar: TradingCalendar) -> None:
    async def reasons(bid: str, ask: str, **feeds: Any) -> set[CheckName]:
        await venue.control("quotes", symbol="AAPL", bid=bid, ask=ask, **feeds)
        return set(failures(await look(venue, calendar)))

    assert await reasons("99.00", "101.00") == set()
    assert await reasons("98.99", "101.00") == {CheckName.SPREAD}
    assert await reasons("101.00", "100.99") == {CheckName.QUOTE_INTEGRITY}
    assert await reasons("0", "100.99") == {CheckName.QUOTE_INTEGRITY}
    assert await reasons("100.00", "100.01") == set()
    assert await reasons("103.00", "103.01", feeds=["sip"]) == {CheckName.PROVIDERS_DISAGREE}


async def test_h4_a_stale_primary_gives_way_and_both_stale_refuse(
    venue: Venue, calendar: TradingCalendar
) -> None:
    await venue.control("freeze", symbol="AAPL", feeds=["iex"])
    await venue.go_on(seconds=16)
    assert failures(await look(venue, calendar)) == {}
    await venue.control("freeze", symbol="AAPL")
    await venue.go_on(seconds=16)
    verdict = await look(venue, calendar)
    assert set(failures(verdict)) == {CheckName.STALE_MARKET_DATA}
    assert verdict.user_message == "Signal rejected due to stale market data. Required < 15s latency."


BELL, CLOSED = {CheckName.CLOSING_BELL}, {CheckName.TRADING_HOURS}
NOTHING: set[CheckName] = set()
JOURNEY: list[tuple[str, bool, set[CheckName]]] = [
    # Sunday 8 March 2026 the clocks go forward: the bell stays at 16:00 New York.
    ("2026-03-06T15:40:00-05:00", False, NOTHING),
    ("2026-03-06T15:46:00-05:00", False, BELL),
    ("2026-03-09T15:40:00-04:00", False, NOTHING),
    ("2026-03-09T15:46:00-04:00", False, BELL),
    # Independence Day falls on a Saturday and is kept on Friday.
    ("2026-07-03T11:00:00-04:00", False, CLOSED),
    # An ordinary Monday.
    ("2026-11-23T03:59:00-05:00", True, CLOSED),
    ("2026-11-23T04:01:00-05:00", True, NOTHING),
    ("2026-11-23T09:29:00-05:00", False, CLOSED),
    ("2026-11-23T09:31:00-05:00", False, NOTHING),
    ("2026-11-23T15:50:00-05:00", True, NOTHING),
    ("2026-11-23T19:00:00-05:00", False, CLOSED),
    ("2026-11-23T19:00:00-05:00", True, NOTHING),
    ("2026-11-23T19:46:00-05:00", True, BELL),
    ("2026-11-23T20:01:00-05:00", True, CLOSED),
    # Thanksgiving, the early close after it (13:00, extended to 17:00), Saturday.
    ("2026-11-26T11:00:00-05:00", False, CLOSED),
    ("2026-11-27T12:40:00-05:00", False, NOTHING),
    ("2026-11-27T12:46:00-05:00", False, BELL),
    ("2026-11-27T13:30:00-05:00", False, CLOSED),
    ("2026-11-27T16:40:00-05:00", True, NOTHING),
    ("2026-11-27T16:46:00-05:00", True, BELL),
    ("2026-11-28T11:00:00-05:00", False, CLOSED),
]
"""Moments on the exchange's clock, whether the order may trade in extended hours, and what refuses it."""


async def test_h5_bells_holidays_early_closes_and_daylight_saving(
    venue_factory: VenueFactory, calendar: TradingCalendar
) -> None:
    """Only hours are judged: away from the session quotes are old for good reason."""
    venue = await venue_factory(start=JOURNEY[0][0])
    found = []
    for moment, extended, _ in JOURNEY:
        # Two rows may name one moment; the exchange's clock only goes forward.
        at = max(datetime.fromisoformat(moment), await venue.clock() + timedelta(seconds=1))
        await venue.control("clock", at=at.isoformat())
        refusals = set(failures(await look(venue, calendar, extended=extended)))
        found.append((moment, extended, refusals & (BELL | CLOSED)))
    assert found == JOURNEY


async def test_h6_another_calendar_at_the_broker_stops_trading(
    venue_factory: VenueFactory, calendar: TradingCalendar
) -> None:
    venue = await venue_factory(session="always_open", start="2026-11-23T10:15:00-05:00")
    found = failures(await look(venue, calendar))
    assert set(found) == CLOSED
    assert "in doubt" in found[CheckName.TRADING_HOURS]


def failures(verdict: PreTradeVerdict) -> dict[CheckName, str]:
    return {check.name: check.formula for check in verdict.checks if not check.passed}
