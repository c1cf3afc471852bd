"""Whether an order may go out now: the broker's clock, the calendar, and whether the two agree.

The broker's ``is_open`` decides "open now", because only it knows of halts and unplanned closes; the calendar
decides when the bell rings. Where the two calendars differ for today nobody trades.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final

from market.calendar import TradingCalendar, new_york_date
from market.clock import ClockReading, MarketClock
from market.errors import ClockUnavailableError
from market.port import CalendarReader
from observability.logging import get_logger
from schemas.broker import CalendarDay
from schemas.market import Session

CALENDAR_DIFFERENCE_MAX: Final = timedelta(minutes=1)
"""Exactly this much is still agreement."""
RECHECK_SECONDS: Final = 600.0
"""An exchange announces an early close during the day, so agreement is asked again."""
RECHECK_AFTER_DOUBT_SECONDS: Final = 15.0

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CalendarAgreement:
    """Whether the broker's calendar and ours say the same of one day."""

    day: date
    agrees: bool
    detail: str
    """In words, with both times."""


@dataclass(frozen=True, slots=True)
class TradingHours:
    """Everything pre-trade asks about time, for one wall instant."""

    wall_now: datetime
    market_now: datetime
    session: Session
    is_open: bool
    """Open for this kind of order: the regular session, or the extended one where asked for."""
    seconds_to_close: float | None
    """Market seconds to the bell that counts for this kind of order; None while closed."""
    closes_in_seconds: float | None
    """The same in real seconds, to be slept."""
    opens_in_seconds: float | None
    """Real seconds to the next regular open; None while the regular session is open."""
    doubt: str | None
    """Why none of this may be relied on for trading; None when all is well."""


def compare_day(day: date, ours: CalendarDay | None, brokers: CalendarDay | None) -> CalendarAgreement:
    """Compare the regular session of one New York date in the two calendars."""
    if ours is None or brokers is None:
        agrees = ours is None and brokers is None
        told = {True: "closed", False: "a trading day"}
        return CalendarAgreement(
            day, agrees, f"{day}: calendar says {told[ours is None]}, broker says {told[brokers is None]}"
        )
    difference = max(abs(ours.open - brokers.open), abs(ours.close - brokers.close))
    return CalendarAgreement(
        day,
        difference <= CALENDAR_DIFFERENCE_MAX,
        f"{day}: calendar {ours.open.isoformat()} to {ours.close.isoformat()}, "
        f"broker {brokers.open.isoformat()} to {brokers.close.isoformat()}",
    )


class MarketHours:
    """Answers about trading hours, from one clock and one calendar, cross-checked with the broker's."""

    def __init__(self, clock: MarketClock, calendar: TradingCalendar, reader: CalendarReader) -> None:
        self._clock = clock
        self._calendar = calendar
        self._reader = reader
        self._agreement: CalendarAgreement | None = None
        self._checked_at: datetime | None = None
        self._lock = asyncio.Lock()

    async def at(self, as_of: datetime, *, extended: bool = False) -> TradingHours:
        """Trading hours at max(our wall clock, ``as_of``).

        ``extended``: for an order that may trade from 04:00 to 20:00 New York.

        Raises:
            ClockUnavailableError: nobody can say what time it is on the market.
        """
        await self._clock.ensure_reading()
        hours = self._told(self._clock.reading(), as_of, extended=extended)
        agreement = await self._agreement_on(hours.market_now)
        return replace(
            hours, doubt=None if agreement.agrees else f"trading hours in doubt: {agreement.detail}"
        )

    async def bell(self, as_of: datetime, *, extended: bool = False) -> TradingHours:
        """When the bell rings, by the broker's last word and the calendar: told while the broker is silent too.

        Whether anybody may trade by it is not asked: ``doubt`` is None.

        Raises:
            ClockUnavailableError: the broker's clock was never read.
        """
        if self._clock.last_reading is None:
            await self._clock.ensure_reading()
        return self._told(self._clock.last_reading or self._clock.reading(), as_of, extended=extended)

    def _told(self, reading: ClockReading, as_of: datetime, *, extended: bool) -> TradingHours:
        wall_now = self._clock.instant(as_of)
        market_now = self._clock.carried_on(reading, wall_now)
        session = self._calendar.session_at(market_now)
        is_open = _is_open(session, reading, market_now, extended=extended)
        to_close = (session.seconds_to_extended_close if extended else session.seconds_to_close) or 0.0
        real = self._clock.real_seconds
        return TradingHours(
            wall_now=wall_now,
            market_now=market_now,
            session=session,
            is_open=is_open,
            seconds_to_close=to_close if is_open else None,
            closes_in_seconds=real(to_close) if is_open else None,
            opens_in_seconds=None if session.seconds_to_open is None else real(session.seconds_to_open),
            doubt=None,
        )

    def trading_day(self, market_now: datetime) -> CalendarDay | None:
        """The trading day that has begun last; None where our calendar does not reach."""
        return self._calendar.begun_at(market_now)

    async def _agreement_on(self, market_now: datetime) -> CalendarAgreement:
        async with self._lock:
            day = new_york_date(market_now)
            known = self._agreement
            if known is None or known.day != day or self._is_due(known, market_now):
                known = self._agreement = await self._ask_broker(day)
                self._checked_at = market_now
            return known

    def _is_due(self, known: CalendarAgreement, market_now: datetime) -> bool:
        if self._checked_at is None:
            return True
        pause = RECHECK_SECONDS if known.agrees else RECHECK_AFTER_DOUBT_SECONDS
        return abs((market_now - self._checked_at).total_seconds()) > pause * self._clock.speed

    async def _ask_broker(self, day: date) -> CalendarAgreement:
        try:
            told = await self._reader.get_calendar(day, day)
        except Exception as error:
            if hasattr(error, "retry_after_seconds"):
                # A limit of requests says nothing about the calendar.
                raise ClockUnavailableError(f"the broker's calendar has to wait: {error}") from error
            agreement = CalendarAgreement(
                day, False, f"{day}: the broker's calendar could not be read: {error}"
            )
        else:
            brokers = next((each for each in told if each.day == day), None)
            agreement = compare_day(day, self._calendar.day(day), brokers)
        if not agreement.agrees:
            _log.error("trading calendars differ", detail=agreement.detail)
        return agreement


def _is_open(session: Session, reading: ClockReading, market_now: datetime, *, extended: bool) -> bool:
    """The calendar's plan, and the broker's word for as long as that reaches.

    The broker speaks of the regular session only, so outside it the extended session is the calendar's.
    """
    planned = session.is_extended_open if extended else session.is_open
    if not planned or not session.is_open:
        return planned
    broker = reading.clock
    if broker.is_open and market_now < broker.next_close:
        return True
    return market_now >= broker.next_open
