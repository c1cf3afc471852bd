"""A thousand signals through the gateway in one run, judged by the exchange's ledger."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.servers.stack import StackFactory, signal

SIGNALS = 1000
TICKERS = 200
DOORS = 16
"""Requests at once, as a handful of strategies would send them."""
SETTLED_WITHIN_SECONDS = 1200

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


async def test_each_of_a_thousand_ends_in_exactly_one_state(stack_factory: StackFactory, unique: Any) -> None:
    stack = await stack_factory(tickers=TICKERS)
    prefix, doors = unique("k"), asyncio.Semaphore(DOORS)

    async def submit(number: int) -> int:
        async with doors:
            ticker = f"T{1 + number % TICKERS:04d}"
            answer = await stack.submit(signal(f"{prefix}-{number}", ticker=ticker, quantity="1"))
            return answer.status_code

    codes = Counter(await asyncio.gather(*(submit(number) for number in range(SIGNALS))))
    assert codes == {202: SIGNALS}
    await _until_settled(stack)
    async with stack.parts.database.connection() as connection:
        rows = await connection.fetch(
            "select o.status, o.settled_at is not null as settled, o.client_order_id, d.approved"
            " from orders o left join decisions d using (signal_id, leg, generation)"
        )
    outcomes = Counter(row["status"] for row in rows)
    approved = sum(bool(row["approved"]) for row in rows)
    ledger = await stack.ledger()
    print(f"outcomes {dict(outcomes)}, approved {approved}, at the broker {ledger['accepted_total']}")
    assert len(rows) == SIGNALS
    assert all(row["settled"] for row in rows)
    assert set(outcomes) <= {"FILLED", "REJECTED", "CANCELED"}
    assert ledger["duplicate_orders"] == 0
    assert set(ledger["accepted_orders"]) == {
        row["client_order_id"] for row in rows if row["client_order_id"]
    }
    assert ledger["accepted_total"] == approved


async def _until_settled(stack: Any) -> None:
    async with asyncio.timeout(SETTLED_WITHIN_SECONDS), stack.parts.database.connection() as connection:
        while await connection.fetchval("select count(*) from orders where settled_at is null"):
            await asyncio.sleep(1)
