"""The trading calendar: holidays, early closes, daylight saving, edges, and what lies beyond the table."""

import random
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import pytest

from market.calendar import TradingCalendar, calendar_day, load_calendar
from market.errors import CalendarUnavailableError
from schemas.broker import CalendarDay

MICROSECOND = timedelta(microseconds=1)


@pytest.fixture(scope="module")
async def calendar() -> TradingCalendar:
    return await load_calendar()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    "holiday",
    [
        "2026-11-26",
        "2026-12-25",
        "2026-07-03",
        "2026-06-19",
        "2026-01-01",
        "2025-01-09",
        "2012-10-29",
        "2026-11-28",
    ],
)
def test_closed_days(calendar: TradingCalendar, holiday: str) -> None:
    """Holidays, the observed 3 July, a day of mourning, a hurricane and a Saturday."""
    assert calendar.day(date.fromisoformat(holiday)) is None
    session = calendar.session_at(at(f"{holiday}T16:00:00Z"))
    assert not session.is_open
    assert not session.is_extended_open
    assert session.day > date.fromisoformat(holiday)


@pytest.mark.parametrize(
    ("day", "opens", "closes", "extended_from", "extended_to"),
    [
        ("2026-11-23", "14:30", "21:00", "2026-11-23T09:00Z", "2026-11-24T01:00Z"),
        ("2026-11-27", "14:30", "18:00", "2026-11-27T09:00Z", "2026-11-27T22:00Z"),
        ("2026-12-24", "14:30", "18:00", "2026-12-24T09:00Z", "2026-12-24T22:00Z"),
        # Daylight saving begins on Sunday 8 March and ends on Sunday 1 November.
        ("2026-03-06", "14:30", "21:00", "2026-03-06T09:00Z", "2026-03-07T01:00Z"),
        ("2026-03-09", "13:30", "20:00", "2026-03-09T08:00Z", "2026-03-10T00:00Z"),
        ("2026-10-30", "13:30", "20:00", "2026-10-30T08:00Z", "2026-10-31T00:00Z"),
        ("2026-11-02", "14:30", "21:00", "2026-11-02T09:00Z", "2026-11-03T01:00Z"),
    ],
)
def test_hours(
    calendar: TradingCalendar, day: str, opens: str, closes: str, extended_from: str, extended_to: str
) -> None:
    assert calendar.day(date.fromisoformat(day)) == CalendarDay(
        day=date.fromisoformat(day),
        open=at(f"{day}T{opens}Z"),
        close=at(f"{day}T{closes}Z"),
        session_open=at(extended_from),
        session_close=at(extended_to),
    )


class TestEarlyClose:
    """Friday after Thanksgiving 2026: 09:30 to 13:00, extended 04:00 to 17:00 New York."""

    def test_the_opening_instant_is_open(self, calendar: TradingCalendar) -> None:
        before = calendar.session_at(at("2026-11-27T14:30Z") - MICROSECOND)
        session = calendar.session_at(at("2026-11-27T14:30Z"))
        assert (before.is_open, session.is_open) == (False, True)
        assert before.seconds_to_open == 0.000001
        assert session.seconds_to_close == 3.5 * 3600
        assert session.seconds_to_open is None

    def test_the_closing_instant_is_closed(self, calendar: TradingCalendar) -> None:
        before = calendar.session_at(at("2026-11-27T18:00Z") - MICROSECOND)
        session = calendar.session_at(at("2026-11-27T18:00Z"))
        assert (before.is_open, session.is_open) == (True, False)
        assert before.seconds_to_close == 0.000001
        assert session.seconds_to_close is None

    def test_after_the_bell_the_day_goes_on_extended(self, calendar: TradingCalendar) -> None:
        session = calendar.session_at(at("2026-11-27T20:00Z"))
        assert session.day == date(2026, 11, 27)
        assert session.is_extended_open
        assert session.close == at("2026-11-27T18:00Z")
        assert session.seconds_to_extended_close == 2 * 3600
        assert session.next_open == at("2026-11-30T14:30Z")

    def test_after_seventeen_it_is_mondays_turn(self, calendar: TradingCalendar) -> None:
        session = calendar.session_at(at("2026-11-27T22:00Z"))
        assert session.day == date(2026, 11, 30)
        assert not session.is_extended_open
        assert session.extended_close == at("2026-12-01T01:00Z")
        assert session.seconds_to_open == (2 * 24 + 16.5) * 3600

    def test_before_the_bell_it_is_already_extended(self, calendar: TradingCalendar) -> None:
        assert not calendar.session_at(at("2026-11-27T09:00Z") - MICROSECOND).is_extended_open
        assert calendar.session_at(at("2026-11-27T09:00Z")).is_extended_open


@pytest.mark.parametrize("instant", ["1999-06-01T15:00Z", "2199-06-03T15:00Z"])
def test_beyond_the_table_it_is_closed(calendar: TradingCalendar, instant: str) -> None:
    session = calendar.session_at(at(instant))
    assert not session.is_open
    assert not session.is_extended_open
    assert session.next_open > at(instant)


def test_after_the_last_days_bell_one_asks_again_a_day_later() -> None:
    last = calendar_day(date(2026, 11, 23), at("2026-11-23T14:30Z"), at("2026-11-23T21:00Z"))
    session = TradingCalendar([last]).session_at(at("2026-11-23T22:00Z"))
    assert session.next_open == at("2026-11-24T22:00Z")


def test_a_time_without_zone_is_refused(calendar: TradingCalendar) -> None:
    with pytest.raises(ValueError, match="no zone"):
        calendar.session_at(datetime(2026, 11, 23, 15, 0))  # noqa: DTZ001


def test_a_calendar_without_days_is_refused() -> None:
    with pytest.raises(CalendarUnavailableError):
        TradingCalendar([])


async def test_agrees_with_the_library_on_any_minute(calendar: TradingCalendar) -> None:
    """Our tables against the library's own answers, which come from other code."""
    import exchange_calendars
    import pandas

    library = exchange_calendars.get_calendar("XNYS", start="2006-01-01", side="left")
    span = int((library.last_minute - library.first_minute).total_seconds() // 60)
    chance = random.Random(20261123)
    opened = 0
    for _ in range(2000):
        minute = library.first_minute + pandas.Timedelta(minutes=chance.randrange(span))
        session = calendar.session_at(minute.to_pydatetime().astimezone(UTC))
        assert session.is_open == library.is_open_on_minute(minute), minute
        assert session.next_open == library.next_open(minute), minute
        opened += session.is_open
    assert opened > 100


async def test_is_built_once(calendar: TradingCalendar) -> None:
    assert await load_calendar() is calendar
    assert calendar.first_day == date(2006, 1, 3)
    assert calendar.last_day > datetime.now(UTC).date() + timedelta(days=300)


def test_importing_the_package_loads_nothing_heavy() -> None:
    modules = "market.calendar, market.hours, market.source, market.alpaca_data"
    heavy = "pandas", "exchange_calendars", "alpaca", "requests", "websockets"
    script = f"import sys, {modules}\nprint([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
