"""Nothing we start outlives what started it.

How: real process trees; the top is killed in every way, and the members it had are looked up in /proc.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.servers.processes import (
    APPEARS_WITHIN_SECONDS,
    REPOSITORY,
    Process,
    alive,
    family,
    needs_proc,
    wait_gone,
    wait_until,
)
from tests.servers.session import unavailable
from workers import leash, postgres, temporal
from workers.datadir import DataDir, temporary_data_dir

pytestmark = needs_proc
LEASH = Path(leash.__file__)
SCRIPT = REPOSITORY / "tests" / "servers" / "stack_script.py"
ANSWERS_WITHIN_SECONDS = 10.0
IGNORES_STOPPING = "trap '' TERM INT; echo ready; while :; do sleep 0.1; done"


def on_leash(*command: str, grace: float = 0.2, stop_signal: str = "SIGTERM") -> list[str]:
    options = [f"--grace={grace}", f"--stop-signal={stop_signal}"]
    return [sys.executable, "-I", "-S", str(LEASH), *options, "--", *command]


async def spawn(*command: str, **options: Any) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=REPOSITORY, **options)


async def first_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout
    return (await asyncio.wait_for(process.stdout.readline(), APPEARS_WITHIN_SECONDS)).decode().strip()


async def end(process: asyncio.subprocess.Process) -> int:
    return await asyncio.wait_for(process.wait(), ANSWERS_WITHIN_SECONDS)


@pytest.fixture
def data_dir() -> Any:
    try:
        postgres.find_installation()
        temporal.find_program()
    except (postgres.PostgresError, temporal.TemporalError) as error:
        unavailable(error)
    with temporary_data_dir() as folder:
        yield folder


@pytest.fixture
async def stack(data_dir: DataDir) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program of ours with PostgreSQL and Temporal up, in a session of its own as under a terminal."""
    process = await spawn(sys.executable, str(SCRIPT), str(data_dir.root), start_new_session=True)
    assert json.loads(await first_line(process))["pids"].keys() == {"postgres", "temporal"}
    yield process
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


class TestLeashAlone:
    @pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 128 + 9)])
    async def test_exit_code_is_the_commands(self, script: str, code: int) -> None:
        assert await end(await spawn(*on_leash("sh", "-c", script))) == code

    async def test_end_of_input_sends_the_stop_signal(self) -> None:
        script = "trap 'exit 5' INT; echo ready; while :; do sleep 0.05; done"
        process = await spawn(*on_leash("sh", "-c", script, grace=5, stop_signal="SIGINT"))
        assert await first_line(process) == "ready"
        assert process.stdin
        process.stdin.close()
        assert await end(process) == 5

    async def test_command_that_ignores_its_stop_signal_is_killed_after_the_grace(self) -> None:
        process = await spawn(*on_leash("sh", "-c", IGNORES_STOPPING))
        assert await first_line(process) == "ready"
        assert process.stdin
        process.stdin.close()
        assert await end(process) == 128 + signal.SIGKILL

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_signals_are_forwarded(self, number: signal.Signals) -> None:
        script = f"trap 'exit 6' {number.name[3:]}; echo ready; while :; do sleep 0.05; done"
        process = await spawn(*on_leash("sh", "-c", script))
        assert await first_line(process) == "ready"
        process.send_signal(number)
        assert await end(process) == 6

    async def test_what_the_command_left_behind_ends_too(self) -> None:
        """How: the command starts a daemon in a session of its own, then ends."""
        process = await spawn(*on_leash("sh", "-c", "setsid sleep 300 & echo $!"))
        daemon = int(await first_line(process))
        assert await end(process) == 0
        assert not family(daemon)

    async def test_killing_the_leash_kills_the_command(self) -> None:
        process = await spawn(*on_leash("sh", "-c", "echo ready; exec sleep 300"))
        assert await first_line(process) == "ready"
        await wait_until(
            lambda: "sleep" in {member.command for member in family(process.pid)},
            seconds_max=APPEARS_WITHIN_SECONDS,
            what="the command runs",
        )
        members = family(process.pid)
        process.kill()
        await wait_gone(members)
        await process.wait()

    async def test_command_has_a_session_of_its_own(self) -> None:
        process = await spawn(*on_leash("sh", "-c", "echo $$; exec sleep 300"))
        pid = int(await first_line(process))
        assert os.getsid(pid) == pid
        process.terminate()
        await end(process)

    @pytest.mark.parametrize(
        "arguments", [[], ["--"], ["--unknown=1", "--", "true"], ["--stop-signal=SIGWHAT", "--", "true"]]
    )
    async def test_bad_usage_is_refused(self, arguments: list[str]) -> None:
        process = await spawn(sys.executable, str(LEASH), *arguments, stderr=asyncio.subprocess.PIPE)
        _, complaint = await process.communicate()
        assert process.returncode == leash.EXIT_USAGE
        assert complaint.startswith(b"leash: ")
        assert b"Traceback" not in complaint

    async def test_unknown_program_is_named(self) -> None:
        process = await spawn(*on_leash("/no/such/program"), stderr=asyncio.subprocess.PIPE)
        _, complaint = await process.communicate()
        assert process.returncode == leash.EXIT_CANNOT_RUN
        assert b"/no/such/program" in complaint


