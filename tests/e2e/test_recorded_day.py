"""The example strategy on a recorded morning: it proposes over HTTP, and the books agree in the end."""

import asyncio
import json
import sys

import pytest

from tests.servers.processes import REPOSITORY, needs_proc
from tests.servers.recordings import recording

DAY_SECONDS = 200


@needs_proc
@pytest.mark.timeout(2 * DAY_SECONDS)
async def test_a_morning_of_the_moving_average_is_explained_and_booked_alike() -> None:
    """How: SPY's first minutes of 8 October 2013 at speed 20, half a minute of ours."""
    file = recording("SPY-20131008-second.csv.gz")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "examples/day.py", "--market", str(file), "--start", "09:26", "--until", "09:34",
        cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, errors = await asyncio.wait_for(process.communicate(), DAY_SECONDS)
    assert process.returncode == 0, (out, errors)
    report = json.loads(out)
    assert report["ok"] is True
    assert report["problems"] == []
    assert report["outcomes"].get("FILLED", 0) >= 2, f"it bought, and sold when the day was over: {report}"
    assert report["explained"] == report["orders"]
    assert report["drift_events"] == 0
    assert (report["fills"] >= 2, report["fills_outside_quotes"], report["positions"]) == (True, 0, {})
