"""Files of recorded quotes as the demonstration's judge reads them: with its own eyes, not the exchange's."""

import csv
import gzip
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from console.errors import BadUsage

PERCENT: Final = 100
LOOKS_BACK: Final = timedelta(seconds=5)
"""Real time by which the exchange may be late with matching a quote that was replaced meanwhile."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One line of a file; a side nobody was on is None."""

    at: datetime
    bid: Decimal | None
    ask: Decimal | None

    def spread_pct(self) -> Decimal | None:
        """Of the mid; None without both sides."""
        if not self.bid or not self.ask:
            return None
        return (self.ask - self.bid) / ((self.ask + self.bid) / 2) * PERCENT

    def holds(self, price: Decimal) -> bool:
        """Whether a trade at that price lies inside the quote."""
        sides = [side for side in (self.bid, self.ask) if side]
        return bool(sides) and min(sides) <= price <= max(sides)


class Recording:
    """The quotes of one symbol, from one file or several, by time."""

    def __init__(self, symbol: str, quotes: Sequence[Recorded]) -> None:
        self.symbol = symbol
        self.quotes = sorted(quotes, key=_moment)

    @property
    def first(self) -> datetime:
        """When the recording begins."""
        return self.quotes[0].at

    def covers(self, moment: datetime) -> bool:
        """Whether something is recorded on that day, from then on."""
        return any(
            quote.at.date() == moment.astimezone(UTC).date() and quote.at >= moment for quote in self.quotes
        )

    def at(self, moment: datetime) -> Recorded | None:
        """The quote in force then."""
        place = bisect_right(self.quotes, moment, key=_moment)
        return self.quotes[place - 1] if place else None

    def between(self, first: datetime, last: datetime) -> Sequence[Recorded]:
        """Every quote of that time, bounds included."""
        low = bisect_left(self.quotes, first, key=_moment)
        return self.quotes[low : bisect_right(self.quotes, last, key=_moment)]

    def was_in_force(self, quote_at: datetime, first: datetime, last: datetime) -> Recorded | None:
        """The quote of exactly that moment, if it was in force at some time from ``first`` to ``last``."""
        place = bisect_left(self.quotes, quote_at, key=_moment)
        if place == len(self.quotes) or self.quotes[place].at != quote_at or quote_at > last:
            return None
        replaced = place + 1 < len(self.quotes) and self.quotes[place + 1].at <= first
        return None if replaced else self.quotes[place]


def _moment(quote: Recorded) -> datetime:
    return quote.at


def read_recordings(files: Iterable[Path]) -> dict[str, Recording]:
    """Read the files; those of one symbol are joined.

    Raises:
        BadUsage: one cannot be read; the message names it, and the line.
    """
    found: dict[str, list[Recorded]] = {}
    for file in files:
        symbol = file.name.partition("-")[0]
        try:
            with gzip.open(file, "rt", newline="") as lines:
                for number, line in enumerate(csv.DictReader(lines), 2):
                    found.setdefault(symbol, []).append(_read(line, f"{file}, line {number}"))
        except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
            raise BadUsage(f"{file} cannot be read: {error}", do="give SYMBOL-YYYYMMDD-…csv.gz") from error
    return {symbol: Recording(symbol, quotes) for symbol, quotes in found.items()}


def _read(line: Mapping[str, str], where: str) -> Recorded:
    try:
        at = datetime.fromisoformat(line["time"])
        return Recorded(at, *(Decimal(line[side]) if line[side] else None for side in ("bid", "ask")))
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        raise BadUsage(
            f"{where} is no quote: {error}", do="columns: time,bid,bid_size,ask,ask_size"
        ) from error


@dataclass(frozen=True)
class FillsJudged:
    """What the recorded quotes say of the exchange's executions."""

    count: int
    outside: tuple[str, ...]
    """Each that no recorded quote allows, in words."""


def judge_fills(
    recordings: Mapping[str, Recording], ledger: Iterable[Mapping[str, Any]], *, speed: Decimal, after: int
) -> FillsJudged:
    """Look up the quote that each execution of the ledger after record ``after`` says it met."""
    symbols: dict[str, str] = {}
    count, outside = 0, []
    for record in ledger:
        if record["kind"] == "order_created":
            symbols[record["order"]["id"]] = record["order"]["symbol"]
        elif record["kind"] == "order_executed" and record["seq"] > after:
            count += 1
            symbol = symbols[record["order_id"]]
            if not _is_inside(recordings.get(symbol), record, speed):
                outside.append(f"{symbol} at {record['price']}, {record['at']}: not in the recorded quotes")
    return FillsJudged(count, tuple(outside))


def _is_inside(recording: Recording | None, record: Mapping[str, Any], speed: Decimal) -> bool:
    if recording is None or record.get("quote_at") is None:
        return False
    at, quote_at = (datetime.fromisoformat(record[name]) for name in ("at", "quote_at"))
    back = timedelta(seconds=LOOKS_BACK.seconds * float(speed))
    quote = recording.was_in_force(quote_at, at - back, at)
    return quote is not None and quote.holds(Decimal(record["price"]))
