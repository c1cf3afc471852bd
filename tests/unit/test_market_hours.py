"""Trading hours: the broker's word, the calendar's plan, and doubt when they differ."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from market.errors import ClockUnavailableError
from market.hours import MarketHours, compare_day
from schemas.broker import CalendarDay
from tests.unit.market_builders import (
    MARKET,
    NOW,
    Broker,
    Hands,
    market_clock,
    regular_days,
    trading_calendar,
)

TUESDAY = date(2013, 10, 8)


@pytest.fixture
def broker() -> Broker:
    return Broker(Hands())


def market_hours(broker: Broker, *, speed: float = 1.0) -> MarketHours:
    return MarketHours(market_clock(broker, speed=speed), trading_calendar(), broker)


def tell_clock(broker: Broker, **changes: Any) -> None:
    broker.clock = broker.clock.model_copy(update=changes)


def october(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2013, 10, day, hour, minute, tzinfo=UTC)


async def test_open_with_the_time_left(broker: Broker) -> None:
    hours = await market_hours(broker, speed=20).at(NOW)
    assert hours.is_open
    assert hours.market_now == MARKET
    assert hours.seconds_to_close == 5 * 3600
    assert hours.closes_in_seconds == 5 * 3600 / 20
    assert hours.opens_in_seconds is None
    assert hours.doubt is None


async def test_a_halt_closes_what_the_calendar_has_open(broker: Broker) -> None:
    tell_clock(broker, is_open=False)
    hours = await market_hours(broker).at(NOW)
    assert not hours.is_open
    assert hours.seconds_to_close is None
    assert hours.closes_in_seconds is None


async def test_the_broker_does_not_open_what_the_calendar_has_closed(broker: Broker) -> None:
    tell_clock(broker, timestamp=october(8, 21))
    assert not (await market_hours(broker).at(NOW)).is_open


async def test_the_brokers_word_ends_at_its_own_next_transition(broker: Broker) -> None:
    """Skipped time asks about moments that the last reading says nothing of: there the plan holds."""
    hours = market_hours(broker)
    assert not (await hours.at(NOW + timedelta(hours=5))).is_open, "20:00 is the bell"
    assert (await hours.at(NOW + timedelta(hours=22, minutes=30))).is_open, "13:30 of the next day"


async def test_an_earlier_close_at_the_broker_is_believed(broker: Broker) -> None:
    tell_clock(broker, next_close=october(8, 17))
    hours = market_hours(broker)
    assert (await hours.at(NOW + timedelta(hours=1, minutes=59))).is_open
    assert not (await hours.at(NOW + timedelta(hours=2))).is_open


async def test_an_early_broker_opening_waits_for_the_calendar(broker: Broker) -> None:
    tell_clock(broker, timestamp=october(8, 12), is_open=False, next_open=october(8, 13, 30))
    hours = await market_hours(broker).at(NOW)
    assert not hours.is_open
    assert hours.opens_in_seconds == 90 * 60


class TestExtended:
    """04:00 to 20:00 New York, for orders that may."""

    @pytest.mark.parametrize(("hour", "is_open"), [(7, False), (8, True), (22, True), (23, True)])
    async def test_outside_the_regular_session(self, broker: Broker, hour: int, is_open: bool) -> None:
        tell_clock(broker, timestamp=october(8, hour), is_open=False, next_open=october(9, 13, 30))
        assert (await market_hours(broker).at(NOW, extended=True)).is_open is is_open

    async def test_the_bell_that_counts_is_the_last(self, broker: Broker) -> None:
        assert (await market_hours(broker).at(NOW, extended=True)).seconds_to_close == 9 * 3600

    async def test_a_halt_stops_it_too(self, broker: Broker) -> None:
        tell_clock(broker, is_open=False)
        assert not (await market_hours(broker).at(NOW, extended=True)).is_open


class TestDoubt:
    """Where the two calendars differ by more than a minute nobody trades."""

    @pytest.mark.parametrize(
        ("field", "seconds", "agrees"),
        [
            ("close", 60, True),
            ("close", -60, True),
            ("close", 61, False),
            ("close", -61, False),
            ("open", 61, False),
        ],
    )
    def test_a_minute_is_the_limit(self, field: str, seconds: int, agrees: bool) -> None:
        ours = regular_days()[0]
        brokers = ours.model_copy(update={field: getattr(ours, field) + timedelta(seconds=seconds)})
        assert compare_day(TUESDAY, ours, brokers).agrees is agrees

    @pytest.mark.parametrize(
        ("ours", "brokers", "agrees"),
        [(True, False, False), (False, True, False), (False, False, True), (True, True, True)],
    )
    def test_a_day_must_be_one_in_both_or_in_neither(self, ours: bool, brokers: bool, agrees: bool) -> None:
        day = regular_days()[0]
        assert compare_day(TUESDAY, day if ours else None, day if brokers else None).agrees is agrees

    def test_says_who_calls_it_a_trading_day(self) -> None:
        told = compare_day(TUESDAY, regular_days()[0], None).detail
        assert told == "2013-10-08: calendar says a trading day, broker says closed"

    async def test_is_told_with_both_times(self, broker: Broker) -> None:
        early = broker.days[0].model_copy(update={"close": october(8, 17)})
        broker.days = [early]
        doubt = (await market_hours(broker).at(NOW)).doubt
        assert doubt is not None
        assert "20:00" in doubt
        assert "17:00" in doubt

    async def test_a_calendar_that_cannot_be_read_is_doubt(self, broker: Broker) -> None:
        hours = market_hours(broker)
        broker.calendar_failure = OSError("no route")
        doubt = (await hours.at(NOW)).doubt
        assert doubt is not None
        assert "no route" in doubt

    async def test_agreement_is_asked_once_and_again_later_and_on_a_new_day(self, broker: Broker) -> None:
        hours = market_hours(broker)
        for _ in range(5):
            await hours.at(NOW)
        assert broker.calendar_calls == 1
        await hours.at(NOW + timedelta(minutes=10, seconds=1))
        assert broker.calendar_calls == 2
        await hours.at(NOW + timedelta(days=1))
        assert broker.calendar_calls == 3

    async def test_pauses_are_ours_and_not_the_markets(self, broker: Broker) -> None:
        hours = market_hours(broker, speed=20)
        await hours.at(NOW)
        await hours.at(NOW + timedelta(minutes=10))
        assert broker.calendar_calls == 1
        await hours.at(NOW + timedelta(minutes=10, seconds=1))
        assert broker.calendar_calls == 2

    async def test_doubt_is_asked_again_sooner(self, broker: Broker) -> None:
        hours, right = market_hours(broker), broker.days
        broker.days = []
        assert (await hours.at(NOW)).doubt is not None
        broker.days = right
        assert (await hours.at(NOW + timedelta(seconds=15))).doubt is not None
        assert (await hours.at(NOW + timedelta(seconds=16))).doubt is None


async def test_without_a_clock_nobody_is_told_anything(broker: Broker) -> None:
    broker.failure = OSError("down")
    with pytest.raises(ClockUnavailableError):
        await market_hours(broker).at(NOW)


class TestTheBell:
    """What an order sleeps to: told by the broker's last word while the broker is silent."""

    async def test_rings_on_time_while_the_broker_is_silent(self, broker: Broker) -> None:
        hours = market_hours(broker, speed=20)
        assert (await hours.bell(NOW)).closes_in_seconds == 5 * 3600 / 20
        broker.failure = broker.calendar_failure = OSError("down")
        broker.hands.pass_seconds(600)
        with pytest.raises(ClockUnavailableError):
            await hours.at(broker.hands.wall)
        assert (await hours.bell(broker.hands.wall)).closes_in_seconds == 5 * 3600 / 20 - 600
        broker.hands.pass_seconds(300)
        rung = await hours.bell(broker.hands.wall)
        assert (rung.is_open, rung.closes_in_seconds) == (False, None)
        assert rung.opens_in_seconds is not None

    async def test_costs_no_request_once_the_clock_is_known(self, broker: Broker) -> None:
        hours = market_hours(broker)
        for _ in range(2):
            await hours.bell(NOW)
        assert (broker.clock_calls, broker.calendar_calls) == (1, 0)

    async def test_an_earlier_close_at_the_broker_is_believed(self, broker: Broker) -> None:
        tell_clock(broker, next_close=october(8, 17))
        hours = market_hours(broker)
        assert (await hours.bell(NOW + timedelta(hours=1, minutes=59))).is_open
        assert not (await hours.bell(NOW + timedelta(hours=2))).is_open

    async def test_is_not_known_where_the_broker_was_never_heard(self, broker: Broker) -> None:
        broker.failure = OSError("down")
        with pytest.raises(ClockUnavailableError):
            await market_hours(broker).bell(NOW)


def test_a_day_of_another_date_is_not_taken_for_today() -> None:
    day: CalendarDay = regular_days()[1]
    assert not compare_day(TUESDAY, regular_days()[0], day).agrees
