"""Which moments of recorded quotes the demonstration goes to, and what it proposes there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import ROUND_UP, Decimal
from itertools import pairwise
from typing import Any, Final
from zoneinfo import ZoneInfo

from console.demo_exchange import Shown
from console.recordings import Recorded, Recording
from schemas.orders import OrderStatus

NEW_YORK: Final = ZoneInfo("America/New_York")
PRE_MARKET: Final = time(4, 0)
OPEN, CLOSE = time(9, 30), time(16, 0)
REGULAR_FROM, REGULAR_UNTIL = time(10, 0), time(15, 30)
WIDE_PCT: Final = Decimal(2)
"""Above this spread nothing is sent (specification H)."""
STALE_AFTER: Final = timedelta(seconds=15)
LIVELY_FOR: Final = timedelta(seconds=20)
GAP_MAX: Final = timedelta(seconds=9)
"""Between two quotes of a lively market: the older is never stale while an order is on its way."""
TICKERS_MAX: Final = 4
BUDGET: Final = Decimal(2000)
"""US dollars of one example order; small beside what one recorded quote shows."""
LIMIT_OVER_ASK, LIMIT_UNDER_BID = Decimal("1.002"), Decimal("0.9")
CENT: Final = Decimal("0.01")
EARLY: Final = "early-bird"
"""The one strategy that the demonstration lets trade outside the regular session."""

Fields = dict[str, Any]


@dataclass(frozen=True)
class Scene:
    """A moment of market time to go to; None: wherever the clock stands."""

    at: datetime | None
    what: str


@dataclass(frozen=True)
class Example:
    """One signal's fields, and how it has to end; None: the market decides."""

    name: str
    fields: Fields
    ends: OrderStatus | None
    rests: bool = False
    """Waits for a price until somebody cancels it."""


def plan(recordings: Mapping[str, Recording]) -> list[Scene]:
    """Per recorded day: a wide pre-market if there is one, then the morning."""
    days = sorted({_day(quote.at) for recording in recordings.values() for quote in recording.quotes})
    scenes: list[Scene] = []
    for day in days:
        begin, end = _at(day, PRE_MARKET), _at(day, CLOSE)
        of_day = [each for each in recordings.values() if each.between(begin, end)][:TICKERS_MAX]
        wide = _first_wide(of_day, day)
        if wide is not None:
            scenes.append(Scene(wide, f"wide pre-market of {day}"))
        lively = _first_lively(of_day, day)
        if lively is not None:
            scenes.append(Scene(lively, f"morning of {day}"))
    return scenes


def _day(moment: datetime) -> date:
    return moment.astimezone(NEW_YORK).date()


def _at(day: date, moment: time) -> datetime:
    return datetime.combine(day, moment, NEW_YORK)


def _is_lively(recording: Recording, moment: datetime) -> bool:
    """Whether quotes come often enough from then on that none gets old."""
    quotes = recording.between(moment - GAP_MAX, moment + LIVELY_FOR)
    times = [*(quote.at for quote in quotes), moment + LIVELY_FOR]
    return bool(quotes) and all(b - a <= GAP_MAX for a, b in pairwise(times))


def _is_wide(quote: Recorded) -> bool:
    spread = quote.spread_pct()
    return spread is not None and spread > WIDE_PCT


def _first_wide(of_day: Sequence[Recording], day: date) -> datetime | None:
    """A wide quote that stays wide and is renewed; else the first wide one; None: there is none."""
    lone: datetime | None = None
    for recording in of_day:
        for quote in recording.between(_at(day, PRE_MARKET), _at(day, OPEN) - LIVELY_FOR):
            if not _is_wide(quote):
                continue
            lone = lone or quote.at
            ahead = recording.between(quote.at, quote.at + LIVELY_FOR)
            if all(map(_is_wide, ahead)) and _is_lively(recording, quote.at):
                return quote.at
    return lone


