"""Both sides of the books, and ways to let the broker's move without us."""

import asyncio
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from schemas import wire
from schemas.reconciliation import CASH, ReconcileInput, Report
from schemas.wire import Queue
from storage.journal import Sum, rebuild
from tests.servers.stack import Stack, signal

QUIET = {
    "reconcile_pause_seconds": 0.1,
    "reconcile_fill_grace_seconds": 0,
    "reconcile_order_grace_seconds": 0,
}
"""Nothing is on its way: every difference counts at once."""
WITHIN_SECONDS = 30
POLL_SECONDS = 0.05


async def reconcile(stack: Stack, queue: str = Queue.TRADING.value) -> Report:
    """One run, to its end."""
    report: Report = await stack.client.execute_workflow(
        wire.WORKFLOW_RECONCILIATION,
        ReconcileInput(trigger="a test"),
        id=f"reconcile-{uuid.uuid4()}",
        task_queue=queue,
        result_type=Report,
    )
    return report


async def broker(stack: Stack, method: str, path: str, **body: Any) -> Any:
    """Act at the broker as somebody else with the same account."""
    answer = await stack.exchange_http.request(method, path, json=body or None)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


async def ended_there(stack: Stack, broker_order_id: str) -> dict[str, Any]:
    """Wait until the broker has brought an order to its end."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while True:
            order: dict[str, Any] = await broker(stack, "GET", f"/v2/orders/{broker_order_id}")
            if order["status"] in ("filled", "canceled", "replaced", "expired"):
                return order
            await asyncio.sleep(POLL_SECONDS)


async def there(stack: Stack) -> tuple[dict[str, Decimal], Decimal]:
    """The broker's positions and cash."""
    positions = await broker(stack, "GET", "/v2/positions")
    account = await broker(stack, "GET", "/v2/account")
    return {row["symbol"]: Decimal(row["qty"]) for row in positions}, Decimal(account["cash"])


async def here(stack: Stack) -> tuple[dict[str, Decimal], Decimal]:
    """Our positions and cash, which must be what executions and journal alone come to."""
    async with stack.parts.database.connection() as connection:
        sums = await rebuild(connection)
        rows = await connection.fetch(
            "select ticker, strategy, quantity, cash from positions where quantity <> 0 or cash <> 0"
            " order by ticker, strategy"
        )
    assert [Sum.model_validate(dict(row)) for row in rows] == sums
    shares: dict[str, Decimal] = {}
    for each in sums:
        if each.ticker != CASH:
            shares[each.ticker] = shares.get(each.ticker, Decimal(0)) + each.quantity
    return {ticker: quantity for ticker, quantity in shares.items() if quantity}, sum(
        (each.cash for each in sums), Decimal(0)
    )


async def filled(stack: Stack, unique: Callable[[str], str], ticker: str, quantity: int) -> dict[str, Any]:
    """Buy through the gateway."""
    signal_id = unique("bought")
    await stack.submit(signal(signal_id, ticker=ticker, quantity=str(quantity)))
    order = await stack.settled(signal_id)
    assert order["status"] == "FILLED", order
    return order


async def resting(stack: Stack, unique: Callable[[str], str], ticker: str, price: str) -> dict[str, Any]:
    """Let an order of ours rest at the broker, below a market that a test has fixed."""
    signal_id = unique("rests")
    await stack.submit(signal(signal_id, ticker=ticker, order_type="LIMIT", limit_price=price, quantity="5"))
    return await stack.until(signal_id, lambda order: order["status"] == "ACKNOWLEDGED")


async def quote(stack: Stack, ticker: str, bid: str, ask: str) -> None:
    """Fix a market."""
    body = {"symbol": ticker, "bid": bid, "ask": ask, "bid_size": 1000, "ask_size": 1000}
    await stack.control("quotes", body)


async def count(stack: Stack, sql: str) -> int:
    """A number from our database."""
    async with stack.parts.database.connection() as connection:
        found: int = await connection.fetchval(sql)
    return found
