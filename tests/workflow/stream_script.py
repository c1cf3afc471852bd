"""The holder of the update stream, scripted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError
from temporalio.worker import Worker

from schemas import wire
from schemas.runs import StreamInput
from tests.workflow.gates import Gates
from tests.workflow.running import POLL_SECONDS
from workflows.trade_updates import TradeUpdatesWorkflow

HEARTBEATS_EVERY = timedelta(milliseconds=100)
"""A cancel reaches an activity by the answer to its heartbeat."""
HOLD = wire.ACTIVITY_TRADE_UPDATES


class ScriptedStream(Gates):
    """A holder that ends, fails, or holds on, as scripted."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[int] = []

    @activity.defn(name=HOLD)
    async def hold_trade_updates(self, start: StreamInput) -> None:
        """``END`` returns, ``!`` and ``!!`` fail; otherwise it holds on until it is cancelled."""
        self.runs.append(start.run)
        if await self.asked(HOLD) != "END":
            while True:
                activity.heartbeat()
                await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def running(
    client: Client, stream: ScriptedStream, queue: str, workflow_id: str
) -> AsyncIterator[WorkflowHandle[TradeUpdatesWorkflow, None]]:
    """Run the workflow until the block ends."""
    async with Worker(
        client,
        task_queue=queue,
        workflows=[TradeUpdatesWorkflow],
        activities=[stream.hold_trade_updates],
        max_heartbeat_throttle_interval=HEARTBEATS_EVERY,
    ):
        holder = await client.start_workflow(
            TradeUpdatesWorkflow.run, StreamInput(), id=workflow_id, task_queue=queue
        )
        try:
            yield holder
        finally:
            with suppress(RPCError):
                await client.get_workflow_handle(workflow_id).terminate("end of test")
