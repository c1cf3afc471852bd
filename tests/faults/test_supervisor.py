"""The supervisor's promises, each on real child processes."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.servers.processes import APPEARS_WITHIN_SECONDS, family, needs_proc, wait_gone, wait_until
from workers.children import LOG_MAX_BYTES, START_SECONDS_VARIABLE, log_tail
from workers.supervisor import (
    ChildEvent,
    ChildSpec,
    ChildState,
    StartFailedError,
    Supervisor,
    SupervisorError,
)

FOREVER = ("sleep", "300")
IGNORES_STOPPING = ("sh", "-c", "trap '' TERM INT; echo ready; while :; do sleep 0.1; done")
SHORT_SECONDS = 0.3
LONG_SECONDS = 30.0


class Recorder:
    """Keeps the supervisor's events, and waits for one."""

    def __init__(self) -> None:
        self.events: list[ChildEvent] = []

    def __call__(self, event: ChildEvent) -> None:
        self.events.append(event)

    def states(self, name: str) -> list[ChildState]:
        return [event.state for event in self.events if event.name == name]

    async def wait_for(self, name: str, state: ChildState, times: int = 1) -> None:
        await wait_until(
            lambda: self.states(name).count(state) >= times,
            seconds_max=APPEARS_WITHIN_SECONDS,
            what=f"{name} {state} x{times}; seen: {self.events}",
        )


@pytest.fixture
def events() -> Recorder:
    return Recorder()


@pytest.fixture
async def supervisor(events: Recorder) -> AsyncIterator[Supervisor]:
    async with Supervisor(on_event=events) as running:
        yield running


def child(name: str, folder: Path, *argv: str, **options: object) -> ChildSpec:
    return ChildSpec(name=name, argv=argv or FOREVER, log_path=folder / f"{name}.log", **options)  # type: ignore[arg-type]


def there(path: Path) -> bool:
    return path.exists()


async def test_start_waits_for_the_probe_and_reports(
    supervisor: Supervisor, events: Recorder, tmp_path: Path
) -> None:
    asked = 0

    async def third_time() -> str | None:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise ConnectionRefusedError("nobody there")
        return None if asked == 3 else "not yet"

    pid = await supervisor.start(child("a", tmp_path, ready=third_time))
    assert asked == 3
    assert supervisor.pids == {"a": pid}
    assert events.states("a") == [ChildState.STARTED, ChildState.READY]


