"""From an execution at the exchange to the workflow that knows of it, by the workflow's own history."""

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from schemas.orders import OrderStatus
from schemas.wire import SIGNAL_ORDER_UPDATED, order_workflow_id

if TYPE_CHECKING:
    from temporalio.client import Client

AT_ONCE: Final = 8


@dataclass(frozen=True)
class Times:
    """Sorted seconds from the executions, without those whose workflows never heard of them."""

    to_signal: list[float]
    """To the signal that tells the workflow."""
    to_state: list[float]
    """To the end of the workflow task that learnt of it."""


async def latencies(client: "Client", filled_at: Mapping[str, datetime]) -> Times:
    """How long each workflow took to know. ``filled_at``: by signal id, on this machine's wall clock."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(signal_id: str, moment: datetime) -> tuple[float, float] | None:
        async with slots:
            heard = await _heard(client, signal_id) or await _heard_before(client, signal_id)
        if heard is None:
            return None
        signalled, known = heard
        return (signalled - moment).total_seconds(), (known - moment).total_seconds()

    found = await asyncio.gather(*(one(*each) for each in filled_at.items()))
    known = [each for each in found if each is not None]
    return Times(sorted(each for each, _ in known), sorted(each for _, each in known))


async def _heard_before(client: "Client", signal_id: str) -> tuple[datetime, datetime] | None:
    """The same of an earlier run: a sweep may start a workflow anew in the moment in which it ends."""
    async for run in client.list_workflows(f"WorkflowId = '{order_workflow_id(signal_id)}'"):
        heard = await _heard(client, signal_id, run.run_id)
        if heard is not None:
            return heard
    return None


async def _heard(
    client: "Client", signal_id: str, run_id: str | None = None
) -> tuple[datetime, datetime] | None:
    """When the fill was signalled, and when the first workflow task after it was completed."""
    heard: datetime | None = None
    handle = client.get_workflow_handle(order_workflow_id(signal_id), run_id=run_id)
    async for event in handle.fetch_history_events():
        if event.HasField("workflow_execution_signaled_event_attributes"):
            if heard is None and _tells_of_fill(event.workflow_execution_signaled_event_attributes):
                heard = event.event_time.ToDatetime(UTC)
        elif heard is not None and event.HasField("workflow_task_completed_event_attributes"):
            return heard, event.event_time.ToDatetime(UTC)
    return None


def _tells_of_fill(signal: Any) -> bool:
    if signal.signal_name != SIGNAL_ORDER_UPDATED:
        return False
    told = json.loads(signal.input.payloads[0].data)
    return bool(told["status"] == OrderStatus.FILLED.value)


def percentile(values: Sequence[float], part: int) -> float:
    """Of sorted values, the one below or at which ``part`` percent lie."""
    return values[max(math.ceil(len(values) * part / 100) - 1, 0)]
