"""A signal's way from HTTP to its settled outcome, in both topologies, judged by the exchange's ledger."""

import asyncio
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from schemas import wire
from schemas.runs import CancelCommand, CancelReply, OrderReport
from tests.e2e.audited import audit_lines, audit_verdict, calls_received, calls_told, ledger_records
from tests.servers.stack import Stack, StackFactory, signal

TOPOLOGIES = ("compact", "isolated")


async def tell_quote(stack: Stack, ticker: str, bid: str, ask: str, size: int = 1000) -> None:
    """Fix a quote, so that what rests and what fills is this test's choice."""
    await stack.control(
        "quotes", {"symbol": ticker, "bid": bid, "ask": ask, "bid_size": size, "ask_size": size}
    )


@pytest.mark.parametrize("topology", TOPOLOGIES)
async def test_every_way_an_order_can_go(stack_factory: StackFactory, unique: Any, topology: str) -> None:
    """Fill, refusal by risk, refusal before the POST, rest and cancel: the same steps on one queue and on many."""
    stack = await stack_factory(topology=topology, limits={**_LIMITS, "max_order_quantity": "100"})
    filled, refused, wide, resting = (unique(name) for name in ("filled", "refused", "wide", "resting"))
    await tell_quote(stack, "MSFT", "400.00", "400.10")
    answers = await asyncio.gather(
        stack.submit(signal(filled)),
        stack.submit(signal(refused, quantity="101")),
        stack.submit(signal(wide, ticker="WIDE")),
        stack.submit(
            signal(resting, ticker="MSFT", order_type="LIMIT", limit_price="399.50", time_in_force="GTC")
        ),
    )
    assert [answer.status_code for answer in answers] == [202] * 4

    order = await stack.settled(filled)
    assert (order["status"], order["filled_quantity"]) == ("FILLED", "10")
    order = await stack.settled(refused)
    assert (order["status"], order["reason"]) == ("REJECTED", "ORDER_QUANTITY")
    order = await stack.settled(wide)
    assert (order["status"], order["reason"]) == ("REJECTED", "SPREAD_TOO_WIDE")

    await stack.until(resting, lambda order: order["status"] == "ACKNOWLEDGED")
    reply = await stack.workflow(resting).execute_update(
        wire.UPDATE_CANCEL_ORDER, CancelCommand(actor="a person"), result_type=CancelReply
    )
    assert reply.answer == "REQUESTED"
    order = await stack.settled(resting)
    assert (order["status"], order["filled_quantity"]) == ("CANCELED", "0")

    ledger = await stack.ledger()
    assert (ledger["posts_total"], ledger["accepted_total"], ledger["duplicate_orders"]) == (2, 2, 0)
    for signal_id in (filled, refused, wide, resting):
        await stack.workflow(signal_id).result()

    told = await audit_verdict(stack)
    assert (told.wrong, told.figures["audit_orders"], told.figures["audit_fills"]) == ([], 4, 1)
    received = calls_received(await ledger_records(stack))
    assert calls_told(await audit_lines(stack)) == received == {("POST", 200): 2, ("DELETE", 204): 1}


_LIMITS = {
    "max_order_notional": "1000000", "max_order_quantity": "100000", "price_collar_pct": "2",
    "max_ticker_exposure_pct": "400", "max_strategy_exposure_pct": "400", "max_gross_exposure_pct": "400",
    "max_daily_loss_pct": "100", "max_drawdown_pct": "100",
    "max_open_orders": 100000, "max_orders_per_minute": 100000, "max_strategy_orders_per_minute": 100000,
    "max_repeated_executions": 100000, "repeated_executions_window_seconds": 60, "duplicate_window_seconds": 1,
}  # fmt: skip


