"""The audit log and our own books as the database has them: what a rebuild reads, and what it is held against."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from audit.rebuild import Key, Line, Order, Position
from schemas.orders import Fill, OrderStatus
from schemas.wire import Leg
from storage.journal import rebuild as sums
from storage.statements import load

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection

_SQL: Final = load("audit_rebuild")

PAGE: Final = 1000
"""Rows that are held at once."""


async def read_lines(connection: Connection) -> AsyncIterator[Line]:
    """Every audit row in its order. In a transaction of the caller's."""
    async for row in connection.cursor(_SQL["lines"], prefetch=PAGE):
        payload = row["payload"]
        yield Line(
            id=row["id"],
            occurred_at=row["occurred_at"],
            correlation_id=row["correlation_id"],
            decision=row["decision"],
            payload=None if payload is None else json.loads(payload),
        )


async def read_orders(connection: Connection) -> dict[Key, Order]:
    """Our orders with their executions."""
    found = {_key(row): _order(row) for row in await connection.fetch(_SQL["orders"])}
    places: dict[Key, int] = defaultdict(int)
    for row in await connection.fetch(_SQL["fills"]):
        key = _key(row)
        found[key].fills[places[key]] = Fill.model_validate(dict(row))
        places[key] += 1
    return found


async def read_positions(connection: Connection) -> dict[tuple[str, str], Position]:
    """Our books, from executions and journal."""
    return {
        (each.ticker, each.strategy): Position(each.quantity, each.cash) for each in await sums(connection)
    }


def _key(row: asyncpg.Record) -> Key:
    return Key(row["signal_id"], Leg(row["leg"]), row["generation"])


def _order(row: asyncpg.Record) -> Order:
    return Order(
        key=_key(row),
        terms={"strategy": row["strategy"], "ticker": row["ticker"]},
        status=OrderStatus(row["status"]),
        order_id=str(row["internal_order_id"]),
        client_order_id=row["client_order_id"],
        broker_order_id=row["broker_order_id"],
        predecessors=tuple(row["predecessors"]),
        quantity=row["quantity"],
        filled_quantity=row["filled_quantity"],
        settled=row["settled"],
        request=None if row["request"] is None else json.loads(row["request"]),
    )
