"""From an execution at the exchange to the workflow that knows of it, by the workflow's own history."""

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from schemas.orders import OrderStatus
from schemas.wire import SIGNAL_ORDER_UPDATED, order_workflow_id

if TYPE_CHECKING:
    from temporalio.client import Client

AT_ONCE: Final = 8


async def latencies(client: "Client", filled_at: Mapping[str, datetime]) -> list[float]:
    """Seconds from each execution to the end of the workflow task that learnt of it; without those that never did.

    ``filled_at``: by signal id, on the wall clock that this machine's Temporal has too.
    """
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(signal_id: str, moment: datetime) -> float | None:
        async with slots:
            known = await _known_at(client, signal_id)
        return None if known is None else (known - moment).total_seconds()

    found = await asyncio.gather(*(one(*each) for each in filled_at.items()))
    return sorted(each for each in found if each is not None)


async def _known_at(client: "Client", signal_id: str) -> datetime | None:
    """When the first workflow task after the signal of the fill was completed."""
    heard = False
    async for event in client.get_workflow_handle(order_workflow_id(signal_id)).fetch_history_events():
        if event.HasField("workflow_execution_signaled_event_attributes"):
            heard = heard or _tells_of_fill(event.workflow_execution_signaled_event_attributes)
        elif heard and event.HasField("workflow_task_completed_event_attributes"):
            return event.event_time.ToDatetime(UTC)
    return None


def _tells_of_fill(signal: Any) -> bool:
    if signal.signal_name != SIGNAL_ORDER_UPDATED:
        return False
    told = json.loads(signal.input.payloads[0].data)
    return bool(told["status"] == OrderStatus.FILLED.value)


def percentile(values: Sequence[float], part: int) -> float:
    """Of sorted values, the one below or at which ``part`` percent lie."""
    return values[max(math.ceil(len(values) * part / 100) - 1, 0)]
