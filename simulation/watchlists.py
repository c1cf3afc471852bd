"""Watchlists: named lists of symbols that the account's owner keeps."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from simulation import errors
from simulation.account_view import asset_json
from simulation.door import Call
from simulation.events import Watchlist, WatchlistDeleted, WatchlistSaved
from simulation.market import UnknownSymbol
from simulation.order_request import parse_json
from simulation.replies import Reply
from simulation.wire import rfc3339

NAME_LENGTH_MAX = 64


def get_watchlists(call: Call) -> Reply:
    return Reply(body=[_head(call, watchlist) for watchlist in call.exchange.book.watchlists.values()])


def post_watchlist(call: Call) -> Reply:
    body = parse_json(call.body)
    watchlist = Watchlist(
        id=call.exchange.engine.ids.uuid(),
        name=_name(call, body, None),
        symbols=_symbols(call, body),
        created_at=call.now,
        updated_at=call.now,
    )
    return _saved(call, watchlist)


def get_watchlist(call: Call) -> Reply:
    return Reply(body=_whole(call, _found(call)))


def put_watchlist(call: Call) -> Reply:
    """Fields left out stay as they are."""
    known, body = _found(call), parse_json(call.body)
    name = known.name if body.get("name") is None else _name(call, body, known)
    symbols = known.symbols if body.get("symbols") is None else _symbols(call, body)
    return _saved(call, replace(known, name=name, symbols=symbols, updated_at=call.now))


def post_watchlist_symbol(call: Call) -> Reply:
    known, body = _found(call), parse_json(call.body)
    (symbol,) = _symbols(call, {"symbols": [body.get("symbol")]})
    if symbol in known.symbols:
        raise errors.invalid("duplicate symbol")
    return _saved(call, replace(known, symbols=(*known.symbols, symbol), updated_at=call.now))


def delete_watchlist_symbol(call: Call) -> Reply:
    known, symbol = _found(call), call.params["symbol"]
    if symbol not in known.symbols:
        raise errors.not_found(f"symbol not found for {symbol}")
    kept = tuple(one for one in known.symbols if one != symbol)
    return _saved(call, replace(known, symbols=kept, updated_at=call.now))


def delete_watchlist(call: Call) -> Reply:
    call.exchange.engine.emit(WatchlistDeleted(call.now, _found(call).id))
    return Reply(204)


def _found(call: Call) -> Watchlist:
    watchlist_id = call.params["watchlist_id"].lower()
    try:
        return call.exchange.book.watchlists[watchlist_id]
    except KeyError:
        raise errors.not_found(f"watchlist not found for {watchlist_id}") from None


def _saved(call: Call, watchlist: Watchlist) -> Reply:
    call.exchange.engine.emit(WatchlistSaved(call.now, watchlist))
    return Reply(body=_whole(call, watchlist))


def _name(call: Call, body: Mapping[str, Any], known: Watchlist | None) -> str:
    name = body.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= NAME_LENGTH_MAX:
        raise errors.invalid(f"watchlist name must be 1 to {NAME_LENGTH_MAX} characters")
    for other in call.exchange.book.watchlists.values():
        if other.name == name and (known is None or other.id != known.id):
            raise errors.invalid("watchlist name must be unique")
    return name


def _symbols(call: Call, body: Mapping[str, Any]) -> tuple[str, ...]:
    symbols = body.get("symbols") or []
    if not isinstance(symbols, list):
        raise errors.invalid("invalid symbols")
    try:
        return tuple(dict.fromkeys(call.exchange.market.asset(str(symbol)).symbol for symbol in symbols))
    except UnknownSymbol as unknown:
        raise errors.unprocessable(f'asset "{unknown}" not found') from None


def _head(call: Call, watchlist: Watchlist) -> dict[str, Any]:
    return {
        "id": watchlist.id,
        "account_id": call.exchange.book.account_id,
        "name": watchlist.name,
        "created_at": rfc3339(watchlist.created_at),
        "updated_at": rfc3339(watchlist.updated_at),
    }


def _whole(call: Call, watchlist: Watchlist) -> dict[str, Any]:
    listed = call.exchange.market.assets
    assets = [asset_json(listed[symbol]) for symbol in watchlist.symbols if symbol in listed]
    return _head(call, watchlist) | {"assets": assets}


ROUTES = (
    ("GET", "/v2/watchlists", get_watchlists),
    ("POST", "/v2/watchlists", post_watchlist),
    ("GET", "/v2/watchlists/{watchlist_id}", get_watchlist),
    ("PUT", "/v2/watchlists/{watchlist_id}", put_watchlist),
    ("POST", "/v2/watchlists/{watchlist_id}", post_watchlist_symbol),
    ("DELETE", "/v2/watchlists/{watchlist_id}", delete_watchlist),
    ("DELETE", "/v2/watchlists/{watchlist_id}/{symbol}", delete_watchlist_symbol),
)
