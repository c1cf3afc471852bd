"""Pages of historical market data: symbol by symbol, by time, with a token to go on."""

import base64
import binascii
from collections.abc import Callable, Iterator
from datetime import datetime, time, timedelta
from itertools import chain
from typing import Any

from simulation.door import Call
from simulation.errors import Refusal
from simulation.queries import csv
from simulation.replies import Reply
from simulation.sessions import at_new_york
from simulation.wire import NEW_YORK, from_ns, parse_moment

LIMIT_DEFAULT, LIMIT_MAX = 1_000, 10_000
DELAYED_BY = timedelta(minutes=15)

# symbol, start, end, newest first -> (moment in nanoseconds, row)
Rows = Callable[[str, datetime, datetime, bool], Iterator[tuple[int, dict[str, Any]]]]


def listed_symbols(call: Call) -> list[str]:
    """The listed ones of the symbols asked for. Raises Refusal 400 if none was named."""
    symbols = csv(call.query, "symbols")
    if not symbols:
        raise Refusal(400, None, "symbols is required")
    return [symbol for symbol in symbols if symbol in call.exchange.market.assets]


def page(call: Call, name: str, rows: Rows, rows_max: int) -> Reply:
    """One page of rows, symbol by symbol; the token says after which row of which symbol to go on."""
    symbols = sorted(set(listed_symbols(call)))
    start, end = _range(call)
    newest_first = _is_newest_first(call)
    limit = min(_limit(call), rows_max)
    at_symbol, at_ns = _read_token(call)
    shown: dict[str, list[dict[str, Any]]] = {}

    def from_symbol(symbol: str) -> Iterator[tuple[str, int, dict[str, Any]]]:
        low, high = start, end
        if symbol == at_symbol and newest_first:
            high = from_ns(at_ns)
        elif symbol == at_symbol:
            low = from_ns(at_ns)
        for t_ns, row in rows(symbol, low, high, newest_first):
            seen = symbol == at_symbol and (t_ns >= at_ns if newest_first else t_ns <= at_ns)
            if not seen and start <= from_ns(t_ns) <= end:
                yield symbol, t_ns, row

    remaining = [symbol for symbol in symbols if symbol >= at_symbol]
    count = 0
    last: tuple[str, int] | None = None
    for symbol, t_ns, row in chain.from_iterable(from_symbol(symbol) for symbol in remaining):
        if count == limit:
            return Reply(body={name: shown, "next_page_token": _token(last)})
        shown.setdefault(symbol, []).append(row)
        count, last = count + 1, (symbol, t_ns)
    return Reply(body={name: shown, "next_page_token": None})


def _range(call: Call) -> tuple[datetime, datetime]:
    today = call.now.astimezone(NEW_YORK).date()
    start = _moment(call, "start") or at_new_york(today, time())
    end = min(_moment(call, "end") or call.now, call.now)
    if (call.query.get("feed") or "") == "delayed_sip":
        end = min(end, call.now - DELAYED_BY)
    return start, end


def _moment(call: Call, name: str) -> datetime | None:
    raw = call.query.get(name)
    if not raw:
        return None
    try:
        return parse_moment(raw)
    except ValueError:
        raise Refusal(400, None, f"invalid {name}: {raw}") from None


def _limit(call: Call) -> int:
    raw = call.query.get("limit") or str(LIMIT_DEFAULT)
    if not raw.isdigit() or not 0 < int(raw) <= LIMIT_MAX:
        raise Refusal(400, None, f"limit must be between 1 and {LIMIT_MAX}")
    return int(raw)


def _is_newest_first(call: Call) -> bool:
    sort = call.query.get("sort") or "asc"
    if sort not in ("asc", "desc"):
        raise Refusal(400, None, f"invalid sort: {sort}")
    return sort == "desc"


def _token(last: tuple[str, int] | None) -> str | None:
    return None if last is None else base64.urlsafe_b64encode(f"{last[0]}|{last[1]}".encode()).decode()


def _read_token(call: Call) -> tuple[str, int]:
    raw = call.query.get("page_token")
    if not raw:
        return "", 0
    try:
        symbol, _, t_ns = base64.urlsafe_b64decode(raw.encode()).decode().partition("|")
        return symbol, int(t_ns)
    except (binascii.Error, ValueError):
        raise Refusal(400, None, "invalid page_token") from None
