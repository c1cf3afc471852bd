"""Start, watch and stop the processes of one installation, each on its leash (`workers.leash`).

No child outlives this process: each leash holds the read end of a pipe whose write end only we hold, so
our end, ``kill -9`` included, is theirs. Children run in sessions of their own, with an environment from an
allow-list, and write to a log file whose last lines are part of the error when they do not come up.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from workers.children import (
    ChildEvent,
    ChildSpec,
    ChildState,
    Probe,
    StartFailedError,
    SupervisorError,
    cut_log,
    ending_in_words,
    environment,
    leash_command,
    open_log,
    patient,
)

__all__ = [
    "ChildEvent",
    "ChildSpec",
    "ChildState",
    "Probe",
    "StartFailedError",
    "Supervisor",
    "SupervisorError",
]

PROBE_TIMEOUT_SECONDS = 2.0
LOGS_LOOKED_AT_SECONDS = 60.0
PROBE_INTERVAL_SECONDS = 0.02
START_RETRY_INTERVAL_SECONDS = 0.2
# The leash itself ends within its two graces; past this it is stuck in the kernel and is killed.
LEASH_END_SECONDS = 5.0
RESTART_BACKOFF_SECONDS = 0.2
RESTART_BACKOFF_MAX_SECONDS = 10.0
STABLE_AFTER_SECONDS = 30.0
PID_LINE_BYTES_MAX = 32


@dataclass(slots=True)
class _Child:
    """A running leash and the command it holds."""

    spec: ChildSpec
    leash: asyncio.subprocess.Process
    leash_pipe: int
    pid: int
    started_at: float
    stopping: bool = False
    ready: bool = False
    restarts: int = 0

    def let_go(self) -> None:
        """Close our end of the leash: the command is told to stop, then killed."""
        if self.leash_pipe >= 0:
            os.close(self.leash_pipe)
            self.leash_pipe = -1


class Supervisor:
    """Owns the child processes of this process.

    Use as ``async with``: leaving it stops every child, the last started first. One per event loop.
    """

    def __init__(
        self,
        *,
        on_event: Callable[[ChildEvent], None] | None = None,
        backoff_max_seconds: float = RESTART_BACKOFF_MAX_SECONDS,
    ) -> None:
        self._on_event = on_event
        self._backoff_max_seconds = backoff_max_seconds
        self._order: list[str] = []
        self._children: dict[str, _Child] = {}
        self._waiters: dict[str, asyncio.Task[None]] = {}
        self._deaths: asyncio.Queue[_Child] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop_all()

    @property
    def pids(self) -> dict[str, int]:
        """The running commands' own process ids by name (not their leashes')."""
        return {name: child.pid for name, child in self._children.items()}

    @property
    def leash_pids(self) -> dict[str, int]:
        """The process ids of the leashes by name."""
        return {name: child.leash.pid for name, child in self._children.items()}

    async def start(self, spec: ChildSpec) -> int:
        """Start a child, wait until it is ready, and return its process id.

        Several starts may run at the same time.

        Raises:
            StartFailedError: it ended or was not ready in time; it is not left running.
            SupervisorError: a child of that name is running already.
        """
        if spec.name in self._order:
            raise SupervisorError(f"a child named {spec.name} is running already; stop it first")
        self._order.append(spec.name)
        try:
            return (await self._bring_up(spec)).pid
        except BaseException:
            with suppress(ValueError):  # stop() may have been faster.
                self._order.remove(spec.name)
            raise

    async def run(self, spec: ChildSpec, *, seconds_max: float) -> int:
        """Run a command to its end and return its exit code.

        Raises:
            StartFailedError: it had not ended after ``seconds_max`` and was stopped.
        """
        if spec.name in self._order:
            raise SupervisorError(f"a child named {spec.name} is running already; stop it first")
        child = await self._spawn(spec)
        try:
            if not await _within(seconds_max, self._waiters[spec.name]):
                raise StartFailedError(spec, f"not done after {seconds_max:g} s", too_slow=True)
        finally:
            await self._end(child)
        return await child.leash.wait()

    async def stop(self, name: str) -> None:
        """Stop one child: its stop signal, its grace, then SIGKILL. Nothing if it does not run."""
        if name in self._order:
            self._order.remove(name)
        child = self._children.get(name)
        if child is not None:
            await self._end(child)
            self._tell(child, ChildState.STOPPED)

    async def kill(self, name: str) -> None:
        """Kill one child, which then stays down. Nothing if it does not run."""
        if name in self._order:
            self._order.remove(name)
        child = self._children.get(name)
        if child is not None:
            child.stopping = True
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            await self._waiters[name]
            self._tell(child, ChildState.STOPPED)

    async def stop_all(self, *groups: Sequence[str]) -> None:
        """Stop the named groups in turn, each group's members at once; then the rest, last started first."""
        for group in groups:
            await asyncio.gather(*(self.stop(name) for name in group))
        for name in reversed(self._order.copy()):
            await self.stop(name)

    async def watch(self) -> None:
        """Restart every child that dies, until cancelled. Failing restarts go on, ever slower."""
        async with asyncio.TaskGroup() as restarts:
            restarts.create_task(self._cut_logs())
            while True:
                dead = await self._deaths.get()
                restarts.create_task(self._restart(dead))

    async def _cut_logs(self) -> None:
        """Keep the logs of servers, which never begin a new file themselves, from filling the disk."""
        while True:
            await asyncio.sleep(LOGS_LOOKED_AT_SECONDS)
            for path in {child.spec.log_path for child in self._children.values()}:
                await asyncio.to_thread(cut_log, path)

    async def _bring_up(self, spec: ChildSpec) -> _Child:
        give_up_at = time.monotonic() + spec.retry_start_seconds
        while True:
            if spec.before_start is not None:
                await spec.before_start()
            child = await self._spawn(spec)
            try:
                if spec.name not in self._order:
                    raise StartFailedError(spec, "it was stopped while starting")
                await self._wait_ready(child)
            except BaseException as error:
                ended_by_itself = child.leash.returncode is not None and spec.name in self._order
                await self._end(child)
                if isinstance(error, StartFailedError) and ended_by_itself and time.monotonic() < give_up_at:
                    await asyncio.sleep(START_RETRY_INTERVAL_SECONDS)
                    continue
                raise
            child.ready = True
            self._tell(child, ChildState.READY)
            if self._waiters[spec.name].done():
                self._deaths.put_nowait(child)  # It died between its last probe and now.
            return child

    async def _spawn(self, spec: ChildSpec) -> _Child:
        stdin_end, leash_pipe = os.pipe()
        pid_reader, pid_writer = os.pipe()
        log = open_log(spec.log_path)
        try:
            leash = await asyncio.create_subprocess_exec(
                *leash_command(spec, pid_writer),
                stdin=stdin_end,
                stdout=log,
                stderr=log,
                env=environment(spec),
                pass_fds=(pid_writer,),
                start_new_session=True,
            )
        except BaseException:
            os.close(leash_pipe)
            os.close(pid_reader)
            raise
        finally:
            for descriptor in (stdin_end, pid_writer, log):
                os.close(descriptor)
        try:
            pid = await _read_pid(pid_reader)
        except BaseException:
            os.close(leash_pipe)
            raise
        child = _Child(spec, leash, leash_pipe, pid or leash.pid, time.monotonic())
        self._children[spec.name] = child
        self._waiters[spec.name] = asyncio.create_task(self._notice_end(child))
        self._tell(child, ChildState.STARTED)
        return child

    async def _wait_ready(self, child: _Child) -> None:
        spec = child.spec
        if spec.ready is None:
            return
        reason = "no answer yet"
        within = patient(spec.ready_timeout_seconds)
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if child.leash.returncode is not None:
                code = child.leash.returncode
                reason = f"it ended with {ending_in_words(code)} before it was ready"
                raise StartFailedError(spec, reason, exit_code=code)
            try:
                async with asyncio.timeout(patient(PROBE_TIMEOUT_SECONDS)):
                    found = await spec.ready()
            except (OSError, TimeoutError) as error:
                found = f"{type(error).__name__}: {error}"
            if found is None:
                return
            reason = found
            await asyncio.sleep(PROBE_INTERVAL_SECONDS)
        raise StartFailedError(spec, f"not ready after {within:g} s ({reason})", too_slow=True)

    async def _notice_end(self, child: _Child) -> None:
        code = await child.leash.wait()
        child.let_go()
        if self._children.get(child.spec.name) is child:
            del self._children[child.spec.name]
        if child.ready and not child.stopping:
            self._tell(child, ChildState.DIED, ending_in_words(code))
            self._deaths.put_nowait(child)

    async def _end(self, child: _Child) -> None:
        """Stop signal, grace, end of the leash's input (SIGKILL within its grace), SIGKILL of the leash."""
        child.stopping = True
        ended = self._waiters[child.spec.name]
        with suppress(ProcessLookupError):
            child.leash.send_signal(child.spec.stop_signal)
        if not await _within(child.spec.grace_seconds, ended):
            child.let_go()
            if not await _within(LEASH_END_SECONDS, ended):
                with suppress(ProcessLookupError):
                    child.leash.kill()
        await ended

    async def _restart(self, dead: _Child) -> None:
        spec = dead.spec
        stable = time.monotonic() - dead.started_at > STABLE_AFTER_SECONDS
        attempt = 0 if stable else dead.restarts
        while True:
            await asyncio.sleep(min(RESTART_BACKOFF_SECONDS * 2**attempt, self._backoff_max_seconds))
            if spec.name not in self._order:
                return
            attempt += 1
            try:
                child = await self._bring_up(spec)
            except SupervisorError as error:
                self._tell(dead, ChildState.RESTART_FAILED, str(error))
                continue
            child.restarts = attempt
            return

    def _tell(self, child: _Child, state: ChildState, detail: str = "") -> None:
        if self._on_event is not None:
            with suppress(OSError):  # A terminal or pipe that went away must not end the supervision.
                self._on_event(ChildEvent(name=child.spec.name, state=state, pid=child.pid, detail=detail))


async def _read_pid(reader: int) -> int | None:
    """Read the command's process id, which the leash writes once it has forked; None if it never did."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(reader, readable.set)
    try:
        await readable.wait()
        line = os.read(reader, PID_LINE_BYTES_MAX)
    finally:
        loop.remove_reader(reader)
        os.close(reader)
    return int(line) if line else None


async def _within(seconds: float, task: asyncio.Task[None]) -> bool:
    done, _ = await asyncio.wait((task,), timeout=seconds)
    return bool(done)
