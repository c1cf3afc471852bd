"""Everything on one machine as a child of the demonstration, gone when the demonstration is gone."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from console.addresses import Addresses, find
from console.errors import DependencyDown, Refused

READY_SECONDS: Final = 90.0
POLL_SECONDS: Final = 0.05
STOP_SECONDS: Final = 45.0
"""Above the supervisor's own: gateway and workers 25 s, then the servers."""
LEASH_SECONDS: Final = 10.0
TAIL_LINES: Final = 15


@asynccontextmanager
async def stack(
    data_dir: Path, options: Sequence[str], on_event: Callable[[dict[str, Any]], None]
) -> AsyncIterator[Addresses]:
    """Run ``trading up`` in ``data_dir`` until the block ends; yields its addresses once it is ready.

    ``on_event`` gets what the supervisor tells of its children. However this process ends, ``kill -9``
    included, the leash ends the rest.

    Raises:
        Refused: something runs in that folder already.
        DependencyDown: it did not come up; the message holds the end of its log.
    """
    if find(data_dir).running:
        raise Refused(f"{data_dir} is in use", do="stop what runs there, or choose another --data-dir")
    log = data_dir / "logs" / "demo-up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    leash_end, our_end = os.pipe()
    try:
        process = await _spawn(data_dir, options, log, leash_end)
    except BaseException:
        os.close(our_end)
        raise
    try:
        await _ready(process, log, on_event)
        yield find(data_dir)
    finally:
        try:
            await _stop(process)
        finally:
            os.close(our_end)
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), LEASH_SECONDS)


async def _spawn(
    data_dir: Path, options: Sequence[str], log: Path, leash_end: int
) -> asyncio.subprocess.Process:
    found = find_spec("workers.leash")
    if found is None or found.origin is None:
        raise Refused("this installation has no workers", do="install trading-interface again")
    supervisor = [sys.executable, "-P", "-m", "workers.up", "--json", "--data-dir", str(data_dir), *options]
    command = [sys.executable, "-I", "-S", found.origin, "--stop-signal=SIGTERM", "--", *supervisor]
    with log.open("wb") as out:
        try:
            # A session of its own: Ctrl-C reaches this process alone, which then stops the rest in order.
            return await asyncio.create_subprocess_exec(
                *command, stdin=leash_end, stdout=out, stderr=out, start_new_session=True
            )
        finally:
            os.close(leash_end)


async def _ready(
    process: asyncio.subprocess.Process, log: Path, on_event: Callable[[dict[str, Any]], None]
) -> None:
    deadline = time.monotonic() + READY_SECONDS
    with log.open("rb") as lines:
        pending = b""
        while True:
            pending += lines.read()
            *whole, pending = pending.split(b"\n")
            for line in whole:
                event = _event(line)
                if "ready" in event:
                    return
                if event:
                    on_event(event)
            if process.returncode is not None or time.monotonic() > deadline:
                raise _not_up(process, log)
            if not whole:
                await asyncio.sleep(POLL_SECONDS)


def _event(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _not_up(process: asyncio.subprocess.Process, log: Path) -> DependencyDown:
    how = "not ready in time" if process.returncode is None else f"exit code {process.returncode}"
    lines = log.read_text(errors="replace").splitlines()
    told = "\n".join(f"    {line}" for line in lines[-TAIL_LINES:] if not line.startswith("{"))
    return DependencyDown(f"the stack did not come up: {how}\n{told}", do=f"see {log.parent}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Stop in order. Who waits no longer (a second Ctrl-C, the time limit) leaves the rest to the leash."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
