"""The market data API over HTTP: latest and historical quotes, trades, bars, and snapshots."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from simulation.data_pages import DELAYED_BY, listed_symbols, page
from simulation.door import Call
from simulation.errors import Refusal
from simulation.history import (
    Bar,
    Timeframe,
    bars_between,
    minute_before,
    parse_timeframe,
    quotes_between,
    trade_of,
)
from simulation.market_json import bar_json, quote_json, trade_json
from simulation.quotes import Quote
from simulation.replies import Reply
from simulation.settings import PRIMARY_FEED, Feed
from simulation.wire import from_ns, rfc3339_ns, to_ns

# The broker's pages hold up to 10,000 rows; ours fewer, so that one page never holds up the others.
ROWS_PER_PAGE_MAX, BARS_PER_PAGE_MAX = 1_000, 250
MINUTE_LENGTH = timedelta(minutes=1)
MINUTE = Timeframe(1, MINUTE_LENGTH, None)
SESSION = Timeframe(1, None, "Day")
DAILY_REACH = timedelta(days=10)


def get_latest_quotes(call: Call) -> Reply:
    feed, at_ns = feed_of(call)
    quotes = {symbol: call.exchange.market.quote(symbol, at_ns, feed) for symbol in listed_symbols(call)}
    shown = {symbol: quote_json(quote, rfc3339_ns) for symbol, quote in quotes.items() if quote}
    return Reply(body={"quotes": shown})


def get_latest_quote(call: Call) -> Reply:
    feed, at_ns = feed_of(call)
    symbol = call.params["symbol"]
    market = call.exchange.market
    quote = market.quote(symbol, at_ns, feed) if symbol in market.assets else None
    if quote is None:
        raise Refusal(404, None, f"no quote found for {symbol}")
    return Reply(body={"symbol": symbol, "quote": quote_json(quote, rfc3339_ns)})


def get_latest_trades(call: Call) -> Reply:
    feed, at_ns = feed_of(call)
    shown = {symbol: _latest_trade(call, symbol, at_ns, feed) for symbol in listed_symbols(call)}
    return Reply(body={"trades": {symbol: trade for symbol, trade in shown.items() if trade}})


def get_latest_bars(call: Call) -> Reply:
    feed, at_ns = feed_of(call)
    shown = {symbol: _minute_bar(call, symbol, at_ns, feed) for symbol in listed_symbols(call)}
    return Reply(body={"bars": {symbol: bar for symbol, bar in shown.items() if bar}})


def get_snapshots(call: Call) -> Reply:
    feed, at_ns = feed_of(call)
    return Reply(body={symbol: _snapshot(call, symbol, at_ns, feed) for symbol in listed_symbols(call)})


def get_quotes(call: Call) -> Reply:
    feed, _ = feed_of(call)

    def rows(symbol: str, start: datetime, end: datetime, newest_first: bool) -> Iterator[Any]:
        for quote in _quotes(call, symbol, start, end, feed, newest_first=newest_first):
            yield quote.t_ns, quote_json(quote, rfc3339_ns)

    return page(call, "quotes", rows, ROWS_PER_PAGE_MAX)


def get_trades(call: Call) -> Reply:
    feed, _ = feed_of(call)

    def rows(symbol: str, start: datetime, end: datetime, newest_first: bool) -> Iterator[Any]:
        for quote in _quotes(call, symbol, start, end, feed, newest_first=newest_first):
            trade = trade_of(quote)
            if trade is not None:
                yield trade.t_ns, trade_json(trade, feed, rfc3339_ns)

    return page(call, "trades", rows, ROWS_PER_PAGE_MAX)


def get_bars(call: Call) -> Reply:
    """Bars of one timeframe; the newest may still be growing."""
    feed, _ = feed_of(call)
    try:
        frame = parse_timeframe(call.query.get("timeframe", ""))
    except ValueError as error:
        raise Refusal(400, None, str(error)) from None

    def rows(symbol: str, start: datetime, end: datetime, newest_first: bool) -> Iterator[Any]:
        market = call.exchange.market
        for bar in bars_between(market, symbol, start, end, frame, feed, newest_first=newest_first):
            yield bar.t_ns, bar_json(bar, rfc3339_ns)

    return page(call, "bars", rows, BARS_PER_PAGE_MAX)


def feed_of(call: Call) -> tuple[Feed, int]:
    """The feed asked for, and the moment it shows in nanoseconds. Raises Refusal 400 for a feed we lack."""
    match call.query.get("feed") or PRIMARY_FEED:
        case "iex":
            return "iex", to_ns(call.now)
        case "sip":
            return "sip", to_ns(call.now)
        case "delayed_sip":
            return "sip", to_ns(call.now - DELAYED_BY)
        case other:
            raise Refusal(400, None, f"invalid feed: {other}")


def _quotes(
    call: Call, symbol: str, start: datetime, end: datetime, feed: Feed, *, newest_first: bool
) -> Iterator[Quote]:
    return quotes_between(call.exchange.market, symbol, start, end, feed, newest_first=newest_first)


def _latest_trade(call: Call, symbol: str, at_ns: int, feed: Feed) -> dict[str, Any] | None:
    quote = call.exchange.market.quote(symbol, at_ns, feed)
    trade = None if quote is None else trade_of(quote)
    return None if trade is None else trade_json(trade, feed, rfc3339_ns)


def _minute_bar(call: Call, symbol: str, at_ns: int, feed: Feed) -> dict[str, Any] | None:
    market, sessions = call.exchange.market, call.exchange.sessions
    begin = minute_before(to_ns(sessions.last_active(from_ns(at_ns))))
    end = begin + MINUTE_LENGTH
    return _shown(next(bars_between(market, symbol, begin, end, MINUTE, feed), None))


def _daily_bars(call: Call, symbol: str, at_ns: int, feed: Feed) -> list[Bar]:
    now = from_ns(at_ns)
    newest = bars_between(
        call.exchange.market, symbol, now - DAILY_REACH, now, SESSION, feed, newest_first=True
    )
    return [bar for bar, _ in zip(newest, range(2), strict=False)]


def _snapshot(call: Call, symbol: str, at_ns: int, feed: Feed) -> dict[str, Any]:
    quote = call.exchange.market.quote(symbol, at_ns, feed)
    days = _daily_bars(call, symbol, at_ns, feed)
    return {
        "latestTrade": _latest_trade(call, symbol, at_ns, feed),
        "latestQuote": None if quote is None else quote_json(quote, rfc3339_ns),
        "minuteBar": _minute_bar(call, symbol, at_ns, feed),
        "dailyBar": _shown(days[0] if days else None),
        "prevDailyBar": _shown(days[1] if len(days) > 1 else None),
    }


def _shown(bar: Bar | None) -> dict[str, Any] | None:
    return None if bar is None else bar_json(bar, rfc3339_ns)


ROUTES = (
    ("GET", "/v2/stocks/quotes/latest", get_latest_quotes),
    ("GET", "/v2/stocks/trades/latest", get_latest_trades),
    ("GET", "/v2/stocks/bars/latest", get_latest_bars),
    ("GET", "/v2/stocks/snapshots", get_snapshots),
    ("GET", "/v2/stocks/quotes", get_quotes),
    ("GET", "/v2/stocks/trades", get_trades),
    ("GET", "/v2/stocks/bars", get_bars),
    ("GET", "/v2/stocks/{symbol}/quotes/latest", get_latest_quote),
)
