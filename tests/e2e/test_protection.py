"""A stop under every share that an entry with ``hard_stop_loss`` fills, judged by the exchange's books."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from schemas import wire
from tests.servers.stack import WIDE_LIMITS, Stack, StackFactory, signal

LIMITS = {**WIDE_LIMITS, "short_selling_strategies": ["momentum"]}
WITHIN_SECONDS = 30
POLL_SECONDS = 0.05


async def at_market(stack: Stack, bid: str, ask: str, size: int = 1000, ticker: str = "AAPL") -> None:
    await stack.control(
        "quotes", {"symbol": ticker, "bid": bid, "ask": ask, "bid_size": size, "ask_size": size}
    )


async def open_orders(stack: Stack, ticker: str = "AAPL") -> list[dict[str, Any]]:
    """What stands at the exchange for the ticker."""
    answer = await stack.exchange_http.get("/v2/orders", params={"status": "open", "limit": 500})
    return [order for order in answer.json() if order["symbol"] == ticker]


async def held(stack: Stack, ticker: str = "AAPL") -> Decimal:
    """Shares in the exchange's books, signed."""
    rows = (await stack.exchange_http.get("/v2/positions")).json()
    return next((Decimal(row["qty"]) for row in rows if row["symbol"] == ticker), Decimal(0))


async def stops(stack: Stack, ticker: str = "AAPL") -> list[tuple[str, Decimal]]:
    """(stop price, shares) of each stop that stands at the exchange."""
    return [
        (str(Decimal(order["stop_price"])), Decimal(order["qty"]) - Decimal(order["filled_qty"]))
        for order in await open_orders(stack, ticker)
        if order["stop_price"] is not None and order["status"] != "pending_cancel"
    ]


async def until_stops(stack: Stack, *wanted: tuple[str, int], ticker: str = "AAPL") -> None:
    """Wait until exactly these stops stand at the exchange."""
    await until(stack, lambda: stops(stack, ticker), [(price, Decimal(shares)) for price, shares in wanted])


async def until(stack: Stack, ask: Any, wanted: Any) -> None:
    found = None
    try:
        async with asyncio.timeout(WITHIN_SECONDS):
            while (found := await ask()) != wanted:
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        pytest.fail(f"wanted {wanted}, found {found}; {await open_orders(stack)}")


async def outcome(stack: Stack, signal_id: str) -> Any:
    """How the protection ended."""
    handle = stack.client.get_workflow_handle(wire.protect_workflow_id(signal_id))
    async with asyncio.timeout(WITHIN_SECONDS):
        return await handle.result()


@pytest.mark.parametrize("topology", ["compact", "isolated"])
async def test_a_stop_stands_for_what_was_filled_and_closes_it(
    stack_factory: StackFactory, unique: Any, topology: str
) -> None:
    stack, signal_id = await stack_factory(topology=topology, limits=LIMITS), unique("long")
    await at_market(stack, "99.98", "100.02")
    await stack.submit(signal(signal_id, hard_stop_loss="95.00"))
    assert (await stack.settled(signal_id))["status"] == "FILLED"
    await until_stops(stack, ("95", 10))
    await at_market(stack, "94.90", "94.94")
    assert (await outcome(stack, signal_id))["exited"] == "10"
    assert await held(stack) == 0
    ledger = await stack.ledger()
    assert (ledger["posts_total"], ledger["accepted_total"], ledger["duplicate_orders"]) == (2, 2, 0)
