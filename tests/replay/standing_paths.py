"""The ways of what is no order: kill switch, update stream, reconciliation, cold storage."""

import asyncio
from contextlib import suppress

from temporalio.client import WorkflowUpdateFailedError

from schemas import wire
from schemas.wire import Queue
from tests.replay.walk import AnyHandle, Walk
from tests.workflow import books_script, cold_script, kill_script, stream_script
from tests.workflow.books_script import OVERWRITE, READ, ScriptedBooks
from tests.workflow.cold_script import MOVE, RESTORE, ScriptedStore
from tests.workflow.kill_script import ScriptedSwitch
from tests.workflow.protected import until_true
from tests.workflow.running import (
    POLL_SECONDS,
    WITHIN_SECONDS,
)
from tests.workflow.stream_script import HOLD, ScriptedStream


async def kill_switch(walk: Walk) -> AnyHandle:
    """Engaged, swept, released by no signal and no other update but by a grant, engaged again; then terminated."""
    script = ScriptedSwitch()
    async with kill_script.running(walk.client, script, walk.name) as switch:
        await kill_script.engage(script, switch)
        await switch.signal(wire.SIGNAL_RELEASE)
        await kill_script.until(script, lambda s: bool(s.notes), switch)
        for name in (wire.UPDATE_RELEASE, "release"):
            with suppress(WorkflowUpdateFailedError):
                await switch.execute_update(name, "please")
        assert len(script.notes) == 3
        assert (await kill_script.release(switch, epoch=1)).released
        await switch.signal("actvate")
        await kill_script.until(script, lambda s: s.sweeps == 2, switch)
    return switch


async def trade_updates(walk: Walk) -> AnyHandle:
    """The holder ends, fails for good, and holds on; then it is terminated."""
    stream = ScriptedStream()
    stream.script(HOLD, "END", "!!ERR_FORBIDDEN")
    async with stream_script.running(walk.client, stream, walk.queue(Queue.OPERATIONS), walk.name) as holder:
        while len(stream.calls) < 3:
            await asyncio.sleep(POLL_SECONDS)
    return holder


async def renewed_kill_switch(walk: Walk) -> AnyHandle:
    """Engaged, then renewed: the first run ends by it."""
    script = ScriptedSwitch()
    async with kill_script.running(walk.client, script, walk.name) as switch:
        await kill_script.engage(script, switch)
        await kill_script.until(script, lambda s: s.state.sweep_confirmed, switch)
        return await _renewed(walk, switch)


async def renewed_trade_updates(walk: Walk) -> AnyHandle:
    """Renewed while the stream is held."""
    stream = ScriptedStream()
    async with stream_script.running(walk.client, stream, walk.queue(Queue.OPERATIONS), walk.name) as holder:
        await until_true(lambda: len(stream.calls) == 1)
        return await _renewed(walk, holder)


async def _renewed(walk: Walk, handle: AnyHandle) -> AnyHandle:
    first = (await handle.describe()).run_id
    await handle.execute_update(wire.UPDATE_RENEW)
    async with asyncio.timeout(WITHIN_SECONDS):
        while (await handle.describe()).run_id == first:
            await asyncio.sleep(POLL_SECONDS)
    return walk.client.get_workflow_handle(handle.id, run_id=first)


async def reconciled_clean(walk: Walk) -> AnyHandle:
    """The books agree at the first look."""
    return await _reconciliation(walk, ScriptedBooks())


async def reconciled_drift(walk: Walk) -> AnyHandle:
    """Confirmed, gone stale, confirmed again; then it stops trading, and no switch listens."""
    books = ScriptedBooks(pause_seconds=0.05)
    books.script(READ, "DIFFERS", "CONFIRMED", "DIFFERS", "CONFIRMED")
    books.script(OVERWRITE, "STALE", "KILLS")
    return await _reconciliation(walk, books)


async def not_reconciled(walk: Walk) -> AnyHandle:
    """The broker cannot be read."""
    books = ScriptedBooks()
    books.script(READ, "!!ERR_FORBIDDEN")
    return await _reconciliation(walk, books)


async def _reconciliation(walk: Walk, books: ScriptedBooks) -> AnyHandle:
    async with books_script.running(walk.client, books, walk.queue(Queue.OPERATIONS), walk.name) as run:
        return run


async def retention(walk: Walk) -> AnyHandle:
    """Two files of each kind; a copy of the first kind is wrong at the third look, the store is away once."""
    store = ScriptedStore()
    store.script(MOVE, "", "!STORE", "", "WRONG", "", "!!GONE")
    async with cold_script.running(walk.client, store, walk.queue(Queue.OPERATIONS), walk.name) as run:
        return run


async def restored(walk: Walk) -> AnyHandle:
    """Two files come back, one of them not."""
    store = ScriptedStore()
    store.script(RESTORE, "", "WRONG")
    queue = walk.queue(Queue.OPERATIONS)
    async with cold_script.running(walk.client, store, queue, walk.name, cold_script.RESTORATION) as run:
        return run


async def month_dropped(walk: Walk) -> AnyHandle:
    """By a grant."""
    queue = walk.queue(Queue.OPERATIONS)
    async with cold_script.running(
        walk.client, ScriptedStore(), queue, walk.name, cold_script.DROPPING
    ) as run:
        return run
