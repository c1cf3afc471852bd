"""Every answer that a cancel can get, from the command line to the exchange, and its exit code."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import console.acts.orders
import console.orders
from console.addresses import Addresses
from schemas.orders import CancelAnswer
from schemas.runs import CancelCommand, CancelReply
from schemas.wire import UPDATE_CANCEL_ORDER
from storage.events import timeline
from storage.orders import read_order
from tests.console.commands import of_stack
from tests.servers.stack import Stack, signal

Unique = Callable[[str], str]


async def resting(stack: Stack, signal_id: str, ticker: str = "AAPL") -> dict[str, Any]:
    """An order at rest far from the market."""
    await stack.submit(signal(signal_id, ticker=ticker, order_type="LIMIT", limit_price="40.00"))
    return await stack.until(signal_id, lambda order: order["status"] == "ACKNOWLEDGED")


async def fault(stack: Stack, action: str, method: str = "DELETE", **more: Any) -> None:
    match = {"method": method, "path": "/v2/orders/*"}
    await stack.control("faults", {"match": match, "action": action, **more})


async def test_requested_by_any_id_again_and_by_another_then_too_late(stack: Stack, unique: Unique) -> None:
    """How: the venue never confirms; a second person asks as well; then the market comes and the fill wins."""
    trading, asked = of_stack(stack), unique("cancel")
    order = await resting(stack, asked)
    await stack.control("faults", {"match": {}, "action": "stuck_cancel"})
    for some_id in (order["broker_order_id"], order["client_order_id"], asked):
        done = await trading("order", "cancel", some_id, "--reason", "enough", "--json")
        assert (done.code, done.json["answer"], done.json["signal_id"]) == (0, "REQUESTED", asked), done
    other = CancelCommand(actor="ana", reason="me too")
    reply: CancelReply = await stack.workflow(asked).execute_update(
        UPDATE_CANCEL_ORDER, other, result_type=CancelReply
    )
    assert reply.answer is CancelAnswer.REQUESTED
    stuck = await stack.until(asked, lambda found: "pending_cancel" in found["flags"])
    assert stuck["status"] == "ACKNOWLEDGED"
    quote = {"symbol": "AAPL", "bid": "39.90", "ask": "39.90", "bid_size": 900, "ask_size": 900}
    await stack.control("quotes", quote)
    assert (await stack.settled(asked))["status"] == "FILLED"
    late = await trading("order", "cancel", asked, "--json")
    assert (late.code, late.json["answer"], late.json["status"]) == (1, "TOO_LATE", "FILLED")
    assert "filled 10 of 10" in late.json["message"]
    async with stack.parts.database.connection() as connection:
        story = await timeline(connection, asked)
        stored = await read_order(connection, asked)
    people = [entry.actor for entry in story if entry.decision == "CANCEL_ASKED"]
    assert len(people) == 4, "everyone who asks is in the story, each time"
    assert people[-1] == "ana"
    assert stored.cancel_requested_by == people[0]


async def test_unknown_to_the_broker_and_answers_that_do_not_come(
    stack: Stack, unique: Unique, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: a lost answer, asked again; 404 to the cancel and to the look-up; then no answer at all for a while."""
    trading, lost, denied, silent = of_stack(stack), unique("cancel"), unique("cancel"), unique("cancel")
    await resting(stack, lost)
    await fault(stack, "status_504_before_landing")
    again = await trading("order", "cancel", lost, "--json")
    assert (again.code, again.json["answer"]) == (0, "REQUESTED"), again
    assert (await stack.settled(lost))["status"] == "CANCELED"

    await resting(stack, denied, ticker="NVDA")
    for method in ("DELETE", "GET"):
        await fault(stack, "status_404", method, times=None)
    unknown = await trading("order", "cancel", denied, "--json")
    assert (unknown.code, unknown.json["answer"]) == (1, "UNKNOWN_ORDER"), unknown
    assert unknown.json["status"] == "ACKNOWLEDGED", "only proof ends an order"
    await stack.exchange_http.delete("/_exchange/faults")

    await resting(stack, silent, ticker="MSFT")
    await fault(stack, "drop_before_landing", times=None)
    monkeypatch.setattr(console.acts.orders, "UPDATE_RPC_TIMEOUT", timedelta(seconds=2))
    known = {"temporal_address": stack.temporal.address, "database_url": stack.settings.dsn}
    addresses = Addresses(data_dir=Path("/nonexistent"), known=known, running=True)
    async with stack.parts.database.connection() as connection:
        order = await read_order(connection, silent)
        reply = await console.orders.ask_cancel(addresses, order, "")
    assert reply.answer is CancelAnswer.UNKNOWN_OUTCOME
    assert (await stack.exchange_http.delete("/_exchange/faults")).is_success
    assert (await stack.settled(silent))["status"] == "CANCELED"