async def test_child_that_ends_while_starting_shows_its_log_and_the_advice(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    async def never() -> str | None:
        return "not yet"

    spec = child(
        "a", tmp_path, "sh", "-c", "echo port 99 is taken; exit 3", ready=never, advice="free the port"
    )
    with pytest.raises(StartFailedError) as refused:
        await supervisor.start(spec)
    for part in ("a did not start", "exit code 3", "port 99 is taken", "free the port"):
        assert part in str(refused.value)
    assert START_SECONDS_VARIABLE not in str(refused.value), "no time helps it"
    assert supervisor.pids == {}


async def test_child_that_is_never_ready_is_not_left_running(supervisor: Supervisor, tmp_path: Path) -> None:
    async def never() -> str | None:
        return "still loading"

    spec = child("a", tmp_path, ready=never, ready_timeout_seconds=SHORT_SECONDS)
    with pytest.raises(StartFailedError, match=r"not ready after 0\.3 s \(still loading\)") as refused:
        await supervisor.start(spec)
    assert START_SECONDS_VARIABLE in str(refused.value), "how it is given more time"
    assert supervisor.pids == {}


async def test_hanging_probe_is_bounded(supervisor: Supervisor, tmp_path: Path) -> None:
    async def hangs() -> str | None:
        await asyncio.Event().wait()
        return None

    with pytest.raises(StartFailedError, match="TimeoutError"):
        await supervisor.start(child("a", tmp_path, ready=hangs, ready_timeout_seconds=SHORT_SECONDS))


async def test_early_end_is_retried_for_the_time_given(supervisor: Supervisor, tmp_path: Path) -> None:
    """How: the child ends twice with an error, then stays, as PostgreSQL does while an old one closes."""
    counter = tmp_path / "count"
    script = (
        f"echo x >> {counter}; [ $(wc -l < {counter}) -ge 3 ] || exit 1; touch {tmp_path}/up; exec sleep 300"
    )

    async def up() -> str | None:
        return None if there(tmp_path / "up") else "not yet"

    await supervisor.start(
        child("a", tmp_path, "sh", "-c", script, ready=up, retry_start_seconds=LONG_SECONDS)
    )
    assert counter.read_text().count("x") == 3


async def test_unknown_program_is_named_in_the_error(supervisor: Supervisor, tmp_path: Path) -> None:
    async def never() -> str | None:
        return "not yet"

    with pytest.raises(StartFailedError, match="/no/such/program"):
        await supervisor.start(child("a", tmp_path, "/no/such/program", ready=never))


async def test_second_child_of_a_name_is_refused(supervisor: Supervisor, tmp_path: Path) -> None:
    await supervisor.start(child("a", tmp_path))
    with pytest.raises(SupervisorError, match="running already"):
        await supervisor.start(child("a", tmp_path))


async def test_child_sees_only_the_allowed_environment(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_SECRET", "hunter2")
    command = child("env", tmp_path, "env", env={"GIVEN": "yes"})
    assert await supervisor.run(command, seconds_max=LONG_SECONDS) == 0
    seen = dict(line.partition("=")[::2] for line in log_tail(command.log_path, lines=200))
    assert seen["GIVEN"] == "yes"
    assert seen["PATH"] == os.environ["PATH"]
    assert "BROKER_SECRET" not in seen


async def test_run_is_bounded(supervisor: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(StartFailedError, match="not done after"):
        await supervisor.run(child("a", tmp_path), seconds_max=SHORT_SECONDS)
    assert supervisor.pids == {}


async def test_stop_kills_what_ignores_its_stop_signal(supervisor: Supervisor, tmp_path: Path) -> None:
    async def trapped() -> str | None:
        return None if log_tail(tmp_path / "a.log") else "not yet"

    spec = child("a", tmp_path, *IGNORES_STOPPING, ready=trapped, grace_seconds=SHORT_SECONDS)
    await supervisor.start(spec)
    members = family(supervisor.leash_pids["a"])
    await supervisor.stop("a")
    await wait_gone(members)


async def test_everything_stops_last_started_first(events: Recorder, tmp_path: Path) -> None:
    async with Supervisor(on_event=events) as supervisor:
        for name in ("a", "b", "c"):
            await supervisor.start(child(name, tmp_path))
    stopped = [event.name for event in events.events if event.state is ChildState.STOPPED]
    assert stopped == ["c", "b", "a"]


async def test_named_groups_stop_first_and_in_order(
    supervisor: Supervisor, events: Recorder, tmp_path: Path
) -> None:
    for name in ("database", "gateway", "worker-1", "worker-2"):
        await supervisor.start(child(name, tmp_path))
    await supervisor.stop_all(["gateway", "not running"], ["worker-1", "worker-2"])
    stopped = [event.name for event in events.events if event.state is ChildState.STOPPED]
    assert stopped[0] == "gateway"
    assert set(stopped[1:3]) == {"worker-1", "worker-2"}
    assert stopped[3] == "database"


@needs_proc
async def test_watch_restarts_what_dies(supervisor: Supervisor, events: Recorder, tmp_path: Path) -> None:
    first = await supervisor.start(child("a", tmp_path))
    await supervisor.start(child("b", tmp_path))
    watching = asyncio.create_task(supervisor.watch())
    for times in (1, 2):
        os.kill(supervisor.pids["a"], signal.SIGKILL)
        await events.wait_for("a", ChildState.READY, times + 1)
    assert supervisor.pids["a"] != first
    assert family(supervisor.pids["a"])
    assert events.states("b") == [ChildState.STARTED, ChildState.READY]
    died = next(event for event in events.events if event.state is ChildState.DIED)
    assert (died.pid, died.detail) == (first, "signal SIGKILL")
    watching.cancel()


async def test_killed_leash_is_restarted_with_its_command(
    supervisor: Supervisor, events: Recorder, tmp_path: Path
) -> None:
    pid = await supervisor.start(child("a", tmp_path))
    members = family(pid)
    watching = asyncio.create_task(supervisor.watch())
    os.kill(supervisor.leash_pids["a"], signal.SIGKILL)
    await events.wait_for("a", ChildState.READY, 2)
    await wait_gone(members)
    watching.cancel()


async def test_failing_restart_goes_on_until_it_works(
    supervisor: Supervisor, events: Recorder, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"

    async def works() -> str | None:
        return "broken" if there(broken) else None

    spec = child("a", tmp_path, ready=works, ready_timeout_seconds=SHORT_SECONDS)
    pid = await supervisor.start(spec)
    watching = asyncio.create_task(supervisor.watch())
    broken.touch()
    os.kill(pid, signal.SIGKILL)
    await events.wait_for("a", ChildState.RESTART_FAILED, 2)
    broken.unlink()
    await events.wait_for("a", ChildState.READY, 2)
    watching.cancel()


async def test_what_was_stopped_is_not_restarted(
    supervisor: Supervisor, events: Recorder, tmp_path: Path
) -> None:
    """How: the stop comes while the restart waits for its probe, which will never agree."""
    answers: list[str | None] = [None]

    async def probe() -> str | None:
        return answers[0]

    pid = await supervisor.start(child("a", tmp_path, ready=probe))
    watching = asyncio.create_task(supervisor.watch())
    answers[0] = "never again"
    os.kill(pid, signal.SIGKILL)
    await events.wait_for("a", ChildState.STARTED, 2)
    await supervisor.stop("a")
    await events.wait_for("a", ChildState.RESTART_FAILED)
    assert supervisor.pids == {}
    watching.cancel()


async def test_cancelled_start_leaves_nothing(
    supervisor: Supervisor, events: Recorder, tmp_path: Path
) -> None:
    async def never() -> str | None:
        return "not yet"

    starting = asyncio.create_task(supervisor.start(child("a", tmp_path, ready=never)))
    await events.wait_for("a", ChildState.STARTED)
    members = family(supervisor.leash_pids["a"])
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await wait_gone(members)
    assert supervisor.pids == {}


async def test_long_log_is_set_aside_at_the_next_start(supervisor: Supervisor, tmp_path: Path) -> None:
    spec = child("a", tmp_path, sys.executable, "-c", "print('fresh')")
    spec.log_path.write_bytes(b"x" * (LOG_MAX_BYTES + 1))
    await supervisor.run(spec, seconds_max=LONG_SECONDS)
    assert spec.log_path.read_text() == "fresh\n"
    assert spec.log_path.with_name("a.log.1").stat().st_size == LOG_MAX_BYTES + 1


async def test_listener_whose_pipe_is_gone_does_not_end_the_supervision(tmp_path: Path) -> None:
    def gone(_: ChildEvent) -> None:
        raise BrokenPipeError

    async with Supervisor(on_event=gone) as supervisor:
        first = await supervisor.start(child("a", tmp_path))
        watching = asyncio.create_task(supervisor.watch())
        os.kill(first, signal.SIGKILL)
        await wait_until(
            lambda: supervisor.pids.get("a", first) != first,
            seconds_max=APPEARS_WITHIN_SECONDS,
            what="the child is back",
        )
        watching.cancel()