def _first_lively(of_day: Sequence[Recording], day: date) -> datetime | None:
    """The first moment of the morning at which every ticker of the day has quotes; else any quote."""
    begin, end = _at(day, REGULAR_FROM), _at(day, REGULAR_UNTIL)
    quotes = [quote.at for recording in of_day for quote in recording.between(begin, end)]
    for moment in sorted(set(quotes)):
        if all(_is_lively(recording, moment) for recording in of_day):
            return moment
    return min(quotes, default=None)


def examples_at(
    now: datetime, quotes: Mapping[str, Shown], tickers: Sequence[str], *, scene: int
) -> list[Example]:
    """What to propose with the market as it is shown now."""
    is_regular = OPEN <= now.astimezone(NEW_YORK).time() < CLOSE
    found: list[Example] = []
    for ticker in tickers[:TICKERS_MAX]:
        shown = quotes.get(ticker)
        if shown is None or now - shown.at > STALE_AFTER:
            found.append(_stale(ticker))
        elif is_regular:
            found += _regular(ticker, shown)
        else:
            found += _early(ticker, shown)
    return [Example(f"{each.name}-{scene}", each.fields, each.ends, each.rests) for each in found]


def _stale(ticker: str) -> Example:
    why = "Its quotes are old, or there were none yet: nobody knows the price."
    fields = _fields("momentum", ticker, "5", "MARKET", rationale=why)
    return Example(f"stale-{ticker}", fields, OrderStatus.REJECTED)


def _regular(ticker: str, shown: Shown) -> list[Example]:
    shares = _shares(shown)
    above = (shown.ask * LIMIT_OVER_ASK).quantize(CENT, ROUND_UP)
    below = (shown.bid * LIMIT_UNDER_BID).quantize(CENT)
    filled = OrderStatus.FILLED
    return [
        Example(f"buy-{ticker}", _fields("momentum", ticker, shares, "MARKET"), filled),
        Example(f"limit-{ticker}", _fields("carry", ticker, shares, "LIMIT", limit_price=str(above)), filled),
        Example(
            f"resting-{ticker}",
            _fields("carry", ticker, shares, "LIMIT", limit_price=str(below), time_in_force="GTC"),
            OrderStatus.CANCELED,
            rests=True,
        ),
    ]


def _early(ticker: str, shown: Shown) -> list[Example]:
    shares = _shares(shown)
    why = "A regular order outside the regular session."
    closed = _fields("momentum", ticker, shares, "MARKET", rationale=why)
    limit = {"limit_price": str(shown.ask.quantize(CENT)), "extended_hours": True}
    early = _fields(EARLY, ticker, shares, "LIMIT", **limit)
    is_wide = _is_wide(Recorded(shown.at, shown.bid, shown.ask))
    return [
        Example(f"closed-{ticker}", closed, OrderStatus.REJECTED),
        Example(f"wide-{ticker}", early, OrderStatus.REJECTED)
        if is_wide
        else Example(f"early-{ticker}", early, None, rests=True),
    ]


def selling(buys: Sequence[Example]) -> list[Example]:
    """Half of each market buy, sold again."""
    return [
        Example(
            f"sell-{each.name.removeprefix('buy-')}",
            _fields("momentum", each.fields["ticker"], half, "MARKET", action="SELL_TO_CLOSE"),
            OrderStatus.FILLED,
        )
        for each in buys
        if each.name.startswith("buy-") and (half := str(max(1, int(each.fields["quantity"]) // 2)))
    ]


def _shares(shown: Shown) -> str:
    return str(max(1, int(BUDGET / shown.ask)))


def _fields(strategy: str, ticker: str, quantity: str, order_type: str, **more: Any) -> Fields:
    whole = {"strategy": strategy, "ticker": ticker, "quantity": quantity, "order_type": order_type}
    return {"action": "BUY_TO_OPEN", "time_in_force": "DAY", **whole, **more}
