"""Trades and bars, derived from the quotes: a trade a quote, at one of its sides."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import groupby

from simulation.market import Market
from simulation.quotes import Quote
from simulation.sessions import Session, at_new_york
from simulation.settings import Feed
from simulation.wire import from_ns, rounded, to_ns

# Bars of generated quotes look at this many of them, not at thousands.
SAMPLES_PER_BAR = 12
UNITS = {
    "Min": timedelta(minutes=1),
    "T": timedelta(minutes=1),
    "Hour": timedelta(hours=1),
    "H": timedelta(hours=1),
}
DAY_UNITS = {"Day": "Day", "D": "Day", "Week": "Week", "W": "Week", "Month": "Month", "M": "Month"}


@dataclass(frozen=True, slots=True)
class Trade:
    t_ns: int
    price: Decimal
    size: int
    id: int


@dataclass(frozen=True, slots=True)
class Bar:
    """``t_ns`` is the bar's beginning."""

    t_ns: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: int
    trades: int
    vwap: Decimal


@dataclass(frozen=True, slots=True)
class Timeframe:
    """A bar's length: so many minutes or hours, or whole sessions by day, week or month."""

    count: int
    length: timedelta | None
    sessions: str | None


def parse_timeframe(text: str) -> Timeframe:
    """``5Min``, ``1Hour``, ``1Day``, ``1Week``, ``3Month``. Raises ValueError."""
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    unit, count = text[len(digits) :], int(digits or 1)
    if unit in UNITS and 0 < count < 60:
        return Timeframe(count, count * UNITS[unit], None)
    if unit in DAY_UNITS and 0 < count <= 12:
        return Timeframe(count, None, DAY_UNITS[unit])
    raise ValueError(f"invalid timeframe: {text}")


def trade_of(quote: Quote) -> Trade | None:
    """The trade a quote implies, None if nobody is on either side."""
    sides = [(quote.bid, quote.bid_size), (quote.ask, quote.ask_size)]
    if quote.version // 1_000 % 2:
        sides.reverse()
    for price, size in sides:
        if price:
            return Trade(quote.t_ns, price, size // 4 + 1, quote.t_ns // 1_000_000)
    return None


def quotes_between(
    market: Market, symbol: str, start: datetime, end: datetime, feed: Feed, *, newest_first: bool = False
) -> Iterator[Quote]:
    """Every quote of the sessions in between, bounds included."""
    sessions = list(market.sessions.between(start.date() - timedelta(days=1), end.date()))
    for session in reversed(sessions) if newest_first else sessions:
        low, high = max(start, session.pre_open), min(end, session.post_close)
        if low <= high:
            bounds = (to_ns(low), to_ns(high))
            yield from market.source(symbol).between(*bounds, feed, newest_first=newest_first)


def bars_between(
    market: Market,
    symbol: str,
    start: datetime,
    end: datetime,
    frame: Timeframe,
    feed: Feed,
    *,
    newest_first: bool = False,
) -> Iterator[Bar]:
    """Bars whose beginning lies in between, the last perhaps still growing; empty ones are left out."""
    spans = _intraday(market, start, end, frame) if frame.length else _daily(market, start, end, frame)
    for begin, spells in reversed(list(spans)) if newest_first else spans:
        if start <= begin <= end:
            bar = _bar(
                market, symbol, begin, [(low, min(high, end)) for low, high in spells if low <= end], feed
            )
            if bar is not None:
                yield bar


Spells = list[tuple[datetime, datetime]]


def _intraday(
    market: Market, start: datetime, end: datetime, frame: Timeframe
) -> Iterator[tuple[datetime, Spells]]:
    assert frame.length is not None
    for session in market.sessions.between(start.date() - timedelta(days=1), end.date()):
        begin = session.pre_open
        if start > begin:
            begin += (start - begin) // frame.length * frame.length
        while begin < min(session.post_close, end + frame.length):
            yield begin, [(begin, begin + frame.length - timedelta(microseconds=1))]
            begin += frame.length


def _daily(
    market: Market, start: datetime, end: datetime, frame: Timeframe
) -> Iterator[tuple[datetime, Spells]]:
    def bucket(session: Session) -> object:
        if frame.sessions == "Day":
            return session.day
        return (
            session.day.isocalendar()[:2] if frame.sessions == "Week" else _months(session.day) // frame.count
        )

    sessions = market.sessions.between(start.date() - timedelta(days=1), end.date())
    for _, group in groupby(sessions, key=bucket):
        members = list(group)
        yield at_new_york(members[0].day, datetime.min.time()), [(one.open, one.close) for one in members]


def _months(day: date) -> int:
    return day.year * 12 + day.month - 1


def _bar(market: Market, symbol: str, begin: datetime, spells: Spells, feed: Feed) -> Bar | None:
    trades = [
        trade
        for low, high in spells
        for quote in _sampled(market, symbol, low, high, feed)
        if (trade := trade_of(quote)) is not None
    ]
    if not trades:
        return None
    prices, volume = [trade.price for trade in trades], sum(trade.size for trade in trades)
    turnover = sum((trade.price * trade.size for trade in trades), Decimal(0))
    return Bar(
        t_ns=to_ns(begin),
        open=prices[0],
        high=max(prices),
        low=min(prices),
        close=prices[-1],
        volume=volume,
        trades=len(trades),
        vwap=rounded(turnover / volume, Decimal("1e-6")),
    )


def _sampled(market: Market, symbol: str, low: datetime, high: datetime, feed: Feed) -> Iterable[Quote]:
    source = market.source(symbol)
    if market.is_recorded(symbol):
        return source.between(to_ns(low), to_ns(high), feed)
    step = (high - low) / (SAMPLES_PER_BAR - 1)
    moments = [low + step * place for place in range(SAMPLES_PER_BAR)]
    quotes = (source.at(to_ns(moment), feed) for moment in moments)
    return [quote for quote in quotes if quote is not None]


def minute_before(t_ns: int) -> datetime:
    """The beginning of the last whole minute at that moment."""
    return from_ns(t_ns).replace(second=0, microsecond=0) - timedelta(minutes=1)
