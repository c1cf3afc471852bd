"""Killing, hanging and restarting the processes of a stage, shown on children that only sleep."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.servers.processes import needs_proc
from workers.chaos.victims import StageError, Victims
from workers.children import ChildSpec

SLEEPS = (sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)")

pytestmark = needs_proc


@pytest.fixture
async def victims(tmp_path: Path) -> AsyncIterator[Victims]:
    """A stage with one child that goes by the name of execution, changed as the stage was told."""

    def change(spec: ChildSpec) -> ChildSpec:
        return replace(spec, env={"TOLD": "so"})

    stage = Victims(change, compact=False, exchange="exchange")
    spec = ChildSpec(name="execution", argv=SLEEPS, log_path=tmp_path / "execution.log")
    async with stage.supervisor:
        await stage.supervisor.start(spec)
        watching = asyncio.create_task(stage.supervisor.watch())
        yield stage
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


def proc(victims: Victims, file: str) -> bytes:
    """A file of the child's in /proc; until the child has begun, its leash's."""
    return Path(f"/proc/{victims.pids['execution']}/{file}").read_bytes()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_killed_process_is_dead_and_comes_back(victims: Victims) -> None:
    before = victims.pids["execution"]
    await victims.kill("execution")
    assert not victims.is_up("execution")
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)
    await victims.until_ready("execution")
    assert victims.pids["execution"] != before
    assert victims.deaths("execution") == 1


async def test_what_is_not_ready_cannot_be_killed(victims: Victims) -> None:
    await victims.kill("execution")
    with pytest.raises(StageError, match="execution is not ready"):
        await victims.kill("execution")
    with pytest.raises(StageError, match="orders is not ready"):
        await victims.kill("orders")


async def test_what_is_down_stays_down_until_it_is_started(victims: Victims) -> None:
    """How: killed for good, then started with more variables; later stopped, and started with another command."""
    await victims.down("execution", kill=True)
    assert "execution" not in victims.pids
    await victims.up("execution", env={"MORE": "1"})
    await until(lambda: {b"TOLD=so", b"MORE=1"} <= set(proc(victims, "environ").split(b"\0")))
    await victims.restart("execution", argv=(*SLEEPS, "other"))
    await until(lambda: proc(victims, "cmdline").endswith(b"other\0"))
    assert victims.deaths("execution") == 0


async def test_a_hung_process_goes_on(victims: Victims) -> None:
    def hangs() -> bool:
        return proc(victims, "stat").rpartition(b")")[2].split()[0] == b"T"

    victims.stop("execution")
    await until(hangs)
    victims.cont("execution")
    await until(lambda: not hangs())
    assert victims.is_up("execution")


async def test_what_never_comes_is_named(victims: Victims) -> None:
    with pytest.raises(StageError, match="orders is ready"):
        await victims.until_ready("orders", seconds_max=0.05)


async def test_in_the_compact_topology_every_process_of_ours_is_one() -> None:
    stage = Victims(lambda spec: spec, compact=True, exchange="exchange")
    assert {stage.name(each) for each in ("gateway", "orders", "risk", "execution", "operations")} == {
        "compact"
    }
    assert [stage.name(each) for each in ("database", "temporal", "exchange")] == [
        "postgres", "temporal", "exchange",
    ]  # fmt: skip
