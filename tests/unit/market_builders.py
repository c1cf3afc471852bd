"""A clock to turn by hand and a broker's times to answer from."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from market.calendar import TradingCalendar, calendar_day
from market.clock import MarketClock
from schemas.broker import BrokerClock, CalendarDay

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
"""Our wall clock: a Sunday."""
MARKET = datetime(2013, 10, 8, 15, 0, tzinfo=UTC)
"""The exchange's: a Tuesday, 11:00 New York."""


class Hands:
    """Both of our clocks, moved by the test only."""

    def __init__(self) -> None:
        self.wall = NOW
        self.monotonic = 1000.0

    def pass_seconds(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.monotonic += seconds


class Broker:
    """Answers clock and calendar as it is told to: asked after ``waits`` seconds of our time, it ``takes`` more."""

    def __init__(self, hands: Hands) -> None:
        self.hands = hands
        self.waits = 0.0
        self.takes = 0.0
        self.failure: Exception | None = None
        self.calendar_failure: Exception | None = None
        self.clock_calls = 0
        self.calendar_calls = 0
        self.clock = BrokerClock(
            timestamp=MARKET,
            is_open=True,
            next_open=datetime(2013, 10, 9, 13, 30, tzinfo=UTC),
            next_close=datetime(2013, 10, 8, 20, 0, tzinfo=UTC),
        )
        self.next: list[datetime] = []
        self.days: list[CalendarDay] = regular_days()

    def shows(self, *times: datetime) -> None:
        """The next answers, one after the other; the last one stays."""
        self.next = list(times)

    async def get_clock(self) -> BrokerClock:
        self.clock_calls += 1
        if self.next:
            self.clock = self.clock.model_copy(update={"timestamp": self.next.pop(0)})
        self.hands.pass_seconds(self.waits + self.takes)
        if self.failure is not None:
            raise self.failure
        return self.clock.model_copy(update={"waited_seconds": self.waits})

    async def get_calendar(self, start: date, end: date) -> Sequence[CalendarDay]:
        self.calendar_calls += 1
        if self.calendar_failure is not None:
            raise self.calendar_failure
        return [day for day in self.days if start <= day.day <= end]


async def settled() -> None:
    """Let every task run until it waits for something that only the test can give."""
    for _ in range(50):
        await asyncio.sleep(0)


def regular_days() -> list[CalendarDay]:
    """Tuesday 8 October 2013 and the two days after it, in summer time."""
    return [
        calendar_day(
            date(2013, 10, day),
            datetime(2013, 10, day, 13, 30, tzinfo=UTC),
            datetime(2013, 10, day, 20, 0, tzinfo=UTC),
        )
        for day in (8, 9, 10)
    ]


def market_clock(broker: Broker, *, speed: float = 1.0) -> MarketClock:
    """Not entered: read only when a test says so."""
    hands = broker.hands
    return MarketClock(broker, speed=speed, wall=lambda: hands.wall, monotonic=lambda: hands.monotonic)


def trading_calendar() -> TradingCalendar:
    return TradingCalendar(regular_days())
