"""The market's clock as a row that operations keep: for a process without broker keys, and to spare a request."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from market.clock import ROUND_TRIP_MAX_SECONDS, ClockReading, MarketClock, carried
from market.errors import ClockUnavailableError
from market.port import ClockReader
from schemas.broker import BrokerClock
from storage.database import Database
from storage.market import ClockRow, read_clock

SHARED_AGE_MAX: Final = timedelta(seconds=50)
"""An older row is not taken over: whoever keeps it reads the broker's clock every 45 s."""
LOOK_SECONDS: Final = 5.0
"""Between looks at the row."""


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


class SharedClock(MarketClock):
    """Takes over the reading that operations store; asks the broker itself where there is none young enough."""

    def __init__(
        self, reader: ClockReader, database: Database, *, speed: float, now: Callable[[], datetime]
    ) -> None:
        super().__init__(reader, speed=speed, wall=now)
        self._database = database
        self._now = now

    async def _try_refresh(self) -> float:
        async with self._database.connection() as connection:
            row = await read_clock(connection)
        if row is None or self._now() - row.read_at > SHARED_AGE_MAX or row.speed != self.speed:
            return await super()._try_refresh()
        self._take_over(_reading(row, self._now()))
        return LOOK_SECONDS


def _reading(row: ClockRow, now: datetime) -> ClockReading:
    told = BrokerClock(
        timestamp=row.broker_at, is_open=row.is_open, next_open=row.next_open, next_close=row.next_close
    )
    age = max((now - row.read_at).total_seconds(), 0.0)
    return ClockReading(
        clock=told,
        read_at=row.read_at,
        monotonic=time.monotonic() - age,
        error_seconds=ROUND_TRIP_MAX_SECONDS / 2,
    )
