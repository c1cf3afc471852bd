"""What tests need to see of the machine's processes (Linux)."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

POLL_SECONDS = 0.05
# Everything is to be gone within 3 s of a kill -9; the bound is wider, as a loaded machine is not our fault.
GONE_WITHIN_SECONDS = 10.0
APPEARS_WITHIN_SECONDS = 60.0
REPOSITORY = Path(__file__).parents[2]

needs_proc = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="reads /proc, as only Linux has it"
)


class Process(NamedTuple):
    """A process that cannot be mistaken for a later one of the same number."""

    pid: int
    started: str
    command: str


def _stat(pid: int) -> tuple[int, Process, str] | None:
    """Return (parent's pid, process, state letter) of a process, None if there is none."""
    try:
        command, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
    except OSError:
        return None
    fields = rest.split()  # proc(5): state is field 3, ppid field 4, starttime field 22.
    return int(fields[1]), Process(pid, fields[19], command), fields[0]


def family(pid: int) -> set[Process]:
    """Return the process and all its living descendants."""
    numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    found = [entry for number in numbers if (entry := _stat(number))]
    members = {process for _, process, _ in found if process.pid == pid}
    pids = {pid}
    while True:
        new = {process for parent, process, _ in found if parent in pids} - members
        if not new:
            return members
        members |= new
        pids |= {process.pid for process in new}


def alive(processes: Iterable[Process]) -> set[Process]:
    """Return those of the processes that still run; a zombie does not."""
    found = set()
    for process in processes:
        entry = _stat(process.pid)
        if entry and entry[1].started == process.started and entry[2] not in "ZX":
            found.add(process)
    return found


async def wait_until(condition: Callable[[], object], *, seconds_max: float, what: str) -> None:
    """Poll until the condition is true; fail the test, naming ``what``, after ``seconds_max``."""
    deadline = time.monotonic() + seconds_max
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds_max:g} s: {what}")
        await asyncio.sleep(POLL_SECONDS)


async def wait_gone(processes: set[Process]) -> None:
    """Fail unless every one of the processes ends."""
    deadline = time.monotonic() + GONE_WITHIN_SECONDS
    while left := alive(processes):
        if time.monotonic() > deadline:
            pytest.fail(f"still running after {GONE_WITHIN_SECONDS:g} s: {sorted(left)}")
        await asyncio.sleep(POLL_SECONDS)
