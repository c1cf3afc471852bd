"""Calendar, clock, quotes, limits: the parts that have no order in them."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import exchange_calendars
import pytest

from simulation.clock import ClockMovedBackwards, ExchangeClock
from simulation.ids import Ids
from simulation.market import Market
from simulation.quotes import QuoteGenerator
from simulation.rate_limit import RateLimit
from simulation.restore import Restored, first_moment, next_moment
from simulation.sessions import AlwaysOpenSessions, CalendarSessions, Phase
from simulation.settings import FEEDS, ExchangeSettings, SymbolSettings
from simulation.wire import NANOSECONDS, to_ns
from tests.exchange.conftest import MONDAY_TEN, Venue, wait_until

AAPL = SymbolSettings(symbol="AAPL", price=Decimal(180))
STALE = SymbolSettings(symbol="STALE", price=Decimal(50), stale=True)
NO_BID = SymbolSettings(symbol="NOBID", bid_missing=True)
WIDE = SymbolSettings(symbol="WIDE", price=Decimal(20), spread_bps=Decimal(400))


def market(*symbols: SymbolSettings, opened_at: datetime = MONDAY_TEN) -> Market:
    return Market(symbols, CalendarSessions(), seed=3, opened_at=opened_at)


def test_the_calendar_is_xnys() -> None:
    calendar = exchange_calendars.get_calendar("XNYS", start="2012-01-02", end="2028-12-29")
    schedule = calendar.schedule
    ours = CalendarSessions().between(date(2012, 1, 1), date(2028, 12, 31))
    rows = zip(schedule.index, schedule["open"], schedule["close"], strict=True)
    theirs = [(day.date(), start.to_pydatetime(), end.to_pydatetime()) for day, start, end in rows]
    assert [(session.day, session.open, session.close) for session in ours] == theirs


@pytest.mark.parametrize(
    ("moment", "phase", "next_open", "next_close"),
    [
        ("2026-11-27T08:59:59Z", Phase.CLOSED, "2026-11-27T14:30:00Z", "2026-11-27T18:00:00Z"),
        ("2026-11-27T09:00:00Z", Phase.PRE_MARKET, "2026-11-27T14:30:00Z", "2026-11-27T18:00:00Z"),
        ("2026-11-27T14:30:00Z", Phase.REGULAR, "2026-11-30T14:30:00Z", "2026-11-27T18:00:00Z"),
        ("2026-11-27T18:00:00Z", Phase.AFTER_HOURS, "2026-11-30T14:30:00Z", "2026-11-30T21:00:00Z"),
        ("2026-11-27T22:00:00Z", Phase.CLOSED, "2026-11-30T14:30:00Z", "2026-11-30T21:00:00Z"),
        ("2026-11-26T16:00:00Z", Phase.CLOSED, "2026-11-27T14:30:00Z", "2026-11-27T18:00:00Z"),
        ("2026-03-06T21:30:00Z", Phase.AFTER_HOURS, "2026-03-09T13:30:00Z", "2026-03-09T20:00:00Z"),
    ],
)
def test_phases_around_holidays_early_closes_and_daylight_saving(
    moment: str, phase: Phase, next_open: str, next_close: str
) -> None:
    sessions, now = CalendarSessions(), datetime.fromisoformat(moment)
    assert sessions.phase(now) is phase
    assert sessions.next_open(now) == datetime.fromisoformat(next_open)
    assert sessions.next_close(now) == datetime.fromisoformat(next_close)


def test_the_pretended_session_never_ends() -> None:
    sessions = AlwaysOpenSessions()
    for hour in range(0, 24 * 8, 3):
        now = MONDAY_TEN + timedelta(hours=hour)
        assert sessions.phase(now) is Phase.REGULAR
        assert sessions.next_close(now) - now >= timedelta(hours=4)


def test_the_clock_runs_at_its_speed_and_never_goes_back() -> None:
    elapsed = 0
    clock = ExchangeClock(MONDAY_TEN, 20, monotonic_ns=lambda: elapsed)
    elapsed = 3 * NANOSECONDS
    assert clock.now() == MONDAY_TEN + timedelta(minutes=1)
    with pytest.raises(ClockMovedBackwards):
        clock.set(MONDAY_TEN)
    clock.set(MONDAY_TEN + timedelta(hours=1), 0)
    elapsed = 100 * NANOSECONDS
    assert clock.now() == MONDAY_TEN + timedelta(hours=1)
    with pytest.raises(ValueError, match="speed"):
        ExchangeClock(MONDAY_TEN, 21)


@pytest.mark.parametrize(
    ("wall", "start"),
    [
        ("2026-11-22T10:00:00Z", "2026-11-20T15:00:00Z"),
        ("2026-11-23T13:00:00Z", "2026-11-20T15:00:00Z"),
        ("2026-11-23T16:00:00Z", "2026-11-23T16:00:00Z"),
        ("2026-11-23T19:30:00Z", "2026-11-23T15:00:00Z"),
        ("2026-11-27T15:30:00Z", "2026-11-27T15:30:00Z"),
        ("2026-11-27T16:30:00Z", "2026-11-27T15:00:00Z"),
    ],
)
def test_auto_starts_where_there_is_a_session_to_show(tmp_path: Path, wall: str, start: str) -> None:
    chosen = ExchangeSettings(key="k", secret="s", data_dir=tmp_path)
    assert first_moment(chosen, CalendarSessions(), datetime.fromisoformat(wall)) == datetime.fromisoformat(
        start
    )


@pytest.mark.parametrize(
    ("down", "goes_on_at"),
    [
        (timedelta(seconds=5), "2026-11-23T15:00:05Z"),
        (timedelta(hours=2), "2026-11-23T17:00:00Z"),
        (timedelta(hours=10), "2026-11-24T15:00:00Z"),
        (timedelta(seconds=-30), "2026-11-23T15:00:01Z"),
    ],
)
def test_after_a_gap_the_clock_goes_on(tmp_path: Path, down: timedelta, goes_on_at: str) -> None:
    chosen = ExchangeSettings(key="k", secret="s", data_dir=tmp_path)
    wall = datetime(2030, 1, 1, tzinfo=UTC)
    clock = {"at": "2026-11-23T15:00:00Z", "wall": "2030-01-01T00:00:00Z", "speed": 1.0}
    restored = Restored(last_at=MONDAY_TEN + timedelta(seconds=1), clock=clock)
    moment = next_moment(restored, chosen, CalendarSessions(), wall + down)
    assert moment == datetime.fromisoformat(goes_on_at)


def test_quotes_depend_only_on_seed_symbol_and_moment() -> None:
    now = to_ns(MONDAY_TEN)
    one, other = QuoteGenerator(AAPL, 5), QuoteGenerator(AAPL, 5)
    moments = [now + step * 100_000_000 for step in range(200)]
    forward = [one.at(moment, "iex") for moment in moments]
    assert forward == [other.at(moment, "iex") for moment in reversed(moments)][::-1]
    assert forward != [QuoteGenerator(AAPL, 6).at(moment, "iex") for moment in moments]
    assert all(
        quote.t_ns <= moment < quote.t_ns + NANOSECONDS
        for quote, moment in zip(forward, moments, strict=True)
    )
    assert all(0 < quote.bid < quote.ask <= quote.bid + Decimal("0.10") for quote in forward)
    assert len({quote.bid for quote in forward}) > 5


def test_a_walk_stays_near_its_start_price_all_day() -> None:
    generator = QuoteGenerator(AAPL, 5)
    bids = [generator.at(to_ns(MONDAY_TEN + timedelta(minutes=minute)), "iex").bid for minute in range(390)]
    assert 150 < min(bids) < max(bids) < 210
    assert max(bids) - min(bids) > 1


def test_feeds_tick_at_different_times_with_like_prices() -> None:
    now = to_ns(MONDAY_TEN)
    floor = market(AAPL)
    first, second = floor.quote("AAPL", now, "iex"), floor.quote("AAPL", now, "sip")
    assert first is not None
    assert second is not None
    assert first.t_ns != second.t_ns
    assert abs(first.bid - second.bid) < 1


def test_special_symbols_give_reasons_to_refuse() -> None:
    now = to_ns(MONDAY_TEN)
    floor = market(STALE, NO_BID, WIDE)
    for feed in FEEDS:
        early, late = floor.quote("STALE", now, feed), floor.quote("STALE", now + 60 * NANOSECONDS, feed)
        assert early == late
    empty = floor.quote("NOBID", now)
    assert empty is not None
    assert (empty.bid, empty.bid_size) == (0, 0)
    wide = floor.quote("WIDE", now)
    assert wide is not None
    assert (wide.ask - wide.bid) / wide.ask > Decimal("0.02")


def test_quotes_stop_when_the_market_does() -> None:
    evening = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
    floor = market(AAPL)
    last, night = (
        floor.quote("AAPL", to_ns(evening)),
        floor.quote("AAPL", to_ns(evening + timedelta(hours=5))),
    )
    assert last == night


def test_freezing_one_feed_leaves_the_other_running() -> None:
    now = to_ns(MONDAY_TEN)
    floor = market(AAPL)
    floor.freeze("*", now, ["iex"])
    later = now + 20 * NANOSECONDS
    frozen, running = floor.quote("AAPL", later, "iex"), floor.quote("AAPL", later, "sip")
    assert frozen == market(AAPL).quote("AAPL", now, "iex")
    assert running is not None
    assert running.t_ns > later - NANOSECONDS
    floor.thaw("*", ["iex"])
    assert floor.quote("AAPL", later, "iex") != frozen


def test_the_rate_limit_counts_a_rolling_minute() -> None:
    now = 0.0
    limit = RateLimit(2, monotonic=lambda: now, wall=lambda: 1000 + now)
    assert limit.take()
    now = 30.0
    assert limit.take()
    assert not limit.take()
    assert limit.headers() == {
        "X-RateLimit-Limit": "2",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": "1060",
    }
    now = 60.0
    assert limit.take()
    assert not limit.take()


def test_ulids_grow_even_within_one_millisecond_and_after_a_restart() -> None:
    ids = Ids()
    made = [ids.ulid(MONDAY_TEN) for _ in range(100)]
    assert made == sorted(set(made))
    resumed = Ids()
    resumed.resume_after(made[-1])
    assert resumed.ulid(MONDAY_TEN) > made[-1]


def test_the_market_can_be_set_by_hand_over_the_control_routes(venue: Venue) -> None:
    venue.quote("AAPL", "10.00", "10.50")
    quote = venue.call("GET", "/v2/stocks/AAPL/quotes/latest?feed=sip").json()["quote"]
    assert (quote["bp"], quote["ap"]) == (10.0, 10.5)
    first = quote["t"]
    wait_until(lambda: venue.call("GET", "/v2/stocks/AAPL/quotes/latest").json()["quote"]["t"] > first)
    assert (
        venue.call("POST", "/_exchange/freeze", json={"symbol": "AAPL", "feeds": ["iex"]}).status_code == 200
    )
    frozen = venue.call("GET", "/v2/stocks/AAPL/quotes/latest").json()
    assert venue.call("GET", "/v2/stocks/AAPL/quotes/latest").json() == frozen
    assert venue.call("DELETE", "/_exchange/quotes/AAPL").status_code == 200
    assert venue.call("GET", "/v2/stocks/AAPL/quotes/latest?feed=sip").json()["quote"]["bp"] > 100
    for body in ({"symbol": "NOPE", "bid": 1, "ask": 2}, {"symbol": "AAPL", "bid": -1, "ask": 2}, []):
        assert venue.call("POST", "/_exchange/quotes", json=body).status_code == 422


def test_the_clock_can_be_moved_to_the_close_over_the_control_routes(venue: Venue) -> None:
    order = venue.order(type="limit", limit_price="1").json()
    at = {"at": "2026-11-23T16:00:00-05:00"}
    assert venue.call("POST", "/_exchange/clock", json=at).status_code == 200
    assert venue.reaches(order["id"], "expired")["expired_at"]
    assert not venue.client.get_clock().is_open
    assert venue.call("POST", "/_exchange/clock", json={"at": "2026-11-23T15:00:00-05:00"}).status_code == 422
    queued = venue.order().json()
    assert queued["status"] == "accepted"
    assert json.loads(venue.call("GET", "/_exchange/health").text)["phase"] == "after_hours"