class TestWholeTree:
    async def test_kill_of_the_parent_leaves_no_process(self, stack: asyncio.subprocess.Process) -> None:
        members = family(stack.pid)
        assert {"postgres", "temporal"} <= {member.command for member in members}
        stack.kill()
        await wait_gone(members)

    async def test_closed_terminal_leaves_no_process(self, stack: asyncio.subprocess.Process) -> None:
        members = family(stack.pid)
        stack.send_signal(signal.SIGHUP)
        await wait_gone(members)

    async def test_ctrl_c_stops_in_order(self, stack: asyncio.subprocess.Process, data_dir: DataDir) -> None:
        """How: SIGINT to the whole process group, as a terminal sends it; PostgreSQL is told by us alone."""
        members = family(stack.pid)
        os.killpg(stack.pid, signal.SIGINT)
        assert await end(stack) == 130
        await wait_gone(members)
        assert "database system is shut down" in data_dir.log("postgres").read_text()

    @pytest.mark.parametrize("way", ["outer leash killed", "its starter gone"])
    async def test_end_of_an_outer_leash_ends_the_inner_ones(self, data_dir: DataDir, way: str) -> None:
        """How: our program, which holds its servers on leashes, is itself held on one."""
        outer = await spawn(*on_leash(sys.executable, str(SCRIPT), str(data_dir.root)))
        await first_line(outer)
        members = family(outer.pid)
        assert len([member for member in members if member.command.startswith("python")]) == 4
        assert {"postgres", "temporal"} <= {member.command for member in members}
        assert outer.stdin
        outer.kill() if way == "outer leash killed" else outer.stdin.close()
        await wait_gone(members)
        await outer.wait()

    @pytest.mark.parametrize("options", [[], ["-n", "1"]], ids=["one process", "parallel"])
    async def test_pytest_killed_in_mid_test_leaves_no_process(
        self, tmp_path: Path, options: list[str]
    ) -> None:
        ready = tmp_path / "ready"
        case = REPOSITORY / "tests" / "faults" / "hanging_case.py"
        command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(case))
        # Were we a parallel test process ourselves, the inner pytest must not take itself for one.
        outer = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        process = await spawn(*command, env=outer | {"HANGING_CASE_READY_FILE": str(ready)})
        await wait_until(ready.exists, seconds_max=APPEARS_WITHIN_SECONDS, what="the inner test runs")
        members = family(process.pid)
        assert {"postgres", "temporal"} <= {member.command for member in members}
        process.kill()
        await wait_gone(members)
        await process.wait()

    async def test_the_check_itself_sees_a_survivor(self) -> None:
        """A check that cannot fail proves nothing: a process that is there is found."""
        process = await spawn("sleep", "300")
        members: set[Process] = family(process.pid)
        assert alive(members) == members != set()
        process.kill()
        await process.wait()
        assert alive(members) == set()
