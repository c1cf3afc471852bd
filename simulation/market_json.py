"""Quotes, trades and bars in the broker's short names; prices and sizes are JSON numbers here."""

from collections.abc import Callable
from typing import Any

from simulation.history import Bar, Trade
from simulation.quotes import Quote
from simulation.wire import json_number

Moment = Callable[[int], Any]
TAPE = "C"


def venue_of(feed: str) -> str:
    return "V" if feed == "iex" else "Q"


def quote_json(quote: Quote, moment: Moment) -> dict[str, Any]:
    """A quote; ``moment`` turns nanoseconds into what the connection wants."""
    venue = venue_of(quote.feed)
    return {
        "t": moment(quote.t_ns),
        "bx": venue if quote.bid else " ",
        "bp": json_number(quote.bid),
        "bs": quote.bid_size,
        "ax": venue if quote.ask else " ",
        "ap": json_number(quote.ask),
        "as": quote.ask_size,
        "c": ["R"],
        "z": TAPE,
    }


def trade_json(trade: Trade, feed: str, moment: Moment) -> dict[str, Any]:
    return {
        "t": moment(trade.t_ns),
        "x": venue_of(feed),
        "p": json_number(trade.price),
        "s": trade.size,
        "c": ["@"],
        "i": trade.id,
        "z": TAPE,
    }


def bar_json(bar: Bar, moment: Moment) -> dict[str, Any]:
    return {
        "t": moment(bar.t_ns),
        "o": json_number(bar.open),
        "h": json_number(bar.high),
        "l": json_number(bar.low),
        "c": json_number(bar.close),
        "v": bar.volume,
        "n": bar.trades,
        "vw": json_number(bar.vwap),
    }
