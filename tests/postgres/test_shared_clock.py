"""Execution goes on with the clock that operations read, and asks the broker itself where nobody keeps the row."""

from datetime import UTC, datetime, timedelta

from schemas.broker import BrokerClock
from storage.database import Database
from storage.market import ClockRow, save_clock_reading
from tests.postgres.books import RealTimeMarket
from workers.stored_clock import SHARED_AGE_MAX, SharedClock

AHEAD = timedelta(days=3)


class Counted(RealTimeMarket):
    """The broker's clock, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def get_clock(self) -> BrokerClock:
        self.asked += 1
        return await super().get_clock()


async def keep(rows: Database, *, age: timedelta) -> None:
    """Store a reading of that age of a market that is three days ahead."""
    read_at = datetime.now(UTC) - age
    row = ClockRow(
        read_at=read_at, broker_at=read_at + AHEAD, speed=1.0, is_open=True,
        next_open=read_at + AHEAD, next_close=read_at + AHEAD,
    )  # fmt: skip
    async with rows.transaction("test") as connection:
        await save_clock_reading(connection, row)


async def test_a_kept_row_spares_the_request_and_an_old_one_does_not(database: str) -> None:
    rows, broker = await Database.connect(database), Counted()
    await keep(rows, age=timedelta(seconds=30))
    async with SharedClock(broker, rows, speed=1.0, now=lambda: datetime.now(UTC)) as clock:
        now = datetime.now(UTC)
        assert abs(clock.at(now) - now - AHEAD) < timedelta(seconds=1)
        assert broker.asked == 0
    async with rows.transaction("test") as connection:
        await connection.execute("update market_clock set read_at = read_at - $1::interval", SHARED_AGE_MAX)
    async with SharedClock(broker, rows, speed=1.0, now=lambda: datetime.now(UTC)) as clock:
        now = datetime.now(UTC)
        assert abs(clock.at(now) - now) < timedelta(seconds=1)
        assert broker.asked == 1
    await rows.close()
