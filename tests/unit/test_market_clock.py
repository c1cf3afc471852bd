"""Market time from readings of the broker's clock, and silence when there is no fresh one."""

import asyncio
from datetime import timedelta

import pytest

from market import clock as clock_module
from market.clock import MarketClock, carried
from market.errors import ClockUnavailableError
from schemas.broker import BrokerClock
from tests.unit.market_builders import MARKET, NOW, Broker, Hands, market_clock


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def broker(hands: Hands) -> Broker:
    return Broker(hands)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


async def test_market_time_is_the_brokers_and_runs_on_between_readings(hands: Hands, broker: Broker) -> None:
    clock = market_clock(broker)
    await clock.refresh()
    assert clock.at(NOW) == MARKET
    hands.pass_seconds(7)
    assert clock.at(hands.wall) == MARKET + seconds(7)
    assert broker.clock_calls == 1


async def test_speed_counts_from_the_reading(hands: Hands, broker: Broker) -> None:
    clock = market_clock(broker, speed=20)
    await clock.refresh()
    hands.pass_seconds(3)
    assert clock.at(hands.wall) == MARKET + seconds(60)
    assert clock.at(hands.wall + seconds(1)) == MARKET + seconds(80)
    assert clock.real_seconds(60) == 3


async def test_skipped_time_moves_the_market_and_a_forged_past_does_not(hands: Hands, broker: Broker) -> None:
    clock = market_clock(broker)
    await clock.refresh()
    assert clock.instant(NOW + timedelta(days=5)) == NOW + timedelta(days=5)
    assert clock.at(clock.instant(NOW + timedelta(days=5))) == MARKET + timedelta(days=5)
    assert clock.instant(NOW - timedelta(days=5)) == NOW


async def test_a_step_of_the_wall_clock_does_not_move_the_market(hands: Hands, broker: Broker) -> None:
    clock = market_clock(broker)
    await clock.refresh()
    hands.wall += timedelta(hours=1)
    assert clock.at(hands.wall) == MARKET


async def test_the_reading_is_placed_in_the_middle_of_its_bracket(hands: Hands, broker: Broker) -> None:
    broker.takes = 1.0
    clock = market_clock(broker)
    await clock.refresh()
    reading = clock.reading()
    assert reading.error_seconds == 0.5
    assert reading.read_at == NOW + seconds(0.5)
    assert clock.at(hands.wall) == MARKET + seconds(0.5)


async def test_an_answer_too_slow_to_place_is_no_reading(broker: Broker) -> None:
    clock = market_clock(broker)
    broker.takes = 2.0
    await clock.refresh()
    broker.takes = 2.001
    with pytest.raises(ClockUnavailableError, match="answered after"):
        await clock.refresh()
    assert clock.reading().error_seconds == 1.0, "the earlier reading stays"


async def test_a_question_that_waited_for_its_turn_is_placed_by_its_own_way(
    hands: Hands, broker: Broker
) -> None:
    """How: 15 s for a request of the budget, then 1 s to the broker and back; the next answer is too slow."""
    broker.waits, broker.takes = 15.0, 1.0
    clock = market_clock(broker)
    await clock.ensure_reading()
    assert clock.reading().error_seconds == 0.5
    assert clock.reading().read_at == NOW + seconds(15.5)
    assert clock.at(hands.wall) == MARKET + seconds(0.5)
    broker.takes = 2.001
    with pytest.raises(ClockUnavailableError, match="answered after"):
        await clock.refresh()


@pytest.mark.parametrize("speed", [1, 20])
@pytest.mark.parametrize("off", [-3600, 3, 3600])
async def test_a_single_answer_that_no_market_can_show_is_asked_for_again(
    hands: Hands, broker: Broker, off: float, speed: float
) -> None:
    clock = market_clock(broker, speed=speed)
    await clock.refresh()
    hands.pass_seconds(10)
    right = MARKET + seconds(10 * speed)
    broker.shows(right + seconds(off * speed), right)
    await clock.refresh()
    assert (clock.at(hands.wall), broker.clock_calls) == (right, 3)


