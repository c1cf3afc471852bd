"""The trading calendar of US equities: plain tables, built once from exchange-calendars (XNYS).

The library costs about 0.5 s and pandas to import, so it is touched only by ``load_calendar``, in a thread;
afterwards a question costs microseconds and no import.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo

from market.errors import CalendarUnavailableError
from schemas.broker import CalendarDay
from schemas.market import Session

EXCHANGE: Final = "XNYS"
FIRST_DAY: Final = date(2006, 1, 1)
"""Reaches back to the oldest market time anyone replays."""

NEW_YORK: Final = ZoneInfo("America/New_York")
EXTENDED_OPEN: Final = time(4, 0)
EXTENDED_CLOSE: Final = time(20, 0)
EXTENDED_CLOSE_EARLY: Final = time(17, 0)
"""On days whose regular session ends before 16:00."""
REGULAR_CLOSE: Final = time(16, 0)

ASK_AGAIN: Final = timedelta(days=1)
"""Beyond the table nobody has planned yet: closed, and to be asked again after this long."""


class TradingCalendar:
    """Trading days and what they say about any instant. Immutable; safe to share between threads."""

    def __init__(self, days: Iterable[CalendarDay]) -> None:
        """``days`` in any order. Raises CalendarUnavailableError when there is none."""
        self._days = sorted(days, key=lambda each: each.day)
        if not self._days:
            raise CalendarUnavailableError("a trading calendar needs at least one day")
        self._by_date = {each.day: each for each in self._days}
        self._extended_closes = [each.session_close for each in self._days]
        self._extended_opens = [each.session_open for each in self._days]

    @property
    def first_day(self) -> date:
        return self._days[0].day

    @property
    def last_day(self) -> date:
        return self._days[-1].day

    def day(self, day: date) -> CalendarDay | None:
        """The trading day of that New York date, None for weekends, holidays and dates beyond the table."""
        return self._by_date.get(day)

    def begun_at(self, instant: datetime) -> CalendarDay | None:
        """The trading day whose extended session began last, over or not; None before the table's first."""
        index = bisect_right(self._extended_opens, instant)
        return self._days[index - 1] if index else None

    def session_at(self, instant: datetime) -> Session:
        """Where the market stands at ``instant`` (market time, aware).

        ``day``, ``open``, ``close`` and ``extended_close`` are those of the first trading day whose
        extended session has not ended yet; between the bell and its end ``open`` and ``close`` are past.
        Beyond the table the answer is closed, without those times, and ``next_open`` is when to ask again.
        """
        if instant.tzinfo is None:
            raise ValueError(f"{instant.isoformat()} has no zone")
        index = bisect_right(self._extended_closes, instant)
        if index == len(self._days):
            return self._beyond(instant)
        today = self._days[index]
        is_open = today.open <= instant < today.close
        is_extended_open = today.session_open <= instant
        next_open = self._next_open(index, instant)
        return Session(
            day=today.day,
            is_open=is_open,
            is_extended_open=is_extended_open,
            open=today.open,
            close=today.close,
            extended_close=today.session_close,
            next_open=next_open,
            seconds_to_close=_seconds(today.close - instant) if is_open else None,
            seconds_to_extended_close=_seconds(today.session_close - instant) if is_extended_open else None,
            seconds_to_open=None if is_open else _seconds(next_open - instant),
        )

    def _next_open(self, index: int, instant: datetime) -> datetime:
        if instant < self._days[index].open:
            return self._days[index].open
        if index + 1 < len(self._days):
            return self._days[index + 1].open
        return instant + ASK_AGAIN

    def _beyond(self, instant: datetime) -> Session:
        return Session(
            day=new_york_date(instant),
            is_open=False,
            is_extended_open=False,
            next_open=instant + ASK_AGAIN,
            seconds_to_open=_seconds(ASK_AGAIN),
        )


def new_york_date(instant: datetime) -> date:
    return instant.astimezone(NEW_YORK).date()


def calendar_day(day: date, open_at: datetime, close_at: datetime) -> CalendarDay:
    """One day from its regular session; the extended one follows from it (04:00 to 20:00, or 17:00)."""
    is_early = close_at.astimezone(NEW_YORK).time() < REGULAR_CLOSE
    return CalendarDay(
        day=day,
        open=open_at,
        close=close_at,
        session_open=_new_york(day, EXTENDED_OPEN),
        session_close=_new_york(day, EXTENDED_CLOSE_EARLY if is_early else EXTENDED_CLOSE),
    )


async def load_calendar() -> TradingCalendar:
    """The calendar from 2006 to a year from now, built in a thread the first time, then the same object.

    Raises:
        CalendarUnavailableError: exchange-calendars cannot be used here.
    """
    return await asyncio.to_thread(_xnys)


@cache
def _xnys() -> TradingCalendar:
    try:
        import exchange_calendars
    except ImportError as error:
        raise CalendarUnavailableError(f"exchange-calendars is not installed: {error}") from error
    try:
        schedule = exchange_calendars.get_calendar(EXCHANGE, start=FIRST_DAY.isoformat()).schedule
    except exchange_calendars.errors.CalendarError as error:
        raise CalendarUnavailableError(f"exchange-calendars gave no {EXCHANGE}: {error}") from error
    return TradingCalendar(
        calendar_day(day, open_at.astimezone(UTC), close_at.astimezone(UTC))
        for day, open_at, close_at in zip(
            schedule.index.date,
            schedule["open"].dt.to_pydatetime(),
            schedule["close"].dt.to_pydatetime(),
            strict=True,
        )
    )


def _new_york(day: date, at: time) -> datetime:
    return datetime.combine(day, at, NEW_YORK).astimezone(UTC)


def _seconds(span: timedelta) -> float:
    return span.total_seconds()
