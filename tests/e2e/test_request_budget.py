"""Orders wait for requests without holding a slot, so a cancel overtakes them. Judged by the exchange's ledger."""

import asyncio
import json
from typing import Any

import pytest

from broker.budget import Share
from risk.messages import UserMessage
from schemas import wire
from schemas.runs import CancelCommand, CancelReply
from storage.budget import pause
from tests.servers.stack import Stack, StackFactory, signal

REQUESTS_PER_MINUTE = 200
QUEUED = 12
PAUSE_SECONDS = 300.0
PASSED_MAX = 10
"""Placements that may leave while a cancel is on its way: theirs are two requests a second."""
DOORS = 16
"""Requests at once, as a handful of strategies would send them."""
BOTH = pytest.mark.parametrize("topology", ["compact", "isolated"])


async def requests(stack: Stack) -> list[dict[str, Any]]:
    """Every request to the trading host, in the order in which it was answered."""
    text = (await stack.exchange_http.get("/_exchange/ledger")).text
    records = [json.loads(line) for line in text.splitlines()]
    return [each for each in records if each["kind"] == "request"]


async def order_requests(stack: Stack) -> list[str]:
    """The method of each request about orders."""
    return [each["method"] for each in await requests(stack) if "orders" in each["path"]]


async def overtake(stack: Stack, unique: Any, queued: int, *, pause_seconds: float | None = None) -> None:
    """Rest one order, queue the others, cancel the one; what the exchange was sent says who came first."""
    first, prefix = unique("resting"), unique("queued")
    quiet = {"order_type": "LIMIT", "time_in_force": "GTC", "quantity": "1"}
    await stack.submit(signal(first, ticker="MSFT", **quiet, limit_price="395"))
    await stack.until(first, lambda order: order["raw_status"] == "new")
    if pause_seconds is not None:
        async with stack.parts.database.transaction("test") as connection:
            await pause(connection, Share.ORDERS.value, pause_seconds)
    doors = asyncio.Semaphore(DOORS)

    async def submit(number: int) -> None:
        async with doors:
            price = f"{179 - number / 100:.2f}"  # no two are the same
            await stack.submit(signal(f"{prefix}-{number}", **quiet, limit_price=price))

    await asyncio.gather(*(submit(number) for number in range(queued)))
    async with asyncio.timeout(60), stack.parts.database.connection() as connection:
        said = "select count(*) from orders where user_message = $1 and post_count = 0"
        while not await connection.fetchval(said, UserMessage.RATE_LIMITING.value):
            await asyncio.sleep(0.05)
    posts_then = (await order_requests(stack)).count("POST")
    reply = await stack.workflow(first).execute_update(
        wire.UPDATE_CANCEL_ORDER, CancelCommand(actor="a person"), result_type=CancelReply
    )
    assert reply.answer.value == "REQUESTED"
    assert (await stack.until(first, lambda order: order["status"] == "CANCELED"))["filled_quantity"] == "0"
    told = await order_requests(stack)
    waited_for = told[: told.index("DELETE")].count("POST") - posts_then
    assert waited_for <= PASSED_MAX, f"the cancel waited for {waited_for} placements"
    async with stack.parts.database.connection() as connection:
        waiting = await connection.fetchval("select count(*) from orders where post_count = 0")
        written = await connection.fetchval("select count(*) from audit_log where decision = 'NOT_SENT'")
    assert waiting > 0, "all had been placed before the cancel: nothing was overtaken"
    assert written == 0, "an intent was written and taken back"


@BOTH
async def test_a_cancel_overtakes_placements_that_wait_for_requests(
    stack_factory: StackFactory, unique: Any, topology: str
) -> None:
    """How: once the one order rests, the broker's 429 to another process keeps the others waiting."""
    stack = await stack_factory(topology=topology, ours={"broker_requests_per_minute": REQUESTS_PER_MINUTE})
    await overtake(stack, unique, QUEUED, pause_seconds=PAUSE_SECONDS)


@pytest.mark.slow
@pytest.mark.timeout(600)
@BOTH
async def test_a_cancel_overtakes_two_hundred_queued_placements(
    stack_factory: StackFactory, unique: Any, topology: str
) -> None:
    stack = await stack_factory(topology=topology, ours={"broker_requests_per_minute": REQUESTS_PER_MINUTE})
    await overtake(stack, unique, 200)
