"""After five failures the broker is given up on; orders go on when it answers. Judged by the ledger."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from broker.errors import BrokerError
from risk.messages import UserMessage
from schemas.alerts import AlertCode
from storage.alerts import list_alerts
from storage.halt import HaltRow, read_halt
from tests.console.commands import of_stack
from tests.e2e.test_metrics import page
from tests.servers.stack import Stack, StackFactory, signal

ACCOUNT = {"method": "GET", "path": "/v2/account"}
KNOWN_WITHIN_SECONDS = 60


async def until_closed(stack: Stack) -> None:
    async with asyncio.timeout(KNOWN_WITHIN_SECONDS), stack.parts.database.connection() as connection:
        while (await read_halt(connection)).is_open:
            await asyncio.sleep(0.05)


async def until_told(stack: Stack, *, raised: bool) -> None:
    """The watchers keep the alert in step with the halt."""
    async with asyncio.timeout(30):
        while (AlertCode.BROKER_HALT in await alerts(stack)) is not raised:
            await asyncio.sleep(0.1)


async def alerts(stack: Stack) -> set[AlertCode]:
    async with stack.parts.database.connection() as connection:
        return {alert.code for alert in await list_alerts(connection)}


async def fail_accounts(stack: Stack) -> HaltRow:
    """Reads of the account end in 500 from now on; they are made until five in a row open the halt.

    Another request of the product may be answered between two of them, and begins the row anew.
    """
    await stack.control("faults", {"match": ACCOUNT, "action": "status_500", "times": 1000})
    async with asyncio.timeout(KNOWN_WITHIN_SECONDS), stack.parts.database.connection() as connection:
        while not (state := await read_halt(connection)).is_open:
            with suppress(BrokerError):
                await stack.parts.broker.get_account()
        return state


@pytest.mark.parametrize("topology", ["compact", "isolated"])
async def test_five_failures_halt_orders_and_the_brokers_return_releases_them(
    stack_factory: StackFactory, unique: Any, topology: str
) -> None:
    """How: the account cannot be read for a while; orders could be placed, and none is tried.

    What opens is refused meanwhile; what closes is approved, and waits.
    """
    stack = await stack_factory(topology=topology)
    held, waiting, resting, opening = (unique(name) for name in ("held", "waiting", "resting", "opening"))
    await stack.submit(signal(held))
    assert (await stack.settled(held))["status"] == "FILLED"
    quiet = {"order_type": "LIMIT", "limit_price": "150", "time_in_force": "GTC"}
    await stack.submit(signal(resting, ticker="MSFT", **(quiet | {"limit_price": "395"})))
    await stack.until(resting, lambda order: order["raw_status"] == "new")
    state = await fail_accounts(stack)
    assert (state.cause or "").startswith("ERR_NETWORK: 500")
    posts = (await stack.ledger())["posts_total"]
    await stack.submit(signal(opening, quantity="5"))
    order = await stack.settled(opening)
    assert (order["status"], order["reason"]) == ("REJECTED", "BROKER_HALT")
    assert order["user_message"] == UserMessage.BROKER_API_DOWN
    await stack.submit(signal(waiting, action="SELL_TO_CLOSE"))
    order = await stack.until(waiting, lambda order: order["user_message"] is not None)
    assert (order["user_message"], order["post_count"]) == (UserMessage.BROKER_API_DOWN, 0)
    assert (await stack.ledger())["posts_total"] == posts
    await until_told(stack, raised=True)
    told = (await of_stack(stack)("status", "--json")).json["broker_halt"]
    assert (told["is_open"], told["cause"]) == (True, state.cause)
    assert "HALTED" in (await of_stack(stack)("status")).out
    assert (await page(stack))["broker_halt_open"] == 1
    assert (await stack.exchange_http.delete("/_exchange/faults")).is_success
    await until_closed(stack)
    order = await stack.settled(waiting)
    assert (order["status"], order["user_message"]) == ("FILLED", None)
    await until_told(stack, raised=False)
    assert (await page(stack))["broker_halt_open"] == 0
