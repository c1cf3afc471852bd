"""The isolated topology with each of its workers killed in turn, while signals flow."""

import asyncio
import os
import signal
from datetime import UTC, datetime

import pytest

from tests.faults.installation import Doors, data_dir, interrupt, judge, running
from tests.servers.processes import POLL_SECONDS, needs_proc, wait_gone
from workers.datadir import DataDir

__all__ = ["data_dir"]

WORKERS = ("risk", "execution", "orders", "operations", "gateway")
SIGNALS_EACH = 10
ON_THEIR_WAY = 4
TAKEN_WITHIN_SECONDS = 30
PAUSE_SECONDS = 1.5
"""Between two kills: less than a restart takes, so that two are away at a time."""

pytestmark = [needs_proc, pytest.mark.timeout(400)]


async def test_killing_any_worker_delays_and_loses_nothing(data_dir: DataDir) -> None:
    """How: signals without a break; kill -9 one worker after the other; the supervisor starts each again."""
    sent_at = datetime.now(UTC).isoformat()
    batches = [[f"{worker}-killed-{number}" for number in range(SIGNALS_EACH)] for worker in WORKERS]
    async with running(data_dir, "--topology=isolated") as doors:
        members = doors.family()
        sending = []
        for worker, batch in zip(WORKERS, batches, strict=True):
            sending.append(asyncio.create_task(doors.submit(batch, created_at=sent_at)))
            await until_on_their_way(doors, worker)
            os.kill(doors.pid(worker), signal.SIGKILL)
            await asyncio.sleep(PAUSE_SECONDS)
        await asyncio.gather(*sending)
        for batch in batches:
            assert set(await doors.submit_until_answered(batch, created_at=sent_at)) == {202}
        for worker in WORKERS:
            await doors.until_back(worker, 2)
        states = await judge(doors, SIGNALS_EACH * len(WORKERS))
        assert states["FILLED"] > 0, states
        end = await interrupt(doors.up)
    assert end.code == 0, end
    await wait_gone(members)


async def until_on_their_way(doors: Doors, worker: str) -> None:
    """Return as soon as some of this worker's signals are taken and not settled."""
    async with asyncio.timeout(TAKEN_WITHIN_SECONDS), doors.database() as connection:
        while (
            await connection.fetchval(
                "select count(*) from orders where settled_at is null and starts_with(signal_id, $1)", worker
            )
            < ON_THEIR_WAY
        ):
            await asyncio.sleep(POLL_SECONDS)
