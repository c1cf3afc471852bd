"""``trading demo`` as its own process: what it reports, and that nothing of it is left, however it ends."""

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.console.commands import PROGRAM, environment
from tests.monitoring.pages import bare, read_for_ever, total
from tests.servers.processes import Process, family, needs_proc, wait_gone, wait_until

DEMO_SECONDS = 200
READY_WITHIN_SECONDS = 120
SERVERS = {"postgres", "temporal"}

pytestmark = [needs_proc, pytest.mark.timeout(2 * DEMO_SECONDS)]


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder that PostgreSQL's user can pass through, as pytest's own is not."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o711)
        yield path


@asynccontextmanager
async def demo(folder: Path, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The demonstration, running; killed at the end if it still does."""
    process = await asyncio.create_subprocess_exec(
        str(PROGRAM), "demo", *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=environment(TMPDIR=str(folder)),
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def is_used(folder: Path) -> bool:
    """Whether anything is in it."""
    return any(folder.iterdir())


async def servers_of(process: asyncio.subprocess.Process) -> set[Process]:
    """Wait until its servers run; the whole family."""

    def up() -> bool:
        return not SERVERS - {member.command for member in family(process.pid)}

    await wait_until(up, seconds_max=READY_WITHIN_SECONDS, what="PostgreSQL and Temporal run")
    return family(process.pid)


@pytest.mark.parametrize("topology", ["compact", "isolated"])
async def test_the_whole_demonstration(folder: Path, topology: str) -> None:
    pages: dict[str, dict[str, float]] = {}
    async with demo(folder, "--json", f"--topology={topology}") as running:
        members = await servers_of(running)
        reading = asyncio.create_task(read_for_ever(folder, pages))
        out, errors = await asyncio.wait_for(running.communicate(), DEMO_SECONDS)
        reading.cancel()
    report = json.loads(out)
    assert running.returncode == 0, (report, errors)
    assert report["ok"] is True
    assert report["problems"] == []
    assert report["outcomes"] == {"FILLED": 9, "CANCELED": 3, "REJECTED": 10}, report
    assert (report["signals"], report["broker_orders"], report["duplicates"]) == (22, 12, 0)
    expected = {
        "ORDER_QUANTITY", "PRICE_COLLAR", "SPREAD_TOO_WIDE", "STALE_MARKET_DATA",
        "SELL_MORE_THAN_HELD", "SHORT_SELLING", "SIGNAL_EXPIRED", "TICKER_EXPOSURE", "MARKET_DATA",
        "STOP_ON_WRONG_SIDE",
    }  # fmt: skip
    assert expected <= set(report["rejections"])
    assert report["temporal_ui"].startswith("http://127.0.0.1:")
    await wait_gone(members)
    assert not is_used(folder), "its folder is gone too"
    each_process_counts_its_own(topology, pages)


def each_process_counts_its_own(topology: str, pages: dict[str, dict[str, float]]) -> None:
    """What was read of every page while it ran: who it is, the SDK's beside ours, and nobody another's work."""
    if topology == "compact":
        assert pages.keys() == {"gateway"}
        assert pages["gateway"]['trading_build_info{mode="paper",service="compact",version="0.1.0"}'] == 1
        return
    assert pages.keys() == {"gateway", "orders", "risk", "execution", "operations", "console", "codec"}
    for process, samples in pages.items():
        told = [name for name in samples if name.startswith("trading_build_info")]
        assert [f'service="{process}"' in name for name in told] == [True], told
        if process not in {"console", "codec"}:  # One asks Temporal when a person does, the other never.
            assert total(samples, "temporal_request") > 0, process
        assert (total(samples, "order_posts_total") > 0) == (process == "execution")
        assert (total(samples, "signals_total") > 0) == (process == "risk")
        assert (total(samples, "events_numbered_total") > 0) == (process == "operations")
        assert (total(samples, "order_submission_latency_ms_count") > 0) == (process == "execution")
        assert ("temporal_workflow_completed" in bare(samples)) == (process in {"orders", "operations"})
    seen = {name: count for name, count in pages["operations"].items() if name.startswith("workers_present")}
    queues = ("orders", "risk", "execution", "operations", "kill-switch")
    assert seen == {
        f'workers_present{{queue="{queue}"}}': 2 if queue == "kill-switch" else 1 for queue in queues
    }
    read = {
        "kill_switch_engaged",
        "open_orders",
        "update_stream_mute_seconds",
        "exposure_pct",
        "outbox_lag_seconds",
    }
    assert read <= bare(pages["operations"])


def _kill(process: asyncio.subprocess.Process) -> None:
    process.kill()


def _terminate(process: asyncio.subprocess.Process) -> None:
    process.terminate()


@pytest.mark.parametrize("end", [_kill, _terminate])
async def test_nothing_is_left_when_it_is_ended(
    folder: Path, end: Callable[[asyncio.subprocess.Process], None]
) -> None:
    async with demo(folder, "--data-dir", str(folder / "kept")) as running:
        members = await servers_of(running)
        end(running)
        out, errors = await asyncio.wait_for(running.communicate(), DEMO_SECONDS)
        assert b"Traceback" not in out + errors
    await wait_gone(members)


async def test_a_folder_in_use_is_refused(folder: Path) -> None:
    (folder / "run").mkdir()
    (folder / "run" / "addresses.json").write_text(json.dumps({"pid": os.getpid()}))
    async with demo(folder, "--data-dir", str(folder), "--json") as running:
        out, _ = await asyncio.wait_for(running.communicate(), DEMO_SECONDS)
    assert running.returncode == 1
    assert "in use" in json.loads(out)["error"]["message"]
