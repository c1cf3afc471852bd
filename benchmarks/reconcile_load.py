"""A large account, written where it would stand after days of trading: the exchange's ledger and our tables.

Both writers must be down meanwhile. Orders at rest are those of `workers.chaos.resting_load`; each position is one
more order on a ticker of its own, filled yesterday.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import asyncpg

from simulation.events import OrderExecuted, encode
from simulation.ids import Ids, activity_id
from workers.chaos.resting_load import (
    QUANTITY,
    Resting,
    account_and_namespace,
    plan,
    write_ledger,
    write_rows,
)

FILLED_BEFORE: Final = timedelta(hours=1)
"""Outside the minutes in which a reading asks for executions anew."""

_FILLED = """
update orders set status = 'FILLED', raw_status = 'filled', filled_quantity = quantity,
    broker_filled_quantity = quantity, average_price = limit_price, execution_count = 1, final_at = $2,
    settled_at = $2
where signal_id = any ($1::text[])"""
_RELEASED = "update reservations set state = 'released', ended_at = $2 where signal_id = any ($1::text[])"
_EXECUTED = """
insert into executions (internal_order_id, execution_id, activity_id, broker_order_id, strategy, ticker, side,
    quantity, price, cumulative_quantity, executed_at, recorded_at)
select internal_order_id, executed.execution_id, executed.activity_id, broker_order_id, strategy, ticker, 'buy',
    quantity, limit_price, quantity, $4, $4
from orders join unnest($1::text[], $2::text[], $3::text[]) as executed (signal_id, execution_id, activity_id)
    using (signal_id)"""
_POSITIONS = """
insert into positions (ticker, strategy, quantity, cash, updated_at)
select ticker, strategy, quantity, cash, $1 from books"""


async def load(dsn: str, ledger: Path, *, orders: int, positions: int, now: datetime) -> None:
    """Write ``orders`` at rest and ``positions`` of one share each."""
    connection = await asyncpg.connect(dsn)
    try:
        account, namespace = await account_and_namespace(connection)
        planned = plan(positions + orders, positions, (), installation=namespace, account=account, now=now)
        filled, at = planned[:positions], now - FILLED_BEFORE
        names = [(each.signal_id, str(uuid4())) for each in filled]
        async with connection.transaction():
            await write_rows(connection, planned, now)
            signals = [signal_id for signal_id, _ in names]
            await connection.execute(_FILLED, signals, at)
            await connection.execute(_RELEASED, signals, at)
            executions = [execution_id for _, execution_id in names]
            activities = [activity_id(at, execution_id) for execution_id in executions]
            await connection.execute(_EXECUTED, signals, executions, activities, at)
            await connection.execute(_POSITIONS, now)
        await connection.execute("analyze")
    finally:
        await connection.close()
    write_ledger(ledger, planned, now)
    _append(ledger, _executions(filled, [execution_id for _, execution_id in names], at))


def _executions(filled: Sequence[Resting], names: Sequence[str], at: datetime) -> Iterator[bytes]:
    ids = Ids()
    for each, execution_id in zip(filled, names, strict=True):
        yield encode(
            OrderExecuted(
                at, ids.ulid(at), each.broker_order_id, execution_id, activity_id(at, execution_id), QUANTITY,
                each.limit_price, "filled",
            )
        )  # fmt: skip


def _append(ledger: Path, records: Iterator[bytes]) -> None:
    lines: list[Any] = ledger.read_bytes().splitlines()
    seq = int(json.loads(lines[-1])["seq"])
    with ledger.open("ab") as file:
        for body in records:
            seq += 1
            file.write(b'{"seq":%d,%b\n' % (seq, body[1:]))
