"""Each part of a running installation killed in turn while orders are on their way."""

import asyncio
import os
import signal
from datetime import UTC, datetime

import pytest

from tests.faults.installation import data_dir, interrupt, judge, running
from tests.servers.processes import needs_proc, wait_gone
from workers.datadir import DataDir

__all__ = ["data_dir"]

PARTS = ("postgres", "temporal", "exchange", "compact")
SIGNALS_EACH = 10
POSTS_BEFORE_THE_KILL = 2

pytestmark = [needs_proc, pytest.mark.timeout(500), pytest.mark.slow]


async def test_every_signal_ends_once_though_each_part_was_killed(data_dir: DataDir) -> None:
    """How: a burst of signals for each part, which is killed as soon as two of them are at the exchange.

    Senders repeat what got no answer, as they must; the supervisor starts the part again.
    """
    async with running(data_dir) as doors:
        for part in PARTS:
            names = [f"{part}-{each}" for each in range(SIGNALS_EACH)]
            sent_at = datetime.now(UTC).isoformat()
            before = (await doors.summary())["posts_total"]
            sending = asyncio.create_task(doors.submit(names, created_at=sent_at))
            await doors.until_posted(before + POSTS_BEFORE_THE_KILL)
            os.kill(doors.pid(part), signal.SIGKILL)
            await sending
            await doors.until_back(part, times=2)
            assert set(await doors.submit_until_answered(names, created_at=sent_at)) == {202}
        states = await judge(doors, SIGNALS_EACH * len(PARTS))
        assert states["FILLED"] > 0
        assert [doors.up.times(part, "died") for part in PARTS] == [1] * len(PARTS), doors.up.told
        members = doors.family()
        end = await interrupt(doors.up)
    assert end.code == 0
    await wait_gone(members)
