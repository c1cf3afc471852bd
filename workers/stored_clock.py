"""The market's clock for a process without broker keys: the row that operations and execution keep."""

from collections.abc import Callable
from datetime import datetime

from market.clock import MarketClock, carried
from market.errors import ClockUnavailableError
from schemas.broker import BrokerClock
from storage.database import Database
from storage.market import read_clock


class StoredClock:
    """A ``ClockReader`` whose answers are as old as the row and say so by refusing."""

    def __init__(self, database: Database, *, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    async def get_clock(self) -> BrokerClock:
        """The row, carried to now.

        Raises:
            ClockUnavailableError: there is none yet, or it is too old: whoever keeps it is down.
        """
        async with self._database.connection() as connection:
            row = await read_clock(connection)
        if row is None:
            raise ClockUnavailableError("the broker's clock was never stored: do the operations run?")
        told = BrokerClock(
            timestamp=row.broker_at, is_open=row.is_open, next_open=row.next_open, next_close=row.next_close
        )
        return carried(told, read_at=row.read_at, speed=row.speed, now=self._now())


class RowClock(MarketClock):
    """Reads the row whenever a reading is asked for: it costs little, and the clock may have been set meanwhile."""

    async def ensure_reading(self) -> None:
        """Read the row.

        Raises:
            ClockUnavailableError: there is none, or it is too old.
        """
        await self.refresh()
