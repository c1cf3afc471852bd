"""Starting workers and order workflows as the product does, in both topologies, and waiting without hanging."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from activities.starter import OrderStarter
from schemas import wire
from schemas.orders import OrderView
from schemas.runs import OrderOutcome, OrderReport
from schemas.wire import Queue
from tests.workflow.scripted import ScriptedBroker
from workflows.orders import OrderWorkflow
from workflows.protection import ProtectionWorkflow

if TYPE_CHECKING:
    from temporalio.testing import TimeSkipper

WITHIN_SECONDS = 20.0
RESULT_ASKS = 4
POLL_SECONDS = 0.02
RESTS = "the broker's next update"
"""What an order that rests at the broker waits for."""

Order = WorkflowHandle[OrderWorkflow, OrderOutcome]


@asynccontextmanager
async def workers(client: Client, broker: ScriptedBroker, queue: str) -> AsyncIterator[None]:
    """Run both workflows and their steps: each role on its own queue, or all of them on ``queue``."""
    workflows: list[type] = [OrderWorkflow, ProtectionWorkflow]
    async with AsyncExitStack() as stack:
        if queue == Queue.ORDERS:
            await stack.enter_async_context(Worker(client, task_queue=queue, workflows=workflows))
            for role in (Queue.RISK, Queue.EXECUTION):
                steps = broker.activities(role)
                await stack.enter_async_context(Worker(client, task_queue=role.value, activities=steps))
        else:
            steps = [*broker.activities(Queue.RISK), *broker.activities(Queue.EXECUTION)]
            worker = Worker(client, task_queue=queue, workflows=workflows, activities=steps)
            await stack.enter_async_context(worker)
        yield


async def start(client: Client, broker: ScriptedBroker, queue: str, *, again: bool = False) -> Order:
    """Start the order's workflow as the gateway does; ``again``: as the sweeper does."""
    starter = OrderStarter(client, queue)
    await (starter.restart if again else starter.start)(broker.proposal)
    found: Order = client.get_workflow_handle_for(
        OrderWorkflow.run, wire.order_workflow_id(broker.proposal.signal_id)
    )
    return found


async def tell(order: Order, view: OrderView) -> None:
    """Signal the row's state, as the holder of the update stream does."""
    await order.signal(wire.SIGNAL_ORDER_UPDATED, view)


async def cancelled(order: Order) -> None:
    """Cancel the workflow and wait until it has been told."""
    before = (await order.describe()).history_length
    await order.cancel()
    async with asyncio.timeout(WITHIN_SECONDS):
        while (await order.describe()).history_length < before + 4:
            await asyncio.sleep(POLL_SECONDS)


async def outcome(order: Order) -> OrderOutcome:
    """The workflow's result; a hang fails with what its workflow tasks failed of.

    Asked anew every few seconds: under load the development server can leave a waiting request without its answer.
    """
    for _ in range(RESULT_ASKS):
        with suppress(TimeoutError):
            async with asyncio.timeout(WITHIN_SECONDS / RESULT_ASKS):
                return await order.result()
    pytest.fail(await hang_report(order))


async def until(order: Order, waiting_for: str) -> OrderReport:
    """Ask until the workflow waits for something whose text begins so."""
    return await _reported(order, lambda report: report.waiting_for.startswith(waiting_for))


async def decided(order: Order, decision: str) -> OrderReport:
    """Ask until the order's story tells ``decision``."""
    return await _reported(order, lambda report: any(entry.decision == decision for entry in report.timeline))


async def _reported(order: Order, wanted: Callable[[OrderReport], bool]) -> OrderReport:
    report: OrderReport | None = None
    try:
        async with asyncio.timeout(WITHIN_SECONDS):
            while True:
                report = await order.query(OrderWorkflow.status)
                if wanted(report):
                    return report
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        pytest.fail(f"last seen: {report}\n{await hang_report(order)}")


async def events(order: WorkflowHandle[Any, Any]) -> list[HistoryEvent]:
    """The whole history of the run."""
    return list((await order.fetch_history()).events)


def count(history: Iterable[HistoryEvent], kind: "EventType.ValueType") -> int:
    """How many events of that kind there are."""
    return sum(1 for event in history if event.event_type == kind)


async def hang_report(order: WorkflowHandle[Any, Any]) -> str:
    """What a workflow that did not go on was doing."""
    history = await events(order)
    failures = [
        event.workflow_task_failed_event_attributes.failure.message
        for event in history
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
    ]
    kinds = [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in history]
    return f"{order.id} hangs after {len(history)} events: {kinds[-12:]}\nfailed workflow tasks: {failures}"


@asynccontextmanager
async def resting(env: "TimeSkipper", broker: ScriptedBroker, queue: str) -> AsyncIterator[Order]:
    """Run an order up to its rest at the broker, in standing time."""
    async with workers(env.client, broker, queue):
        order = await start_standing(env, broker, queue)
        await until(order, RESTS)
        yield order


async def start_standing(env: "TimeSkipper", broker: ScriptedBroker, queue: str) -> Order:
    """Start an order whose time stands until it is forwarded."""
    with env.with_time_skipping_disabled():
        return await start(env.client, broker, queue)


async def forward_to(env: "TimeSkipper", broker: ScriptedBroker, order: Order, at: datetime) -> None:
    """Skip to a market time."""
    now = broker.market_time(await env.get_current_time(order))
    assert await env.fast_forward(order, at - now), f"it ended before {at}"
