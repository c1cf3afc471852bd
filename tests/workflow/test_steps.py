"""Where each step runs, as the history tells it: one rule for both topologies."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.common import SearchAttributeKey

from schemas import wire
from schemas.broker import TradeEvent
from schemas.risk import AssessmentKind
from schemas.runs import CancelCommand
from schemas.wire import Queue
from tests.workflow.running import (
    POLL_SECONDS,
    RESTS,
    WITHIN_SECONDS,
    Order,
    events,
    outcome,
    resting,
    tell,
    until,
)
from tests.workflow.scripted import ScriptedBroker

if TYPE_CHECKING:
    from temporalio.testing import TimeSkipper

Make = Callable[..., ScriptedBroker]

LOCAL = "local"
PATCH = "core_patch"
"""The marker of a change to the workflow; the server indexes it too."""
STATUS = SearchAttributeKey.for_keyword("OrderStatus")
ROLES = {
    wire.ACTIVITY_ASSESS_RISK: Queue.RISK,
    wire.ACTIVITY_REFRESH_MARKET: Queue.EXECUTION,
    wire.ACTIVITY_CHECK_PRE_TRADE: Queue.EXECUTION,
    wire.ACTIVITY_PLACE_ORDER: Queue.EXECUTION,
    wire.ACTIVITY_RESOLVE_ORDER: Queue.EXECUTION,
    wire.ACTIVITY_CANCEL_ORDER: Queue.EXECUTION,
    wire.ACTIVITY_SESSION: Queue.EXECUTION,
    wire.ACTIVITY_SETTLE_ORDER: Queue.EXECUTION,
}
REACH_NO_BROKER = {wire.ACTIVITY_ASSESS_RISK, wire.ACTIVITY_CHECK_PRE_TRADE, wire.ACTIVITY_SESSION}


def places(history: Iterable[HistoryEvent]) -> dict[str, str]:
    """Where each step of a history ran: the queue it was sent to, or ``local``."""
    found = {}
    for event in history:
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            scheduled = event.activity_task_scheduled_event_attributes
            found[scheduled.activity_type.name] = scheduled.task_queue.name
        elif event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED:
            marker = event.marker_recorded_event_attributes
            if marker.marker_name == PATCH:
                continue
            told = marker.details["data"].payloads[0].data.decode()
            found |= {step: LOCAL for step in ROLES if f'"{step}"' in told}
    return found


async def every_step(env: "TimeSkipper", broker: ScriptedBroker, queue: str) -> list[HistoryEvent]:
    """The history of an order that takes every step there is."""
    broker.script(wire.ACTIVITY_ASSESS_RISK, AssessmentKind.NEEDS_QUOTE, AssessmentKind.APPROVED)
    broker.script(wire.ACTIVITY_PLACE_ORDER, "UNKNOWN")
    async with resting(env, broker, queue) as order:
        await tell(order, broker.fill("1"))
        await until(order, "fills")
        await order.execute_update(wire.UPDATE_CANCEL_ORDER, CancelCommand(actor="ana"))
        await tell(order, broker.says(TradeEvent.CANCELED))
        await outcome(order)
    return await events(order)


async def test_on_one_queue_a_step_that_reaches_no_broker_is_local(
    time_skipping_env: "TimeSkipper", scripted: Make, unique: Callable[[str], str]
) -> None:
    queue = unique("trading")
    found = places(await every_step(time_skipping_env, scripted(), queue))
    assert found == {step: LOCAL if step in REACH_NO_BROKER else queue for step in ROLES}


async def test_on_the_role_queue_each_step_goes_to_its_role(
    time_skipping_env: "TimeSkipper", scripted: Make
) -> None:
    found = places(await every_step(time_skipping_env, scripted(), Queue.ORDERS.value))
    assert found == {step: role.value for step, role in ROLES.items()}


async def test_a_cancel_overtakes_and_every_step_has_its_limit_and_its_summary(
    time_skipping_env: "TimeSkipper", scripted: Make
) -> None:
    history = await every_step(time_skipping_env, scripted(), Queue.ORDERS.value)
    scheduled = [event for event in history if event.HasField("activity_task_scheduled_event_attributes")]
    assert len(scheduled) >= len(ROLES)
    for event in scheduled:
        step = event.activity_task_scheduled_event_attributes
        expected = 1 if step.activity_type.name == wire.ACTIVITY_CANCEL_ORDER else 3
        assert step.priority.priority_key == expected, step.activity_type.name
        assert timedelta(0) < step.start_to_close_timeout.ToTimedelta() <= timedelta(seconds=60)
        helps_only = step.activity_type.name == wire.ACTIVITY_REFRESH_MARKET
        assert step.retry_policy.maximum_attempts == (3 if helps_only else 0), step.activity_type.name
        assert event.user_metadata.summary.data, step.activity_type.name


@dataclass(frozen=True)
class Line:
    """What a person sees of an order in the Web UI."""

    details: str
    upserts: int


async def line_with(order: Order, text: str) -> Line:
    """Read it until it shows ``text``."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while text not in (line := await blotter_line(order)).details:
            await asyncio.sleep(POLL_SECONDS)
    return line


async def blotter_line(order: Order) -> Line:
    """Read it as the Web UI does."""
    metadata = await order.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    upserts = [
        event
        for event in await events(order)
        if STATUS.name
        in event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
    ]
    return Line(metadata.current_details, len(upserts))


async def test_the_web_ui_reads_like_a_blotter_and_is_told_only_what_changed(
    time_skipping_env: "TimeSkipper", scripted: Make, queue: str
) -> None:
    broker = scripted()
    async with resting(time_skipping_env, broker, queue) as order:
        line = await blotter_line(order)
        assert "### buy 10 AAPL ≤ 180.50 · momentum" in line.details
        assert "**ACKNOWLEDGED**" in line.details
        assert f"waiting for | {RESTS}" in line.details
        before = line.upserts
        for each in ("1", "2", "3"):
            await tell(order, broker.fill(each))
        line = await line_with(order, "6 of 10 at 180.4700")
        assert line.upserts == before + 1, "three fills, one change of state"
        await tell(order, broker.fill("4"))
        await outcome(order)
        assert "**FILLED**" in (await blotter_line(order)).details
    described = await order.describe()
    assert described.typed_search_attributes[STATUS] == "FILLED"
    assert await described.static_summary() == "buy 10 AAPL ≤ 180.50 · momentum"
