"""After five failures the broker is given up on; orders go on when it answers. Judged by the ledger."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from broker.errors import BrokerError
from risk.messages import UserMessage
from schemas.alerts import AlertCode
from storage.alerts import list_alerts
from storage.halt import FAILURES_MAX, HaltRow, read_halt
from tests.servers.stack import Stack, StackFactory, signal

ACCOUNT = {"method": "GET", "path": "/v2/account"}
KNOWN_WITHIN_SECONDS = 30


async def until_halt(stack: Stack, *, is_open: bool) -> HaltRow:
    async with asyncio.timeout(KNOWN_WITHIN_SECONDS), stack.parts.database.connection() as connection:
        while (state := await read_halt(connection)).is_open is not is_open:
            await asyncio.sleep(0.05)
        return state


async def alerts(stack: Stack) -> set[AlertCode]:
    async with stack.parts.database.connection() as connection:
        return {alert.code for alert in await list_alerts(connection)}


async def fail_accounts(stack: Stack, times: int) -> None:
    """The next reads of the account end in 500, and five are made."""
    await stack.control("faults", {"match": ACCOUNT, "action": "status_500", "times": times})
    for _ in range(FAILURES_MAX):
        with suppress(BrokerError):
            await stack.parts.broker.get_account()


@pytest.mark.parametrize("topology", ["compact", "isolated"])
async def test_five_failures_halt_orders_and_the_brokers_return_releases_them(
    stack_factory: StackFactory, unique: Any, topology: str
) -> None:
    """How: the account cannot be read seven times; quotes and orders could be, and no order is tried."""
    stack = await stack_factory(topology=topology)
    waiting, resting = unique("waiting"), unique("resting")
    quiet = {"order_type": "LIMIT", "limit_price": "150", "time_in_force": "GTC"}
    await stack.submit(signal(resting, ticker="MSFT", **(quiet | {"limit_price": "395"})))
    await stack.until(resting, lambda order: order["raw_status"] == "new")
    await fail_accounts(stack, FAILURES_MAX + 1)
    state = await until_halt(stack, is_open=True)
    assert (state.cause or "").startswith("ERR_NETWORK: 500")
    posts = (await stack.ledger())["posts_total"]
    await stack.submit(signal(waiting))
    order = await stack.until(waiting, lambda order: order["user_message"] is not None)
    assert (order["user_message"], order["post_count"]) == (UserMessage.BROKER_API_DOWN, 0)
    assert (await stack.ledger())["posts_total"] == posts
    assert AlertCode.BROKER_HALT in await alerts(stack)
    await until_halt(stack, is_open=False)
    order = await stack.settled(waiting)
    assert (order["status"], order["user_message"]) == ("FILLED", None)
    assert AlertCode.BROKER_HALT not in await alerts(stack)
