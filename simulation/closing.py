"""Closing positions: the market orders that take them back to nothing, or part of the way."""

from collections.abc import Mapping
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from typing import Any

from simulation import errors
from simulation.book import Position
from simulation.engine import Engine
from simulation.market import UnknownSymbol
from simulation.order_request import QTY_PLACES, OrderRequest, decimal_field
from simulation.orders import Order, Side
from simulation.settings import SymbolSettings

PERCENT = Decimal(100)


def open_position(engine: Engine, symbol_or_id: str) -> Position:
    """Raises Refusal 404 for a flat or unlisted symbol."""
    try:
        symbol = engine.market.asset(symbol_or_id).symbol
    except UnknownSymbol:
        raise errors.not_found("position does not exist") from None
    position = engine.book.positions.get(symbol)
    if position is None:
        raise errors.not_found("position does not exist")
    return position


def close_position(engine: Engine, symbol_or_id: str, query: Mapping[str, str], now: datetime) -> Order:
    """Submit the market order that closes ``qty`` shares or ``percentage`` of a position, or all of it."""
    position = open_position(engine, symbol_or_id)
    qty = _qty(position, query, engine.market.assets[position.symbol].settings)
    return engine.submit(_closing_request(position, qty), now)


def close_all(engine: Engine, now: datetime, *, cancel_orders: bool) -> list[dict[str, Any]]:
    """Close every position, after cancelling every open order if asked; one row a position."""
    if cancel_orders:
        for order_id in list(engine.book.open_ids):
            if engine.book.orders[order_id].is_open:
                engine.cancel_now(order_id, now)
    rows: list[dict[str, Any]] = []
    for symbol, position in sorted(engine.book.positions.items()):
        try:
            order = engine.submit(_closing_request(position, abs(position.qty)), now)
            rows.append({"symbol": symbol, "status": 200, "body": engine.wire_order(order)})
        except errors.Refusal as refusal:
            rows.append({"symbol": symbol, "status": refusal.status, "body": refusal.body()})
    return rows


def _qty(position: Position, query: Mapping[str, str], listed: SymbolSettings) -> Decimal:
    held = abs(position.qty)
    qty, percentage = decimal_field(query, "qty"), decimal_field(query, "percentage")
    if qty is not None and percentage is not None:
        raise errors.invalid("only one of qty or percentage is accepted")
    if percentage is not None:
        if not 0 < percentage <= PERCENT:
            raise errors.invalid("percentage must be between 0 and 100")
        places = QTY_PLACES if listed.fractionable else Decimal(1)
        qty = (held * percentage / PERCENT).quantize(places, rounding=ROUND_DOWN)
    if qty is not None and qty <= 0:
        raise errors.invalid("qty must be > 0")
    return held if qty is None else qty


def _closing_request(position: Position, qty: Decimal) -> OrderRequest:
    side: Side = "sell" if position.qty > 0 else "buy"
    return OrderRequest(symbol=position.symbol, side=side, type="market", time_in_force="day", qty=qty)
