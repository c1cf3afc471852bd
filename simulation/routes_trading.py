"""The trading API: account, positions, orders, assets, clock, calendar, activities."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from simulation import errors
from simulation.account_view import (
    account_json,
    activity_json,
    adjustment_json,
    asset_json,
    calendar_json,
    clock_json,
    position_json,
)
from simulation.closing import close_all, close_position, open_position
from simulation.door import Call
from simulation.events import AccountConfiguration
from simulation.market import UnknownSymbol
from simulation.order_request import parse_json, parse_order
from simulation.orders import Order
from simulation.portfolio_history import portfolio_history
from simulation.queries import csv, day, flag, list_adjustments, list_fills, list_orders
from simulation.replacing import parse_replacement
from simulation.replies import Reply
from simulation.wire import NEW_YORK

_CONFIGURATION = TypeAdapter(AccountConfiguration)

CALENDAR_DEFAULT = timedelta(days=365)
# Trades settle one session later.
SETTLEMENT_REACH = timedelta(days=14)


def get_account(call: Call) -> Reply:
    exchange = call.exchange
    return Reply(body=account_json(exchange.book, exchange.engine.value(call.now), call.now))


def get_configurations(call: Call) -> Reply:
    return Reply(body=asdict(call.exchange.book.configuration))


def patch_configurations(call: Call) -> Reply:
    """Fields given as null, or names this exchange does not know, stay as they are: the SDK sends all."""
    known = asdict(call.exchange.book.configuration)
    given = {name: value for name, value in parse_json(call.body).items() if name in known}
    chosen = known | {name: value for name, value in given.items() if value is not None}
    try:
        configuration = _CONFIGURATION.validate_python(chosen)
    except ValidationError as error:
        raise errors.invalid(f"invalid {error.errors()[0]['loc'][0]}") from None
    call.exchange.engine.configure(configuration, call.now)
    return Reply(body=asdict(configuration))


def get_portfolio_history(call: Call) -> Reply:
    book = call.exchange.book
    return Reply(body=portfolio_history(book.equity_marks, call.query, call.now, book.initial_cash))


def post_order(call: Call) -> Reply:
    order = call.exchange.engine.submit(parse_order(parse_json(call.body)), call.now)
    return Reply(body=_wire(call, order, nested=True), noted={"order_id": order.id})


def get_orders(call: Call) -> Reply:
    nested = flag(call.query, "nested")
    orders = list_orders(call.exchange.book, call.query)
    return Reply(body=[_wire(call, order, nested=nested) for order in orders])


def patch_order(call: Call) -> Reply:
    old = _order(call)
    wanted = parse_replacement(parse_json(call.body))
    new = call.exchange.engine.replace(old.id, wanted, call.now)
    return Reply(body=_wire(call, new, nested=True), noted={"order_id": new.id, "replaces": old.id})


def get_order(call: Call) -> Reply:
    return Reply(body=_wire(call, _order(call), nested=flag(call.query, "nested")))


def get_order_by_client_order_id(call: Call) -> Reply:
    client_order_id = call.query.get("client_order_id", "")
    order_id = call.exchange.book.by_client_order_id.get(client_order_id)
    if order_id is None:
        raise errors.order_not_found(client_order_id)
    return Reply(body=_wire(call, call.exchange.book.orders[order_id], nested=True))


def delete_order(call: Call) -> Reply:
    order = _order(call)
    call.exchange.engine.request_cancel(order.id, call.now)
    return Reply(204, noted={"order_id": order.id})


def delete_orders(call: Call) -> Reply:
    rows: list[dict[str, Any]] = []
    for order_id in list(call.exchange.book.open_ids):
        try:
            call.exchange.engine.request_cancel(order_id, call.now)
            rows.append({"id": order_id, "status": 200})
        except errors.Refusal as refusal:
            rows.append({"id": order_id, "status": refusal.status, "body": refusal.body()})
    return Reply(207, rows, noted={"canceled": len(rows)})


def get_positions(call: Call) -> Reply:
    engine = call.exchange.engine
    book, market = engine.book, engine.market
    return Reply(
        body=[
            position_json(book, position, market.assets[symbol], engine.mark(symbol, call.now))
            for symbol, position in sorted(book.positions.items())
        ]
    )


def get_position(call: Call) -> Reply:
    engine = call.exchange.engine
    position = open_position(engine, call.params["symbol"])
    asset = engine.market.assets[position.symbol]
    price = engine.mark(position.symbol, call.now)
    return Reply(body=position_json(engine.book, position, asset, price))


def delete_position(call: Call) -> Reply:
    order = close_position(call.exchange.engine, call.params["symbol"], call.query, call.now)
    return Reply(body=_wire(call, order, nested=False), noted={"order_id": order.id})


def delete_positions(call: Call) -> Reply:
    cancel_orders = flag(call.query, "cancel_orders")
    return Reply(207, close_all(call.exchange.engine, call.now, cancel_orders=cancel_orders))


def get_assets(call: Call) -> Reply:
    """Every listed name that fits the filters; anything but US equities is an empty list."""
    query = call.query
    wanted = {name: query[name] for name in ("status", "exchange") if query.get(name)}
    attributes = set(csv(query, "attributes"))
    rows = [asset_json(asset) for asset in call.exchange.market.assets.values()]
    if query.get("asset_class", "us_equity") != "us_equity":
        rows = []
    return Reply(
        body=[
            row
            for row in rows
            if all(row[name] == value for name, value in wanted.items())
            and attributes <= set(row["attributes"])
        ]
    )


def get_asset(call: Call) -> Reply:
    try:
        return Reply(body=asset_json(call.exchange.market.asset(call.params["symbol"])))
    except UnknownSymbol as unknown:
        raise errors.not_found(f"asset not found for {unknown}") from None


def get_clock(call: Call) -> Reply:
    exchange = call.exchange
    return Reply(body=clock_json(exchange.sessions, exchange.clock.now_ns(), call.now))


def get_calendar(call: Call) -> Reply:
    today = call.now.astimezone(NEW_YORK).date()
    first = day(call.query, "start") or today - CALENDAR_DEFAULT
    last = day(call.query, "end") or today + CALENDAR_DEFAULT
    sessions = call.exchange.sessions.between(first, last)
    if not sessions:
        return Reply(body=[])
    ahead = call.exchange.sessions.between(sessions[0].day, sessions[-1].day + SETTLEMENT_REACH)
    settlements = [session.day.isoformat() for session in ahead[1 : len(sessions) + 1]]
    settlements += [sessions[-1].day.isoformat()] * (len(sessions) - len(settlements))
    return Reply(body=calendar_json(sessions, settlements))


def get_activities(call: Call) -> Reply:
    """FILLs, or what moved without a trade where only that is asked for; never both in one list."""
    asked = csv(call.query, "activity_types")
    if call.params.get("type"):
        asked = [call.params["type"]]
    if call.query.get("category") == "non_trade_activity" or (asked and "FILL" not in asked):
        rows = list_adjustments(call.exchange.book, call.query, asked)
        return Reply(body=[adjustment_json(row) for row in rows])
    return Reply(body=[activity_json(row) for row in list_fills(call.exchange.book, call.query)])


def get_announcements(call: Call) -> Reply:
    """Nothing is ever announced here: no dividends, no splits."""
    del call
    return Reply(body=[])


def unknown_route(call: Call) -> Reply:
    raise errors.not_found(f"endpoint not found: {call.method} {call.path}")


def _order(call: Call) -> Order:
    order_id = call.params["order_id"]
    try:
        order_id = str(UUID(order_id))
    except ValueError:
        raise errors.invalid("order_id is missing") from None
    order = call.exchange.book.orders.get(order_id)
    if order is None:
        raise errors.order_not_found(order_id)
    return order


def _wire(call: Call, order: Order, *, nested: bool) -> dict[str, Any]:
    return call.exchange.engine.wire_order(order, nested=nested)


ROUTES = (
    ("GET", "/v2/account", get_account),
    ("GET", "/v2/account/configurations", get_configurations),
    ("PATCH", "/v2/account/configurations", patch_configurations),
    ("GET", "/v2/account/portfolio/history", get_portfolio_history),
    ("GET", "/v2/account/activities", get_activities),
    ("GET", "/v2/account/activities/{type}", get_activities),
    ("POST", "/v2/orders", post_order),
    ("GET", "/v2/orders", get_orders),
    ("DELETE", "/v2/orders", delete_orders),
    ("GET", "/v2/orders:by_client_order_id", get_order_by_client_order_id),
    ("GET", "/v2/orders/{order_id}", get_order),
    ("PATCH", "/v2/orders/{order_id}", patch_order),
    ("DELETE", "/v2/orders/{order_id}", delete_order),
    ("GET", "/v2/positions", get_positions),
    ("DELETE", "/v2/positions", delete_positions),
    ("GET", "/v2/positions/{symbol}", get_position),
    ("DELETE", "/v2/positions/{symbol}", delete_position),
    ("GET", "/v2/assets", get_assets),
    ("GET", "/v2/assets/{symbol}", get_asset),
    ("GET", "/v2/clock", get_clock),
    ("GET", "/v2/calendar", get_calendar),
    ("GET", "/v2/corporate_actions/announcements", get_announcements),
)
