"""``workers.up`` interrupted while it starts."""

import signal

import pytest

from tests.faults.installation import data_dir, ended, spawn
from tests.servers.processes import family, needs_proc, wait_gone, wait_until
from workers.datadir import DataDir

__all__ = ["data_dir"]

READY_WITHIN_SECONDS = 60

pytestmark = [needs_proc, pytest.mark.timeout(300)]


async def test_ctrl_c_before_it_is_ready_leaves_nothing(data_dir: DataDir) -> None:
    """How: as soon as PostgreSQL runs, so with every server half started and the product not there yet."""
    up = await spawn(data_dir)

    def half_started() -> bool:
        return "postgres" in {member.command for member in family(up.process.pid)}

    await wait_until(half_started, seconds_max=READY_WITHIN_SECONDS, what="PostgreSQL runs")
    members = family(up.process.pid)
    up.process.send_signal(signal.SIGINT)
    end = await ended(up)
    assert (end.code, end.errors) == (0, "")
    await wait_gone(members)
