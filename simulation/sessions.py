"""When the market is open: NYSE sessions with holidays and early closes, or a session that never ends.

``xnys.json`` holds what exchange-calendars says about XNYS; a test compares the two. Read from a file because
importing the library costs more than the whole exchange may take to start.
"""

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Protocol

from simulation.wire import NEW_YORK

REGULAR_OPEN = time(9, 30)
REGULAR_CLOSE = time(16, 0)
PRE_MARKET_OPEN = time(4, 0)
AFTER_HOURS_LENGTH = timedelta(hours=4)
NEVER = datetime(1, 1, 1, tzinfo=UTC)
ALWAYS_OPEN_CLOSE_AT_LEAST_IN = timedelta(hours=4)


class Phase(StrEnum):
    CLOSED = "closed"
    PRE_MARKET = "pre_market"
    REGULAR = "regular"
    AFTER_HOURS = "after_hours"


@dataclass(frozen=True, slots=True)
class Session:
    """One trading day; moments are UTC, ``day`` is the New York date."""

    day: date
    pre_open: datetime
    open: datetime
    close: datetime
    post_close: datetime


class OutsideCalendar(LookupError):
    """The calendar file does not reach that date; use a clock inside it."""


class Sessions(Protocol):
    """When the market is open; all moments are aware, ``now`` is the exchange's time."""

    def phase(self, now: datetime) -> Phase: ...
    def next_open(self, now: datetime) -> datetime: ...
    def next_close(self, now: datetime) -> datetime: ...
    def between(self, first: date, last: date) -> Sequence[Session]: ...
    def last_active(self, now: datetime) -> datetime: ...
    def order_session(self, now: datetime, *, extended: bool) -> Session: ...
    def current_or_last(self, now: datetime) -> Session: ...


def at_new_york(day: date, moment: time) -> datetime:
    return datetime.combine(day, moment, NEW_YORK).astimezone(UTC)


def _session(day: date, close: time) -> Session:
    close_at = at_new_york(day, close)
    return Session(
        day=day,
        pre_open=at_new_york(day, PRE_MARKET_OPEN),
        open=at_new_york(day, REGULAR_OPEN),
        close=close_at,
        post_close=close_at + AFTER_HOURS_LENGTH,
    )


@cache
def _xnys_days() -> tuple[tuple[date, ...], dict[date, time]]:
    raw = json.loads(Path(__file__).with_name("xnys.json").read_text())
    first, last = date.fromisoformat(raw["first"]), date.fromisoformat(raw["last"])
    holidays = {date.fromisoformat(text) for text in raw["holidays"]}
    early = {date.fromisoformat(day): time.fromisoformat(at) for day, at in raw["early_closes"].items()}
    every_day = (first + timedelta(days=n) for n in range((last - first).days + 1))
    return tuple(day for day in every_day if day.weekday() < 5 and day not in holidays), early


class CalendarSessions:
    """The real NYSE calendar."""

    def __init__(self) -> None:
        self._days, self._early = _xnys_days()
        self._built: dict[date, Session] = {}
        # The New York day asked about last, for it is nearly always asked about again.
        self._known = (NEVER, NEVER, 0)

    def _at(self, index: int) -> Session:
        if not 0 <= index < len(self._days):
            raise OutsideCalendar(f"the calendar covers {self._days[0]} to {self._days[-1]}")
        day = self._days[index]
        session = self._built.get(day)
        if session is None:
            session = self._built[day] = _session(day, self._early.get(day, REGULAR_CLOSE))
        return session

    def _index(self, now: datetime) -> int:
        """Index of the last session whose day has begun, by the New York date."""
        begin, end, index = self._known
        if not begin <= now < end:
            day = now.astimezone(NEW_YORK).date()
            index = bisect_right(self._days, day) - 1
            self._known = (at_new_york(day, time()), at_new_york(day + timedelta(days=1), time()), index)
        return index

    def phase(self, now: datetime) -> Phase:
        session = self._at(self._index(now))
        if session.open <= now < session.close:
            return Phase.REGULAR
        if session.pre_open <= now < session.open:
            return Phase.PRE_MARKET
        if session.close <= now < session.post_close:
            return Phase.AFTER_HOURS
        return Phase.CLOSED

    def next_open(self, now: datetime) -> datetime:
        index = self._index(now)
        session = self._at(index)
        return session.open if now < session.open else self._at(index + 1).open

    def next_close(self, now: datetime) -> datetime:
        index = self._index(now)
        session = self._at(index)
        return session.close if now < session.close else self._at(index + 1).close

    def between(self, first: date, last: date) -> Sequence[Session]:
        low, high = bisect_right(self._days, first - timedelta(days=1)), bisect_right(self._days, last)
        return [self._at(index) for index in range(low, high)]

    def last_active(self, now: datetime) -> datetime:
        """``now`` while any session runs, else the end of the last one's after-hours."""
        index = self._index(now)
        session = self._at(index)
        if now < session.pre_open:
            return self._at(index - 1).post_close
        return min(now, session.post_close)

    def order_session(self, now: datetime, *, extended: bool) -> Session:
        """The session a DAY order entered now belongs to."""
        index = self._index(now)
        session = self._at(index)
        over = session.post_close if extended else session.close
        return session if now < over else self._at(index + 1)

    def current_or_last(self, now: datetime) -> Session:
        """The session whose pre-market has begun most recently."""
        index = self._index(now)
        session = self._at(index)
        return session if now >= session.pre_open else self._at(index - 1)


class AlwaysOpenSessions:
    """A pretended regular session from New York midnight to midnight, every day of the week."""

    def _session_on(self, day: date) -> Session:
        start, end = at_new_york(day, time()), at_new_york(day + timedelta(days=1), time())
        return Session(day=day, pre_open=start, open=start, close=end, post_close=end)

    def phase(self, now: datetime) -> Phase:
        del now
        return Phase.REGULAR

    def next_open(self, now: datetime) -> datetime:
        return self.next_close(now)

    def next_close(self, now: datetime) -> datetime:
        """Never close at hand, so that rules about the last minutes of a session stay quiet."""
        day = (now + ALWAYS_OPEN_CLOSE_AT_LEAST_IN).astimezone(NEW_YORK).date()
        return self._session_on(day).close

    def between(self, first: date, last: date) -> Sequence[Session]:
        return [self._session_on(first + timedelta(days=n)) for n in range((last - first).days + 1)]

    def last_active(self, now: datetime) -> datetime:
        return now

    def order_session(self, now: datetime, *, extended: bool) -> Session:
        del extended
        return self._session_on((now + ALWAYS_OPEN_CLOSE_AT_LEAST_IN).astimezone(NEW_YORK).date())

    def current_or_last(self, now: datetime) -> Session:
        return self._session_on(now.astimezone(NEW_YORK).date())
