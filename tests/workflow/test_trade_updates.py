"""The holder of the update stream is always held by somebody: whenever it ends, it starts over."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle

from schemas import wire
from schemas.wire import Queue
from tests.workflow.running import POLL_SECONDS, WITHIN_SECONDS, events, hang_report
from tests.workflow.stream_script import HOLD, ScriptedStream, running
from tests.workflow.test_steps import places
from workflows.trade_updates import TradeUpdatesWorkflow

if TYPE_CHECKING:
    from temporalio.testing import TimeSkipper

Unique = Callable[[str], str]


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


async def test_renewed_it_lets_go_and_holds_on_as_a_new_run(
    time_skipping_env: "TimeSkipper", unique: Unique
) -> None:
    stream = ScriptedStream()
    async with running(time_skipping_env.client, stream, unique("trading"), unique("stream")) as holder:
        await held(stream, 1, holder)
        await holder.execute_update(wire.UPDATE_RENEW)
        await held(stream, 2, holder)
        assert stream.runs == [0, 1]


async def test_cancelling_it_ends_it(time_skipping_env: "TimeSkipper", unique: Unique) -> None:
    stream = ScriptedStream()
    async with running(time_skipping_env.client, stream, unique("trading"), unique("stream")) as holder:
        await held(stream, 1, holder)
        await holder.cancel()
        with pytest.raises(WorkflowFailureError):
            await asyncio.wait_for(holder.result(), WITHIN_SECONDS)
    assert len(stream.calls) == 1
