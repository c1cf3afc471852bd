"""Reading a ledger back: the book, the counts, the market's hand-made settings, and where the clock stood."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any

from simulation.book import Book
from simulation.events import BOOK_EVENT_KINDS, decode
from simulation.keys import ACCEPT, REVOKE
from simulation.ledger import Ledger
from simulation.recorded import RecordedQuotes
from simulation.sessions import Phase, Sessions, at_new_york
from simulation.settings import ExchangeSettings
from simulation.summary import LedgerSummary
from simulation.wire import NEW_YORK, parse_moment

AUTO_START = time(10, 0)
AUTO_ROOM_BEFORE_CLOSE = timedelta(hours=2)
AUTO_JUMP_AFTER_GAP = timedelta(minutes=10)
# Longer than any run of days without a session.
CALENDAR_REACH = timedelta(days=14)

Recordings = Mapping[str, RecordedQuotes]
NO_RECORDINGS: Recordings = {}


@dataclass(slots=True)
class Restored:
    """What a ledger says happened before this start; everything is empty for a new one."""

    book: Book = field(default_factory=Book)
    summary: LedgerSummary = field(default_factory=LedgerSummary)
    market_controls: list[dict[str, Any]] = field(default_factory=list)
    key_controls: list[dict[str, Any]] = field(default_factory=list)
    last_event_id: str | None = None
    last_at: datetime | None = None
    clock: dict[str, Any] | None = None


def restore(ledger: Ledger) -> Restored:
    """Replay every record. Raises LedgerCorrupt, or UnknownOrder if an event lacks its order."""
    restored = Restored()
    for record in ledger.read():
        kind = record["kind"]
        restored.summary.add(record)
        if kind in BOOK_EVENT_KINDS:
            event = decode({name: value for name, value in record.items() if name != "seq"})
            restored.book.apply(event)
            restored.last_event_id = record.get("event_id", restored.last_event_id)
        elif kind == "clock":
            restored.clock = record
        elif kind == "control" and record["control"] in ("quote", "release_quote", "freeze", "thaw"):
            restored.market_controls.append(record)
        elif kind == "control" and record["control"] in (ACCEPT, REVOKE):
            restored.key_controls.append(record)
        at = parse_moment(record["at"])
        restored.last_at = at if restored.last_at is None else max(restored.last_at, at)
    return restored


def first_moment(
    settings: ExchangeSettings, sessions: Sessions, wall: datetime, recordings: Recordings = NO_RECORDINGS
) -> datetime:
    """Where the clock of a new exchange starts.

    ``auto``: with recorded quotes, the open of the first recorded day; else the real time if the real market
    is open for two hours more; else 10:00 New York of the last session day, so that a demonstration works at
    any hour.
    """
    if isinstance(settings.start, datetime):
        return settings.start.astimezone(UTC)
    if recordings and settings.start == "auto":
        first = min(recording.first_moment for recording in recordings.values())
        return sessions.next_open(first)
    if settings.start == "now" or settings.session == "always_open" or _has_room(sessions, wall):
        return wall
    today = wall.astimezone(NEW_YORK).date()
    days = sessions.between(today - CALENDAR_REACH, today)
    return max(ten for day in days if (ten := at_new_york(day.day, AUTO_START)) <= wall)


def next_moment(
    restored: Restored,
    settings: ExchangeSettings,
    sessions: Sessions,
    wall: datetime,
    recordings: Recordings = NO_RECORDINGS,
) -> datetime:
    """Where the clock goes on after a restart: it ran on while the exchange was down, and never goes back.

    With ``auto``, a long gap that ended outside regular hours jumps ahead to the next 10:00. With recorded
    quotes the clock stood still while the exchange was down, for they would be over otherwise; a named start
    that lies ahead moves it there.
    """
    if restored.clock is None or restored.last_at is None:
        return first_moment(settings, sessions, wall, recordings)
    if recordings:
        named = settings.start if isinstance(settings.start, datetime) else restored.last_at
        return max(restored.last_at, named)
    down = max(timedelta(), wall - parse_moment(restored.clock["wall"]))
    speed = float(restored.clock["speed"])  # tidy: float because a ratio of durations
    moment = max(parse_moment(restored.clock["at"]) + down * speed, restored.last_at)
    if settings.start == "now":
        return max(moment, wall)
    long_gap = moment - restored.last_at > AUTO_JUMP_AFTER_GAP
    if settings.start != "auto" or not long_gap or sessions.phase(moment) is Phase.REGULAR:
        return moment
    today = moment.astimezone(NEW_YORK).date()
    days = sessions.between(today, today + CALENDAR_REACH)
    return min(ten for day in days if (ten := at_new_york(day.day, AUTO_START)) >= moment)


def _has_room(sessions: Sessions, wall: datetime) -> bool:
    return sessions.phase(wall) is Phase.REGULAR and sessions.next_close(wall) - wall > AUTO_ROOM_BEFORE_CLOSE
