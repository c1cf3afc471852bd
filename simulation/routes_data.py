"""The market data API over HTTP."""

from datetime import timedelta
from typing import Any

from simulation.door import Call, Reply
from simulation.errors import Refusal
from simulation.queries import csv
from simulation.quotes import Quote
from simulation.settings import PRIMARY_FEED, Feed
from simulation.wire import rfc3339_ns, to_ns

DELAYED_BY = timedelta(minutes=15)


def quote_json(quote: Quote) -> dict[str, Any]:
    """Prices and sizes are JSON numbers here; with at most four decimals a float prints exactly."""
    venue = "V" if quote.feed == "iex" else "Q"
    return {
        "t": rfc3339_ns(quote.t_ns),
        "bx": venue if quote.bid else " ",
        "bp": float(quote.bid),
        "bs": quote.bid_size,
        "ax": venue if quote.ask else " ",
        "ap": float(quote.ask),
        "as": quote.ask_size,
        "c": ["R"],
        "z": "C",
    }


def feed_of(call: Call) -> tuple[Feed, int]:
    """The feed asked for, and the moment it shows in nanoseconds. Raises Refusal 400 for a feed we lack."""
    now_ns = to_ns(call.now)
    match call.query.get("feed") or PRIMARY_FEED:
        case "iex":
            return "iex", now_ns
        case "sip":
            return "sip", now_ns
        case "delayed_sip":
            return "sip", to_ns(call.now - DELAYED_BY)
        case other:
            raise Refusal(400, None, f"invalid feed: {other}")


def symbols_of(call: Call) -> list[str]:
    symbols = csv(call.query, "symbols")
    if not symbols:
        raise Refusal(400, None, "symbols is required")
    return [symbol for symbol in symbols if symbol in call.exchange.market.assets]


def get_latest_quotes(call: Call) -> Reply:
    feed, at_ns = feed_of(call)
    quotes = {symbol: call.exchange.market.quote(symbol, at_ns, feed) for symbol in symbols_of(call)}
    return Reply(body={"quotes": {symbol: quote_json(quote) for symbol, quote in quotes.items() if quote}})


def get_latest_quote(call: Call) -> Reply:
    feed, at_ns = feed_of(call)
    symbol = call.params["symbol"]
    if symbol not in call.exchange.market.assets:
        raise Refusal(404, None, f"no quote found for {symbol}")
    quote = call.exchange.market.quote(symbol, at_ns, feed)
    if quote is None:
        raise Refusal(404, None, f"no quote found for {symbol}")
    return Reply(body={"symbol": symbol, "quote": quote_json(quote)})


ROUTES = (
    ("GET", "/v2/stocks/quotes/latest", get_latest_quotes),
    ("GET", "/v2/stocks/{symbol}/quotes/latest", get_latest_quote),
)
