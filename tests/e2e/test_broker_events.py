"""What the broker does to orders on its own, through real sockets: replaces, busts, corrections, late truths."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from schemas.alerts import AlertCode
from storage.alerts import list_alerts
from tests.servers.stack import Stack, signal

Unique = Callable[[str], str]
ALARMED_WITHIN_SECONDS = 30
POLL_SECONDS = 0.05


async def resting(stack: Stack, signal_id: str, ticker: str, price: str = "40.00") -> dict[str, Any]:
    await stack.submit(signal(signal_id, ticker=ticker, order_type="LIMIT", limit_price=price))
    return await stack.until(signal_id, lambda order: order["raw_status"] == "new")


async def quote(stack: Stack, ticker: str, price: str) -> None:
    sizes = {"bid_size": 900, "ask_size": 900}
    await stack.control("quotes", {"symbol": ticker, "bid": price, "ask": price, **sizes})


async def alarmed(stack: Stack, code: AlertCode, subject: str) -> None:
    async with asyncio.timeout(ALARMED_WITHIN_SECONDS):
        while True:
            async with stack.parts.database.connection() as connection:
                if (code, subject) in {(each.code, each.subject) for each in await list_alerts(connection)}:
                    return
            await asyncio.sleep(POLL_SECONDS)


async def held(stack: Stack, ticker: str) -> Decimal:
    async with stack.parts.database.connection() as connection:
        found = await connection.fetchval("select sum(quantity) from positions where ticker = $1", ticker)
    return Decimal(found or 0)


async def executions(stack: Stack, signal_id: str) -> list[str]:
    async with stack.parts.database.connection() as connection:
        rows = await connection.fetch(
            "select execution_id from executions join orders using (internal_order_id) where signal_id = $1",
            signal_id,
        )
    return [row["execution_id"] for row in rows]


async def test_replaced_by_another_client_then_filled_then_busted(stack: Stack, unique: Unique) -> None:
    """How: somebody with the same account changes quantity and price; 12 are filled; the venue takes them back."""
    asked = unique("replaced")
    order = await resting(stack, asked, "AAPL")
    answer = await stack.exchange_http.patch(
        f"/v2/orders/{order['broker_order_id']}", json={"qty": "12", "limit_price": "41.00"}
    )
    assert answer.is_success, answer.text
    moved = await stack.until(asked, lambda found: found["broker_order_id"] == answer.json()["id"])
    assert (moved["status"], moved["quantity"]) == ("ACKNOWLEDGED", "12")
    await quote(stack, "AAPL", "40.90")
    settled = await stack.settled(asked)
    assert (settled["status"], settled["filled_quantity"]) == ("FILLED", "12")
    assert await held(stack, "AAPL") == 12

    (execution,) = await executions(stack, asked)
    await stack.control("bust", {"execution_id": execution})
    await alarmed(stack, AlertCode.BUST_OR_CORRECTION, execution)
    busted = await stack.signal(asked)
    assert busted["order"]["filled_quantity"] == "0"
    assert await held(stack, "AAPL") == 0


async def test_a_corrected_price_and_a_rejection_after_acceptance(stack: Stack, unique: Unique) -> None:
    corrected, rejected = unique("corrected"), unique("rejected")
    await stack.control(
        "faults",
        {"match": {"symbol": "MSFT"}, "action": "correct_fill", "price": "400.00", "latency_ms": 500},
    )
    await stack.submit(signal(corrected, ticker="MSFT"))
    await stack.until(corrected, lambda order: order["status"] == "FILLED")
    (execution, *_) = await executions(stack, corrected)
    await alarmed(stack, AlertCode.BUST_OR_CORRECTION, execution)
    order = await stack.until(corrected, lambda order: Decimal(order["average_price"]) == 400)
    assert order["filled_quantity"] == "10"

    await stack.control("faults", {"match": {"symbol": "NVDA"}, "action": "reject_order"})
    await stack.submit(signal(rejected, ticker="NVDA"))
    order = await stack.settled(rejected)
    assert (order["status"], order["reason"], order["raw_status"]) == ("REJECTED", "rejected", "rejected")


async def test_an_order_closed_here_that_fills_there_is_followed_again(stack: Stack, unique: Unique) -> None:
    """How: a verdict that was wrong is put into the row and its workflow ended; the stream tells of the fill."""
    closed = unique("late")
    order = await resting(stack, closed, "IBM")
    await stack.workflow(closed).terminate("closed by mistake")
    async with stack.parts.database.transaction("test") as connection:
        await connection.execute(
            "update orders set status = 'REJECTED', reason = 'ERR_FORBIDDEN', raw_status = null,"
            " broker_order_id = null, settled_at = updated_at, final_at = updated_at where signal_id = $1",
            closed,
        )
        await connection.execute("update reservations set state = 'released' where signal_id = $1", closed)
    await quote(stack, "IBM", "39.90")
    await alarmed(stack, AlertCode.LATE_TRUTH, order["client_order_id"])
    settled = await stack.until(closed, lambda found: found["settled"] and found["status"] == "FILLED")
    assert settled["filled_quantity"] == "10"
    assert await held(stack, "IBM") == 10
