"""What time it is, for us and for the market.

Wall time is ours: ages of approvals, expiry, rate windows. Market time is the exchange's: ages of quotes,
sessions, the bell. With a live broker the two agree to milliseconds; a local exchange may stand in any year
and run at another speed.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from market.errors import ClockUnavailableError
from market.port import ClockReader
from observability.logging import get_logger
from risk.clock import is_too_old, market_time
from risk.constants import CLOCK_SKEW_MAX
from schemas.broker import BrokerClock

REFRESH_SECONDS: Final = 45.0
"""Between readings, which go on by the monotonic clock. Whoever finds none, or the market ahead, reads at once."""
RETRY_SECONDS: Final = 2.0
"""Between tries while the broker does not answer."""
READING_AGE_MAX_SECONDS: Final = 60.0
"""Older than this a reading is no reading: the market may have been halted since."""
ROUND_TRIP_MAX_SECONDS: Final = 2.0
"""A slower answer places the broker's time too loosely (half of it is the error) and is thrown away."""
SPEED_MAX: Final = 20.0
"""Market seconds in a real second."""

_log = get_logger(__name__)


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class ClockReading:
    """The broker's clock, read once."""

    clock: BrokerClock
    """``timestamp`` is market time at the moment of the reading; ``is_open`` knows of halts."""
    read_at: datetime
    """That moment on our wall clock: the middle between sending the question and holding the answer."""
    monotonic: float
    """The same moment in our monotonic seconds."""
    error_seconds: float
    """Half the round trip: the reading is right to within this many real seconds."""


def carried(clock: BrokerClock, *, read_at: datetime, speed: float, now: datetime) -> BrokerClock:
    """Another process's reading as that clock would answer at ``now``: for processes without broker keys,
    whose ``ClockReader`` reads it from storage.

    Raises:
        ClockUnavailableError: the reading is older than ``READING_AGE_MAX_SECONDS``, or from the future.
    """
    if is_too_old(read_at, now, timedelta(seconds=READING_AGE_MAX_SECONDS)):
        raise ClockUnavailableError(
            f"the stored reading of the broker's clock is {(now - read_at).total_seconds():.0f} s old, "
            f"limit {READING_AGE_MAX_SECONDS:.0f} s"
        )
    told = market_time(now, broker_at=clock.timestamp, read_at=read_at, speed=speed)
    return clock.model_copy(update={"timestamp": told})


