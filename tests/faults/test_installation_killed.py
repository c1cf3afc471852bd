"""``workers.up`` killed with orders on their way, and started again on the same folder."""

import asyncio
from datetime import UTC, datetime

import pytest

from tests.faults.installation import Doors, data_dir, interrupt, judge, run, running
from tests.servers.processes import needs_proc, wait_gone
from workers.datadir import DataDir, DataDirError

__all__ = ["data_dir"]

SIGNALS = 40
POSTS_BEFORE_THE_KILL = 5

pytestmark = [needs_proc, pytest.mark.timeout(400), pytest.mark.slow]


async def test_every_signal_ends_once_though_everything_was_killed(data_dir: DataDir) -> None:
    """How: kill -9 as soon as the exchange has a few of the orders; the senders repeat after the restart.

    The second run also shows that a third is refused, and how Ctrl-C ends it all.
    """
    names = [f"killed-{number}" for number in range(SIGNALS)]
    sent_at = datetime.now(UTC).isoformat()
    async with running(data_dir) as doors:
        members = doors.family()
        sending = asyncio.create_task(doors.submit(names, created_at=sent_at))
        await doors.until_posted(POSTS_BEFORE_THE_KILL)
        doors.up.process.kill()
        killed_at = datetime.now(UTC)
        first = await sending
        await wait_gone(members)
    assert set(first) <= {202, 0}
    async with running(data_dir) as doors:
        await refuses_a_second_one(data_dir, doors)
        assert set(await doors.submit_until_answered(names, created_at=sent_at)) == {202}
        states = await judge(doors, SIGNALS)
        async with doors.database() as connection:
            left_open = await connection.fetchval(
                "select count(*) from orders where created_at < $1 and settled_at > $1", killed_at
            )
        assert left_open > 0, "the kill came too late to show anything"
        assert states["FILLED"] > 0
        await stops_in_order(data_dir, doors)


async def refuses_a_second_one(data_dir: DataDir, doors: Doors) -> None:
    refused = await run(data_dir)
    assert (refused.code, refused.out) == (1, "")
    assert refused.errors == (
        f"trading up: {data_dir.root} is in use by process {doors.up.process.pid}; "
        "stop that one, or choose another --data-dir\n"
    )


async def stops_in_order(data_dir: DataDir, doors: Doors) -> None:
    """Ctrl-C: gateway and workers, console, exchange, Temporal, PostgreSQL; nothing left, the folder free."""
    members = doors.family()
    assert {"postgres", "temporal"} <= {member.command for member in members}
    end = await interrupt(doors.up)
    assert (end.code, end.errors) == (0, "")
    assert end.stopped == ["compact", "console", "exchange", "temporal", "postgres"]
    assert not [line for line in end.told if line.get("state") == "died"]
    await wait_gone(members)
    with pytest.raises(DataDirError, match="nothing runs"):
        data_dir.read_addresses()
    with data_dir.locked():
        pass
