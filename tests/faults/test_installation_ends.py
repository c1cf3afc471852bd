"""How ``workers.up`` ends: Ctrl-C early and late, and a second one on the same folder."""

import pytest

from tests.faults.installation import data_dir, ended, interrupt, run, running, spawn
from tests.servers.processes import family, needs_proc, wait_gone, wait_until
from workers.datadir import DataDir, DataDirError

__all__ = ["data_dir"]

READY_WITHIN_SECONDS = 60
SIGNALS = 8

pytestmark = [needs_proc, pytest.mark.timeout(300)]


async def test_ctrl_c_stops_everything_in_order_and_a_second_one_is_refused(data_dir: DataDir) -> None:
    async with running(data_dir) as doors:
        refused = await run(data_dir)
        assert refused.code == 1
        assert refused.out == ""
        assert refused.errors == (
            f"trading up: {data_dir.root} is in use by process {doors.up.process.pid}; "
            "stop that one, or choose another --data-dir\n"
        )
        members = doors.family()
        assert {"postgres", "temporal"} <= {member.command for member in members}
        await doors.submit(f"last-{number}" for number in range(SIGNALS))
        end = await interrupt(doors.up)
    assert (end.code, end.errors) == (0, "")
    assert end.stopped == ["compact", "exchange", "temporal", "postgres"]
    assert not [line for line in end.told if line.get("state") == "died"]
    await wait_gone(members)
    with pytest.raises(DataDirError, match="nothing runs"):
        data_dir.read_addresses()
    with data_dir.locked():
        pass


async def test_ctrl_c_before_it_is_ready_leaves_nothing_either(data_dir: DataDir) -> None:
    """How: as soon as PostgreSQL runs, so with every server half started and the product not there yet."""
    up = await spawn(data_dir)

    def half_started() -> bool:
        return "postgres" in {member.command for member in family(up.process.pid)}

    await wait_until(half_started, seconds_max=READY_WITHIN_SECONDS, what="PostgreSQL runs")
    members = family(up.process.pid)
    up.process.send_signal(2)
    end = await ended(up)
    assert (end.code, end.errors) == (0, "")
    await wait_gone(members)
