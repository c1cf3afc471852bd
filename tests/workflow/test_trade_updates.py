"""The holder of the update stream is always held by somebody: whenever it ends, it starts over."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError
from temporalio.worker import Worker

from schemas import wire
from schemas.runs import StreamInput
from schemas.wire import Queue
from tests.workflow.gates import Gates
from tests.workflow.running import POLL_SECONDS, WITHIN_SECONDS, events, hang_report
from tests.workflow.test_steps import places
from workflows.trade_updates import TradeUpdatesWorkflow

if TYPE_CHECKING:
    from temporalio.testing import TimeSkipper

HEARTBEATS_EVERY = timedelta(milliseconds=100)
"""A cancel reaches an activity by the answer to its heartbeat."""
HOLD = wire.ACTIVITY_TRADE_UPDATES
Unique = Callable[[str], str]


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


async def held(
    stream: ScriptedStream, times: int, holder: WorkflowHandle[TradeUpdatesWorkflow, None]
) -> None:
    """Wait until the stream was taken so many times."""
    try:
        async with asyncio.timeout(WITHIN_SECONDS):
            while len(stream.calls) < times:
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        pytest.fail(f"held {len(stream.calls)} times, not {times}\n{await hang_report(holder)}")


@pytest.mark.parametrize("ends", ["END", "!WORKER_STOPS", "!!ERR_FORBIDDEN"])
async def test_whenever_it_ends_it_starts_over(
    time_skipping_env: "TimeSkipper", unique: Unique, ends: str
) -> None:
    """Returned, failed, or failed for good: without a holder nobody hears of a fill."""
    stream = ScriptedStream()
    stream.script(HOLD, ends, ends)
    async with running(time_skipping_env.client, stream, unique("trading"), unique("stream")) as holder:
        await held(stream, 3, holder)
        assert (await holder.describe()).status is WorkflowExecutionStatus.RUNNING


@pytest.mark.parametrize("isolated", [False, True], ids=["compact", "isolated"])
async def test_it_is_held_where_the_broker_may_be_read(
    time_skipping_env: "TimeSkipper", unique: Unique, *, isolated: bool
) -> None:
    stream = ScriptedStream()
    queue = Queue.OPERATIONS.value if isolated else unique("trading")
    async with running(time_skipping_env.client, stream, queue, unique("stream")) as holder:
        await held(stream, 1, holder)
        assert places(await events(holder)) == {HOLD: queue}


async def test_a_long_history_goes_on_as_a_fresh_run(brief_env: "TimeSkipper", unique: Unique) -> None:
    stream = ScriptedStream()
    stream.script(HOLD, *["END"] * 20)
    async with running(brief_env.client, stream, unique("trading"), unique("stream")) as holder:
        await held(stream, 21, holder)
    assert stream.runs == sorted(stream.runs)
    assert stream.runs[-1] >= 2


async def test_cancelling_it_ends_it(time_skipping_env: "TimeSkipper", unique: Unique) -> None:
    stream = ScriptedStream()
    async with running(time_skipping_env.client, stream, unique("trading"), unique("stream")) as holder:
        await held(stream, 1, holder)
        await holder.cancel()
        with pytest.raises(WorkflowFailureError):
            await asyncio.wait_for(holder.result(), WITHIN_SECONDS)
    assert len(stream.calls) == 1