async def test_an_order_reads_like_a_blotter_line(stack: Stack, unique: Any) -> None:
    signal_id = unique("blotter")
    await tell_quote(stack, "MSFT", "400.00", "400.10")
    resting = signal(signal_id, ticker="MSFT", order_type="LIMIT", limit_price="399.50", strategy="swing")
    await stack.submit(resting)
    await stack.until(signal_id, lambda order: order["status"] == "ACKNOWLEDGED")
    handle = stack.workflow(signal_id)
    report = await _report_when(stack, signal_id, "the broker's next update")
    assert report.order is not None
    assert report.order.status == "ACKNOWLEDGED"
    described = await handle.describe()
    assert await described.static_summary() == "buy 10 MSFT ≤ 399.50 · swing"
    attributes = {key.name: value for key, value in described.typed_search_attributes}
    assert {"Ticker": "MSFT", "Strategy": "swing", "Side": "buy"}.items() <= attributes.items()
    history = await handle.fetch_history()
    summaries = [
        event.user_metadata.summary.data.decode()
        for event in history.events
        if event.HasField("user_metadata")
    ]
    assert any("POST buy 10 MSFT" in summary for summary in summaries)


async def _report_when(stack: Stack, signal_id: str, waiting_for: str) -> OrderReport:
    async with asyncio.timeout(30):
        while True:
            report = await stack.workflow(signal_id).query(wire.QUERY_STATUS, result_type=OrderReport)
            if report.waiting_for == waiting_for:
                return report
            await asyncio.sleep(0.05)


async def test_cancelling_the_workflow_cancels_the_order_and_waits_for_the_broker(
    stack: Stack, unique: Any
) -> None:
    signal_id = unique("wfcancel")
    await tell_quote(stack, "MSFT", "400.00", "400.10")
    await stack.submit(signal(signal_id, ticker="MSFT", order_type="LIMIT", limit_price="399.50"))
    await stack.until(signal_id, lambda order: order["status"] == "ACKNOWLEDGED")
    await stack.workflow(signal_id).cancel()
    order = await stack.settled(signal_id)
    assert order["status"] == "CANCELED"
    await stack.workflow(signal_id).result()
    description = await stack.workflow(signal_id).describe()
    assert description.status is WorkflowExecutionStatus.COMPLETED


async def test_a_terminated_workflow_is_started_again_and_finds_its_order(stack: Stack, unique: Any) -> None:
    """A run has no modes: after Terminate the sweeper's run reads the row and goes on."""
    signal_id = unique("terminated")
    await tell_quote(stack, "MSFT", "400.00", "400.10")
    await stack.submit(signal(signal_id, ticker="MSFT", order_type="LIMIT", limit_price="399.50"))
    await stack.until(signal_id, lambda order: order["status"] == "ACKNOWLEDGED")
    await stack.workflow(signal_id).terminate("a test")
    await tell_quote(stack, "MSFT", "399.30", "399.40")
    order = await stack.settled(signal_id)
    assert order["status"] == "FILLED"
    assert (await stack.ledger())["posts_total"] == 1


async def test_a_hand_started_workflow_invents_nothing(stack: Stack, unique: Any) -> None:
    from temporalio.client import WorkflowFailureError

    from schemas.runs import OrderInput

    handle = await stack.client.start_workflow(
        wire.WORKFLOW_ORDER, OrderInput(signal_id="nobody-asked", display="buy 1000000 AAPL"),
        id=unique("order-by-hand"), task_queue="trading",
    )  # fmt: skip
    with pytest.raises(WorkflowFailureError):
        await asyncio.wait_for(handle.result(), 30)
    assert (await stack.ledger())["posts_total"] == 0


async def test_a_burst_ends_in_one_state_each(stack_factory: StackFactory, unique: Any) -> None:
    """The ledger has one order for each approved signal and none more."""
    stack = await stack_factory(tickers=20)
    prefix, count, doors = unique("burst"), 60, asyncio.Semaphore(16)

    async def submit(number: int) -> Any:
        async with doors:
            fields = {"ticker": f"T{1 + number % 20:04d}", "quantity": str(1 + number // 20)}
            return await stack.submit(signal(f"{prefix}-{number}", **fields))

    answers = await asyncio.gather(*(submit(number) for number in range(count)))
    assert {answer.status_code for answer in answers} == {202}
    orders = [await stack.settled(f"{prefix}-{n}") for n in range(count)]
    approved = [order for order in orders if order["client_order_id"]]
    ledger = await stack.ledger()
    assert ledger["duplicate_orders"] == 0
    assert ledger["accepted_total"] == len(approved) == len({order["client_order_id"] for order in approved})
    assert {order["status"] for order in orders} <= {"FILLED", "REJECTED", "CANCELED"}
    assert len(approved) >= 0.8 * count