class MarketClock:
    """Tells market time between readings of the broker's clock, and refuses to when the last is too old.

    ``async with MarketClock(reader) as clock`` keeps it read in the background. Entering never fails: with
    a broker that is down the clock has no reading and says so.
    """

    def __init__(
        self,
        reader: ClockReader,
        *,
        speed: float = 1.0,
        wall: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 < speed <= SPEED_MAX:
            raise ValueError(f"speed must be above 0 and at most {SPEED_MAX:g}, got {speed:g}")
        self._reader = reader
        self._speed = speed
        self._wall = wall
        self._monotonic = monotonic
        self._reading: ClockReading | None = None
        self._last_failure = "it was never read"
        self._reading_lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        delay = await self._try_refresh()
        self._task = asyncio.create_task(self._keep_reading(delay), name="market-clock")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    @property
    def speed(self) -> float:
        return self._speed

    def instant(self, as_of: datetime) -> datetime:
        """The wall instant to judge by: the later of our clock and ``as_of``.

        So skipped time can make things stale, and a forged argument cannot make them fresh.
        """
        return max(self._wall(), as_of)

    def wall(self) -> datetime:
        """Our own wall clock: for what must not be over because somebody says that it is later."""
        return self._wall()

    def at(self, instant: datetime) -> datetime:
        """Market time at the wall instant: the broker's clock + (instant − wall) × speed.

        Raises:
            ClockUnavailableError: no reading young enough.
        """
        return self.carried_on(self.reading(), instant)

    def carried_on(self, reading: ClockReading, instant: datetime) -> datetime:
        """Market time at the wall instant by that reading, however old it is."""
        # Counted on the monotonic clock, so that a step of the wall clock does not move the market's.
        wall_at_reading = self._wall() - timedelta(seconds=self._monotonic() - reading.monotonic)
        return market_time(
            instant, broker_at=reading.clock.timestamp, read_at=wall_at_reading, speed=self._speed
        )

    def earliest(self) -> datetime:
        """The earliest that market time may be right now: for what nothing later can be older than.

        Raises:
            ClockUnavailableError: no reading young enough.
        """
        error = timedelta(seconds=self.reading().error_seconds) * self._speed
        return self.at(self._wall()) - error

    def real_seconds(self, market_seconds: float) -> float:
        """How long that many market seconds take for us."""
        return market_seconds / self._speed

    @property
    def last_reading(self) -> ClockReading | None:
        """However old it is; None where the broker's clock was never read."""
        return self._reading

    def reading(self) -> ClockReading:
        """Raises:
        ClockUnavailableError: there is none younger than ``READING_AGE_MAX_SECONDS``.
        """
        reading = self._reading
        if reading is None:
            raise ClockUnavailableError(f"the broker's clock is unknown: {self._last_failure}")
        age = self._monotonic() - reading.monotonic
        if age > READING_AGE_MAX_SECONDS:
            raise ClockUnavailableError(
                f"the broker's clock was last read {age:.0f} s ago, {READING_AGE_MAX_SECONDS:.0f} s are "
                f"allowed; last try: {self._last_failure}"
            )
        return reading

    async def ensure_reading(self) -> None:
        """Read now if the background has not managed to. Callers at the same time share one request.

        Raises:
            ClockUnavailableError: the broker does not answer either.
        """
        try:
            self.reading()
        except ClockUnavailableError:
            seen = self._reading
            async with self._reading_lock:
                if self._reading is seen:
                    await self._read()

    async def ensure_not_behind(self, stamp: datetime) -> None:
        """Read now if the market has stamped something with a time that is still ahead of ours.

        A market is never ahead of its own clock: that was set, or our reading of it is off. A reading younger
        than ``RETRY_SECONDS`` stands, and the stamp is what is wrong.

        Raises:
            ClockUnavailableError: no reading, or the broker does not answer.
        """
        reading = self.reading()
        is_young = self._monotonic() - reading.monotonic < RETRY_SECONDS
        if is_young or stamp - self.at(self._wall()) <= CLOCK_SKEW_MAX:
            return
        async with self._reading_lock:
            if self._reading is reading:
                await self._read()

    async def refresh(self) -> None:
        """Read the broker's clock now.

        Raises:
            ClockUnavailableError: no answer, or one too slow to place. An earlier reading stays.
        """
        async with self._reading_lock:
            await self._read()

    async def _read(self) -> None:
        before, reading = self._reading, await self._ask()
        if before is not None and self._contradict(before, reading):
            # Either the market has moved (a replay that begins anew), or this one answer is wrong.
            again = await self._ask()
            if self._contradict(reading, again) and self._contradict(before, again):
                self._last_failure = "its answers contradict each other"
                raise ClockUnavailableError("the broker's clock was read twice, each time as another time")
            reading = again
        self._reading = reading

    def _contradict(self, one: ClockReading, other: ClockReading) -> bool:
        """Whether no market can have shown both: it runs at ``speed``."""
        passed = timedelta(seconds=other.monotonic - one.monotonic) * self._speed
        error = timedelta(seconds=one.error_seconds + other.error_seconds)
        apart = abs(other.clock.timestamp - one.clock.timestamp - passed)
        return apart > (CLOCK_SKEW_MAX + error) * max(self._speed, 1)

    async def _ask(self) -> ClockReading:
        asked = self._monotonic()
        try:
            clock = await self._reader.get_clock()
        except Exception as error:
            # Whatever went wrong (the port's errors belong to the broker package), there is no reading.
            self._last_failure = f"{type(error).__name__}: {error}"
            raise ClockUnavailableError(f"the broker's clock could not be read: {error}") from error
        sent = asked + clock.waited_seconds
        round_trip = self._monotonic() - sent
        if round_trip > ROUND_TRIP_MAX_SECONDS:
            self._last_failure = f"the answer took {round_trip:.1f} s"
            raise ClockUnavailableError(
                f"the broker's clock answered after {round_trip:.1f} s, limit {ROUND_TRIP_MAX_SECONDS:g} s"
            )
        half = round_trip / 2
        return ClockReading(
            clock=clock,
            read_at=self._wall() - timedelta(seconds=half),
            monotonic=sent + half,
            error_seconds=half,
        )

    def _take_over(self, reading: ClockReading) -> None:
        """Go on with another process's reading where it is the younger one."""
        if self._reading is None or reading.monotonic > self._reading.monotonic:
            self._reading = reading

    async def _try_refresh(self) -> float:
        """Returns seconds until the next try."""
        try:
            await self.refresh()
        except ClockUnavailableError as error:
            _log.warning("market clock not read", reason=error.message)
            return RETRY_SECONDS
        return REFRESH_SECONDS

    async def _keep_reading(self, delay: float) -> None:
        while True:
            await asyncio.sleep(delay)
            try:
                delay = await self._try_refresh()
            except Exception:  # noqa: BLE001 - a loop that ended would leave the market without a time
                _log.exception("market clock not read")
                delay = RETRY_SECONDS