async def test_a_market_that_has_moved_is_followed_and_contradictions_are_no_reading(
    hands: Hands, broker: Broker
) -> None:
    """How: two answers say that the replay began anew; then each of two says another time."""
    clock = market_clock(broker)
    await clock.refresh()
    anew = MARKET - timedelta(days=3)
    broker.shows(anew)
    await clock.refresh()
    assert clock.at(hands.wall) == anew
    broker.shows(anew + timedelta(hours=1), anew + timedelta(hours=2))
    with pytest.raises(ClockUnavailableError, match="each time as another"):
        await clock.refresh()
    assert clock.at(hands.wall) == anew, "the earlier reading stays"


async def test_what_differs_by_how_loosely_answers_are_placed_is_no_contradiction(
    hands: Hands, broker: Broker
) -> None:
    broker.takes = 2.0
    clock = market_clock(broker)
    await clock.refresh()
    broker.shows(MARKET + seconds(2 + 4))
    await clock.refresh()
    assert broker.clock_calls == 2


async def test_the_earliest_that_it_may_be_is_before_the_reading_by_its_error(
    hands: Hands, broker: Broker
) -> None:
    broker.takes = 1.0
    clock = market_clock(broker, speed=20)
    await clock.refresh()
    hands.pass_seconds(3)
    assert clock.at(hands.wall) == MARKET + seconds(70)
    hands.wall += timedelta(hours=1)
    assert clock.earliest() == MARKET + seconds(60), "whatever our wall clock says"


async def test_without_a_reading_nobody_is_told_the_time(broker: Broker) -> None:
    clock = market_clock(broker)
    with pytest.raises(ClockUnavailableError, match="never read"):
        clock.at(NOW)
    broker.failure = OSError("down")
    with pytest.raises(ClockUnavailableError, match="down"):
        await clock.ensure_reading()
    with pytest.raises(ClockUnavailableError, match="OSError: down"):
        clock.reading()


async def test_an_old_reading_is_no_reading(hands: Hands, broker: Broker) -> None:
    clock = market_clock(broker)
    await clock.refresh()
    hands.pass_seconds(60)
    assert clock.at(hands.wall) == MARKET + seconds(60)
    hands.pass_seconds(0.001)
    with pytest.raises(ClockUnavailableError, match="60 s are allowed"):
        clock.at(hands.wall)


async def test_ensure_reading_asks_only_when_needed_and_once_for_all(hands: Hands, broker: Broker) -> None:
    clock = market_clock(broker)
    await asyncio.gather(*(clock.ensure_reading() for _ in range(10)))
    assert broker.clock_calls == 1
    await clock.ensure_reading()
    assert broker.clock_calls == 1
    hands.pass_seconds(61)
    broker.shows(MARKET + seconds(61))
    await asyncio.gather(*(clock.ensure_reading() for _ in range(10)))
    assert broker.clock_calls == 2


async def test_entered_it_reads_in_the_background_and_survives_failures(
    monkeypatch: pytest.MonkeyPatch, broker: Broker
) -> None:
    monkeypatch.setattr(clock_module, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(clock_module, "REFRESH_SECONDS", 0.0)
    failures, third_good = 3, asyncio.Event()

    class Recovering:
        calls = 0

        async def get_clock(self) -> BrokerClock:
            self.calls += 1
            if self.calls <= failures:
                raise ConnectionError("not yet")
            if self.calls == failures + 3:
                third_good.set()
            return broker.clock

    reader = Recovering()
    async with MarketClock(reader) as clock:
        with pytest.raises(ClockUnavailableError):
            clock.reading()
        await asyncio.wait_for(third_good.wait(), 10)
        assert clock.reading().clock.is_open
    calls = reader.calls
    await asyncio.sleep(0)
    assert reader.calls == calls, "nothing reads after the exit"


@pytest.mark.parametrize("speed", [0, -1, 20.1])
def test_a_speed_out_of_range_is_refused(broker: Broker, speed: float) -> None:
    with pytest.raises(ValueError, match="speed"):
        market_clock(broker, speed=speed)


class TestCarried:
    """A stored reading as another process tells it."""

    def test_runs_on_at_the_markets_speed(self, broker: Broker) -> None:
        told = carried(broker.clock, read_at=NOW, speed=20, now=NOW + seconds(3))
        assert told.timestamp == MARKET + seconds(60)
        assert told.next_close == broker.clock.next_close

    @pytest.mark.parametrize("age", [60.001, -2.001])
    def test_is_refused_when_old_or_from_the_future(self, broker: Broker, age: float) -> None:
        with pytest.raises(ClockUnavailableError):
            carried(broker.clock, read_at=NOW - seconds(age), speed=1, now=NOW)
