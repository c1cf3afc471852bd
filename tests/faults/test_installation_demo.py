"""``trading demo`` ended in the middle, by Ctrl-C and by kill -9."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from schemas import wire
from schemas.runs import CancelCommand, CancelReply
from tests.console.commands import environment
from tests.faults.installation import Doors, data_dir, doors_of, interrupt, judge, running
from tests.servers.processes import REPOSITORY, family, needs_proc, wait_gone, wait_until
from workers.datadir import DataDir, DataDirError

__all__ = ["data_dir"]

READY_WITHIN_SECONDS = 120
ENDED_WITHIN_SECONDS = 60
POSTS_BEFORE_THE_KILL = 3
FIRST_SIGNALS = 8
"""At least so many does the demonstration send in its first burst."""

pytestmark = [needs_proc, pytest.mark.timeout(400)]


@asynccontextmanager
async def demo(folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The demonstration in a folder that stays."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "console.main", "demo", "--data-dir", str(folder), cwd=REPOSITORY,
        env=environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def trading_in(folder: DataDir) -> None:
    """Wait until its stack is ready and the exchange has a few of its orders."""

    def ready() -> bool:
        with suppress(DataDirError):
            return bool(folder.read_addresses())
        return False

    await wait_until(ready, seconds_max=READY_WITHIN_SECONDS, what="the demonstration's stack is ready")
    async with doors_of(folder.read_addresses()) as doors:
        await doors.until_posted(POSTS_BEFORE_THE_KILL)


async def cancel_what_rests(doors: Doors) -> None:
    """End the entries that wait for a price; the others end by themselves, and stops stay under their shares."""
    client = await Client.connect(
        doors.addresses["temporal_address"],
        namespace=wire.NAMESPACE,
        data_converter=pydantic_data_converter,
    )
    async with doors.database() as connection:
        resting = await connection.fetch(
            "select signal_id from orders where settled_at is null and leg = 'entry'"
        )
    for row in resting:
        handle = client.get_workflow_handle(wire.order_workflow_id(row["signal_id"]))
        command = CancelCommand(actor="a person")
        await handle.execute_update(wire.UPDATE_CANCEL_ORDER, command, result_type=CancelReply)


@pytest.mark.slow
async def test_killed_demonstration_is_carried_to_its_end_by_up(data_dir: DataDir) -> None:
    """How: kill -9 as soon as the exchange has a few of its orders; `up` takes over the folder."""
    async with demo(data_dir.root) as process:
        await trading_in(data_dir)
        members = family(process.pid)
        process.kill()
        await process.communicate()
        await wait_gone(members)
    async with running(data_dir) as doors:
        await doors.until_resting()
        await cancel_what_rests(doors)
        states = await judge(doors)
        assert states["FILLED"] > 0
        assert states.total() >= FIRST_SIGNALS
        end = await interrupt(doors.up)
    assert end.code == 0


async def test_interrupted_demonstration_leaves_nothing(data_dir: DataDir) -> None:
    async with demo(data_dir.root) as process:
        await trading_in(data_dir)
        members = family(process.pid)
        assert {"postgres", "temporal"} <= {member.command for member in members}
        process.send_signal(signal.SIGINT)
        out, errors = await asyncio.wait_for(process.communicate(), ENDED_WITHIN_SECONDS)
    assert process.returncode == 130, (out, errors)
    assert errors == b""
    assert b"Traceback" not in out
    await wait_gone(members)
    with pytest.raises(DataDirError, match="nothing runs"):
        data_dir.read_addresses()
