"""Cold start: `trading up` from an empty folder, and again on what is there; and the command line's own start."""

import asyncio
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg

from risk.readiness import waits_for
from storage.reconciliation import read_readiness
from workers.children import ChildSpec
from workers.datadir import DataDir, DataDirError, temporary_data_dir
from workers.healthy import problem
from workers.supervisor import Supervisor

UP: Final = "trading-up"
READY_WITHIN_SECONDS: Final = 120.0
STOP_WITHIN_SECONDS: Final = 60.0
PROBE_SECONDS: Final = 1.0
BUDGET_SECONDS: Final = 60.0
"""Until the broker's requests of a minute are there again."""
LOOK_SECONDS: Final = 0.02
CALL_SECONDS_MAX: Final = 60.0
REFUSED: Final = 1
"""Of `trading status`: it was told, and something is wrong."""
PYTHON: Final = "python, nothing else"


async def measure(calls: int) -> dict[str, Any]:
    """Two starts in one folder; the command line's calls take turns, while the first installation runs.

    The second start is a minute later: a start asks the broker for much, and the requests of that minute are one
    budget, which a start right after another would wait for.
    """
    with temporary_data_dir() as data_dir:
        folder = DataDir(data_dir.root / "installation")
        first = await _start(folder, data_dir.log("first"), then=lambda: _command_line(folder, calls))
        await asyncio.sleep(BUDGET_SECONDS)
        second = await _start(folder, data_dir.log("second"))
    return {"empty_folder": first, "again": second, "command_line": first.pop("found")}


async def _start(
    folder: DataDir, log: Path, *, then: Callable[[], list[dict[str, Any]]] | None = None
) -> dict[str, Any]:
    """Seconds until the gateway says ready, and until an order would be placed; ``then`` is called meanwhile."""
    trading = str(Path(sys.executable).with_name("trading"))

    async def ready() -> str | None:
        try:
            url = folder.read_addresses()["gateway_url"]
        except DataDirError as error:
            return str(error)
        return await asyncio.to_thread(problem, f"{url}/readyz", PROBE_SECONDS)

    spec = ChildSpec(
        name=UP,
        argv=(trading, "up", "--data-dir", str(folder.root)),
        log_path=log,
        grace_seconds=STOP_WITHIN_SECONDS,
        ready=ready,
        ready_timeout_seconds=READY_WITHIN_SECONDS,
    )
    async with Supervisor() as supervisor:
        began = time.monotonic()
        await supervisor.start(spec)
        is_ready = time.monotonic() - began
        await _until_trading(folder)
        trades = time.monotonic() - began
        found = None if then is None else await asyncio.to_thread(then)
        began = time.monotonic()
        await supervisor.stop(UP)
        stopped = time.monotonic() - began
    return {
        "ready_seconds": round(is_ready, 2), "trading_seconds": round(trades, 2),
        "stop_seconds": round(stopped, 2), **({} if found is None else {"found": found}),
    }  # fmt: skip


async def _until_trading(folder: DataDir) -> None:
    connection = await asyncpg.connect(folder.read_addresses()["database_url"])
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    try:
        while (waits := waits_for(await read_readiness(connection), datetime.now(UTC))) is not None:
            if time.monotonic() > deadline:
                raise RuntimeError(f"no order would be placed after {READY_WITHIN_SECONDS:g} s: {waits}")
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        await connection.close()


def _command_line(folder: DataDir, calls: int) -> list[dict[str, Any]]:
    """Each command in turn, so often; Python alone beside them."""
    trading = shutil.which("trading", path=str(Path(sys.executable).parent)) or "trading"
    commands: dict[str, Sequence[str]] = {
        PYTHON: (sys.executable, "-c", "pass"),
        "trading --help": (trading, "--help"),
        "trading status": (trading, "status", "--data-dir", str(folder.root)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(calls + 1):
        for name, argv in commands.items():
            began = time.monotonic()
            done = subprocess.run(
                argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False, timeout=CALL_SECONDS_MAX
            )
            if done.returncode > REFUSED:
                raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr.decode()}")
            if number:  # The first one reads the files from disk.
                seconds[name].append(time.monotonic() - began)
    return [
        {"command": name, "calls": calls, "seconds_p50": round(statistics.median(each), 3),
         "seconds_max": round(max(each), 3)}
        for name, each in seconds.items()
    ]  # fmt: skip
