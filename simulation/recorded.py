"""Recorded quotes: files ``SYMBOL-YYYYMMDD-RESOLUTION.csv.gz`` that drive the market and its clock.

Columns ``time,bid,bid_size,ask,ask_size``: UTC, dollars, shares; an empty field means nobody on that side.
"""

import csv
import gzip
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from simulation.quotes import SIP_LAG_NS, Quote
from simulation.settings import Feed, SymbolSettings
from simulation.wire import from_ns, to_ns

_NAME = re.compile(r"^(?P<symbol>[A-Z][A-Z0-9.]*)-(?P<day>\d{8})-(?P<resolution>[a-z]+)\.csv\.gz$")
_HEADER = ["time", "bid", "bid_size", "ask", "ask_size"]
_ZERO = Decimal(0)
NEVER_NS = 1 << 63

Row = tuple[Decimal, int, Decimal, int]


class RecordingUnreadable(ValueError):
    """A file of recorded quotes that cannot be read: the message names file and line."""


class RecordedQuotes:
    """The recorded quotes of one symbol, from one file or several."""

    def __init__(self, symbol: str, times_ns: list[int], rows: list[Row]) -> None:
        self.symbol = symbol
        self._times = times_ns
        self._rows = rows

    @property
    def first_moment(self) -> datetime:
        return from_ns(self._times[0])

    def listing(self) -> SymbolSettings:
        """The symbol as a listed asset; its price is the first one recorded."""
        bid, _, ask, _ = self._rows[0]
        return SymbolSettings(symbol=self.symbol, price=ask or bid or Decimal(1))

    def at(self, t_ns: int, feed: Feed) -> Quote | None:
        place = bisect_right(self._times, t_ns - _lag(feed)) - 1
        return None if place < 0 else self._quote(place, feed)

    def next_after(self, quote: Quote) -> int:
        """The moment at which this quote is replaced by the next one; never, for the last."""
        place = bisect_right(self._times, quote.t_ns - _lag(quote.feed))
        return self._times[place] + _lag(quote.feed) if place < len(self._times) else NEVER_NS

    def between(
        self, start_ns: int, end_ns: int, feed: Feed, *, newest_first: bool = False
    ) -> Iterator[Quote]:
        low = bisect_left(self._times, start_ns - _lag(feed))
        high = bisect_right(self._times, end_ns - _lag(feed))
        places = range(low, high)
        return (self._quote(place, feed) for place in (reversed(places) if newest_first else places))

    def _quote(self, place: int, feed: Feed) -> Quote:
        t_ns, (bid, bid_size, ask, ask_size) = self._times[place] + _lag(feed), self._rows[place]
        return Quote(self.symbol, feed, t_ns, bid, ask, bid_size, ask_size, version=t_ns)


def load_recordings(paths: Iterable[Path]) -> dict[str, RecordedQuotes]:
    """Read the files; those of one symbol are joined in order of time.

    Raises RecordingUnreadable.
    """
    quotes: dict[str, dict[int, Row]] = {}
    for path in paths:
        named = _NAME.match(path.name)
        if named is None:
            raise RecordingUnreadable(f"{path}: name it SYMBOL-YYYYMMDD-RESOLUTION.csv.gz")
        quotes.setdefault(named["symbol"], {}).update(_read(path))
    return {
        symbol: RecordedQuotes(symbol, sorted(rows), [rows[t_ns] for t_ns in sorted(rows)])
        for symbol, rows in quotes.items()
    }


def _read(path: Path) -> dict[int, Row]:
    try:
        with gzip.open(path, "rt", newline="") as text:
            lines = list(csv.reader(text))
    except (OSError, EOFError, ValueError, csv.Error) as error:
        raise RecordingUnreadable(f"{path}: {error}") from error
    if not lines or lines[0] != _HEADER:
        raise RecordingUnreadable(f"{path}: the first line must be {','.join(_HEADER)}")
    rows: dict[int, Row] = {}
    for number, line in enumerate(lines[1:], 2):
        try:
            time, bid, bid_size, ask, ask_size = line
            t_ns = to_ns(datetime.fromisoformat(time))
            rows[t_ns] = (_price(bid), int(bid_size or 0), _price(ask), int(ask_size or 0))
        except (ValueError, TypeError, InvalidOperation) as error:
            raise RecordingUnreadable(f"{path}, line {number}: {error}") from error
    if not rows:
        raise RecordingUnreadable(f"{path}: no quotes in it")
    return rows


def _price(text: str) -> Decimal:
    price = Decimal(text) if text else _ZERO
    if not price.is_finite() or price < 0:
        raise ValueError(f"no price: {text}")
    return price


def _lag(feed: Feed) -> int:
    return SIP_LAG_NS if feed == "sip" else 0
