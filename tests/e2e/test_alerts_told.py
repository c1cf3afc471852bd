"""Drift at the broker reaches Slack and PagerDuty; a broker's push has found what the stream lost."""

import json
import time
from typing import Any

import pytest

from gateway.wake import SIGNATURE, signed
from schemas.reconciliation import Outcome
from storage.switches import read_stream
from tests.e2e import books
from tests.e2e.books import QUIET, count, quote
from tests.servers.stack import Stack, StackFactory
from workers import stream_watch
from workers.chaos.receivers import PAGERDUTY_PATH, ROUTING_KEY, SLACK_PATH, Receiver

WAKE_SECRET = "a secret that the broker and the gateway share"


async def test_drift_at_the_broker_reaches_slack_and_pagerduty_and_ends_there(
    stack_factory: StackFactory, unique: Any
) -> None:
    """How: shares that nothing explains; the next run agrees. Then more than 5 % engages the kill switch."""
    receiver = Receiver()
    async with receiver.up():
        ours = QUIET | {
            "alert_slack_url": receiver.url + SLACK_PATH,
            "alert_pagerduty_routing_key": ROUTING_KEY,
            "alert_pagerduty_url": receiver.url + PAGERDUTY_PATH,
        }
        stack = await stack_factory(ours=ours)
        await books.filled(stack, unique, "AAPL", 10)
        await stack.control("adjust", {"symbol": "AAPL", "qty": "-1"})
        report = await books.reconcile(stack)
        assert (report.outcome, report.killed) == (Outcome.DRIFT, False)
        await receiver.until(lambda: len(receiver.slack) == len(receiver.pagerduty) == 1)
        [message], [event] = receiver.slack, receiver.pagerduty
        assert "HIGH · STATE_DRIFT" in message["text"]
        assert report.findings[0].detail in message["text"]
        assert (event["event_action"], event["payload"]["severity"]) == ("trigger", "error")
        assert "STATE_DRIFT:AAPL" in event["dedup_key"]
        assert (await books.reconcile(stack)).outcome is Outcome.CLEAN
        await receiver.until(lambda: "resolve" in receiver.incidents.values() and len(receiver.slack) == 2)
        await stack.control("adjust", {"cash": "-8000"})
        report = await books.reconcile(stack)
        assert report.killed
        codes = ("STATE_DRIFT", "KILL_SWITCH")
        await receiver.until(
            lambda: all(
                any(f"CRITICAL · {code}" in each["text"] for each in receiver.slack) for code in codes
            )
        )
        await receiver.until(lambda: list(receiver.incidents.values()).count("trigger") >= len(codes))


async def test_an_execution_that_the_stream_lost_is_found_after_a_push_and_not_before(
    stack_factory: StackFactory, unique: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: no catch-up is due by itself. Forged, late and used signatures wake nothing, and no push is booked."""
    monkeypatch.setattr(stream_watch, "CATCH_UP_SECONDS", 3600.0)
    stack = await stack_factory(ours={"broker_wake_secret": WAKE_SECRET})
    await quote(stack, "AAPL", "100.00", "100.10")
    await books.resting(stack, unique, "AAPL", "99.50")
    lost = {"match": {"stream": "trade_updates"}, "action": "drop_frame", "times": 999}
    await stack.control("faults", lost)
    await quote(stack, "AAPL", "99.30", "99.40")
    async with stack.parts.database.connection() as connection:
        signal_id = await connection.fetchval("select signal_id from signals")
    order = (await stack.signal(signal_id))["order"]
    await books.ended_there(stack, order["broker_order_id"])
    invented = {"event": "fill", "qty": "500", "price": "1", "order": {"id": order["broker_order_id"]}}
    body, now = json.dumps(invented).encode(), int(time.time())
    caught_up = await _caught_up(stack)
    for at, secret in ((now, "a secret that nobody else has, or so they think"), (now - 300, WAKE_SECRET)):
        assert await _push(stack, body, at, secret) == 401
    assert await count(stack, "select wakes from broker_wakes") == 0
    assert await count(stack, "select count(*) from executions") == 0
    assert await _caught_up(stack) == caught_up
    assert await _push(stack, body, now, WAKE_SECRET) == 204
    filled = await stack.settled(signal_id)
    assert (filled["status"], filled["filled_quantity"]) == ("FILLED", "5")
    assert await _push(stack, body, now, WAKE_SECRET) == 401
    assert await count(stack, "select wakes from broker_wakes") == 1
    assert await count(stack, "select count(*) from executions where price = 1 or quantity = 500") == 0
    assert await books.here(stack) == await books.there(stack)


async def _push(stack: Stack, body: bytes, at: int, secret: str) -> int:
    headers = {SIGNATURE: f"t={at},v1={signed(secret, at, body).hex()}"}
    answer = await stack.http.post("/v1/broker/wake", content=body, headers=headers)
    return answer.status_code


async def _caught_up(stack: Stack) -> Any:
    async with stack.parts.database.connection() as connection:
        return (await read_stream(connection)).last_catch_up_at
