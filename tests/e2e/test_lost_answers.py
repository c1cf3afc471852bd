"""A POST whose answer is lost: sent once, looked up, adopted. Judged by the exchange's ledger."""

import asyncio
from typing import Any

import asyncpg
import pytest

from storage.switches import read_state
from tests.servers.stack import Stack, signal

ON_POST = {"method": "POST", "path": "/v2/orders"}


async def order_fault(stack: Stack, action: str, times: int = 1, match: dict[str, str] = ON_POST) -> None:
    """Order a fault for the next requests that match."""
    await stack.control("faults", {"match": match, "action": action, "times": times})


@pytest.mark.parametrize("action", ["status_504_after_landing", "drop_after_landing", "hang_after_landing"])
async def test_an_answer_lost_after_landing_is_found_and_adopted(
    stack: Stack, unique: Any, action: str
) -> None:
    signal_id = unique("lost")
    await order_fault(stack, action)
    await stack.submit(signal(signal_id))
    order = await stack.settled(signal_id)
    assert order["status"] == "FILLED"
    ledger = await stack.ledger()
    assert ledger["posts"] == {order["client_order_id"]: 1}
    assert ledger["duplicate_orders"] == 0


async def test_a_lost_buy_stop_is_adopted_though_the_broker_has_rewritten_it(
    stack: Stack, unique: Any
) -> None:
    """The look-up finds a stop-limit where a stop was sent: still ours, no conflict, no kill."""
    signal_id = unique("rewritten")
    await order_fault(stack, "drop_after_landing")
    await stack.submit(signal(signal_id, order_type="STOP", stop_price="250", time_in_force="GTC"))
    order = await stack.until(signal_id, lambda order: order["raw_status"] == "new")
    assert (order["limit_price"], order["stop_price"], order["post_count"]) == (None, "250", 1)
    async with stack.parts.database.connection() as connection:
        assert not (await read_state(connection)).engaged


@pytest.mark.parametrize("action", ["status_504_before_landing", "drop_before_landing", "status_500"])
async def test_a_post_that_never_landed_is_sent_again_only_after_proof(
    stack: Stack, unique: Any, action: str
) -> None:
    """The proof of absence waits 30 s after the POST's deadline; here the row's deadline is moved back instead."""
    signal_id = unique("absent")
    await order_fault(stack, action)
    await stack.submit(signal(signal_id))
    await stack.until(signal_id, lambda order: "outcome_unknown" in order["flags"])
    assert (await stack.ledger())["posts_total"] == 1
    connection = await asyncpg.connect(stack.dsn)
    await connection.execute("update orders set posting_deadline = posting_deadline - interval '60 seconds'")
    await connection.close()
    order = await stack.settled(signal_id)
    assert order["status"] == "FILLED"
    assert order["post_count"] == 2
    ledger = await stack.ledger()
    assert ledger["posts"] == {order["client_order_id"]: 2}
    assert ledger["accepted_orders"] == {order["client_order_id"]: 1}


async def test_new_risk_on_that_ticker_is_refused_meanwhile(stack: Stack, unique: Any) -> None:
    signal_id, other, elsewhere = unique("unknown"), unique("other"), unique("elsewhere")
    await order_fault(stack, "status_504_before_landing")
    await stack.submit(signal(signal_id))
    await stack.until(signal_id, lambda order: "outcome_unknown" in order["flags"])
    await stack.submit(signal(other, quantity="5"))
    await stack.submit(signal(elsewhere, ticker="MSFT"))
    order = await stack.settled(other)
    assert (order["status"], order["reason"]) == ("REJECTED", "UNKNOWN_OUTCOME")
    assert (await stack.settled(elsewhere))["status"] == "FILLED"


async def test_a_refusal_by_the_broker_ends_the_order_with_its_code(stack: Stack, unique: Any) -> None:
    """Risk mirrors the wash-trade rule for orders of ours; one placed past us only the broker knows. Its no is
    a proof that nothing stands there."""
    hold, opposite = unique("hold"), unique("wash")
    await stack.control(
        "quotes", {"symbol": "MSFT", "bid": "400", "ask": "400.10", "bid_size": 500, "ask_size": 500}
    )
    await stack.submit(signal(hold, ticker="MSFT"))
    assert (await stack.settled(hold))["status"] == "FILLED"
    foreign = {"symbol": "MSFT", "qty": "1", "side": "buy", "type": "limit", "time_in_force": "day"}
    answer = await stack.exchange_http.post("/v2/orders", json={**foreign, "limit_price": "399"})
    assert answer.is_success, answer.text
    exit_fields = {"action": "SELL_TO_CLOSE", "order_type": "LIMIT", "limit_price": "398.50", "quantity": "5"}
    await stack.submit(signal(opposite, ticker="MSFT", **exit_fields))
    order = await stack.settled(opposite)
    assert (order["status"], order["reason"]) == ("REJECTED", "ERR_WASH_TRADE")


async def test_429_is_not_a_post(stack: Stack, unique: Any) -> None:
    """The broker refused to look: nothing is unknown, nothing counts as sent, and the server's reset is awaited."""
    signal_id = unique("limited")
    await order_fault(stack, "status_429")
    await stack.submit(signal(signal_id))
    entries: list[str] = []
    async with asyncio.timeout(30):
        while "NOT_SENT" not in entries:
            told = (await stack.http.get(f"/v1/signals/{signal_id}/timeline")).json()["entries"]
            entries = [entry["decision"] for entry in told]
            await asyncio.sleep(0.05)
    order = (await stack.signal(signal_id))["order"]
    assert (order["post_count"], order["may_stand"], order["flags"]) == (0, False, [])
    assert (await stack.ledger())["accepted_total"] == 0
