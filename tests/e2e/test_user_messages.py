"""The failure table's words, as people and programs are shown them while they are true."""

import json
from typing import Any

from risk.messages import UserMessage
from schemas import wire
from schemas.runs import CancelCommand, CancelReply
from tests.e2e.test_lost_answers import order_fault
from tests.servers.sse import reading
from tests.servers.stack import Stack, signal


async def test_a_partly_filled_order_says_that_it_waits_for_the_rest(stack: Stack, unique: Any) -> None:
    signal_id = unique("partial")
    quote = {"symbol": "MSFT", "bid": "400.00", "ask": "400.10", "bid_size": 4, "ask_size": 4}
    await stack.control("quotes", quote)
    await stack.submit(
        signal(
            signal_id, ticker="MSFT", order_type="LIMIT", limit_price="400.10", time_in_force="GTC", quantity="900",
        )
    )  # fmt: skip
    order = await stack.until(signal_id, lambda order: order["status"] == "PARTIALLY_FILLED")
    assert order["user_message"] == UserMessage.PARTIAL_FILLS
    assert await told_live(stack, UserMessage.PARTIAL_FILLS)
    await stack.workflow(signal_id).execute_update(
        wire.UPDATE_CANCEL_ORDER, CancelCommand(actor="a person"), result_type=CancelReply
    )
    order = await stack.settled(signal_id)
    assert (order["status"], order["user_message"]) == ("CANCELED", None)
    assert order["filled_quantity"] != "0"


async def test_a_lost_answer_says_so_until_the_order_has_ended(stack: Stack, unique: Any) -> None:
    """How: the update stream is mute, else it may tell the order's fate before the answer is lost."""
    signal_id = unique("lost")
    await order_fault(stack, "drop_frame", times=10, match={"stream": "trade_updates"})
    await order_fault(stack, "status_504_after_landing")
    await stack.submit(signal(signal_id))
    order = await stack.settled(signal_id)
    assert (order["status"], order["user_message"]) == ("FILLED", None)
    assert (await told_live(stack, UserMessage.NETWORK_TIMEOUTS))["flags"] == ["outcome_unknown"]


async def told_live(stack: Stack, message: UserMessage) -> dict[str, Any]:
    """The first event with these words."""
    async with reading(stack.http, stack.token, since="0", topic="trading.execution.status") as stream:
        while True:
            (block,) = await stream.events(1)
            payload: dict[str, Any] = json.loads(block.data or "")
            if payload["user_message"] == message:
                return payload
