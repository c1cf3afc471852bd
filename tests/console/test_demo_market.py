"""``trading demo --market``: real quotes of two days, and what cannot be played."""

import asyncio
import gzip
import json
from pathlib import Path

import pytest

from tests.console.commands import PROGRAM, environment
from tests.console.test_demo import DEMO_SECONDS, demo, folder
from tests.servers.processes import needs_proc
from tests.servers.recordings import recording

__all__ = ["folder"]

SPY, IBM = "SPY-20131008-second.csv.gz", "IBM-20131009-second.csv.gz"
EVENING = "time,bid,bid_size,ask,ask_size\n2013-10-08T23:00:00Z,1.00,1,1.01,1\n"


@needs_proc
@pytest.mark.timeout(2 * DEMO_SECONDS)
async def test_two_recorded_days_fill_inside_their_quotes(folder: Path) -> None:
    """How: SPY's morning, IBM's wide pre-market a day later, IBM's morning; SPY has no quotes by then."""
    files = [str(recording(name)) for name in (SPY, IBM)]
    async with demo(folder, "--market", files[0], "--market", files[1], "--json") as running:
        out, errors = await asyncio.wait_for(running.communicate(), DEMO_SECONDS)
    report = json.loads(out)
    assert running.returncode == 0, (report, errors)
    assert report["ok"] is True
    assert report["problems"] == []
    assert report["outcomes"] == {"FILLED": 6, "CANCELED": 2, "REJECTED": 5}
    assert report["fills"] >= 6
    assert report["fills_outside_quotes"] == 0
    assert {name.rsplit("-", 2)[0] for name in report["spread_refusals"]} == {"wide-IBM", "closed-IBM"}
    assert {"MARKET_CLOSED", "STALE_MARKET_DATA", "SPREAD_TOO_WIDE"} <= set(report["rejections"])
    days = [scene["at"][:10] for scene in report["market"]["scenes"]]
    assert days == ["2013-10-08", "2013-10-09", "2013-10-09"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--speed", "20.1", "--market", "FILE"), "--speed"),
        (("--speed", "0", "--market", "FILE"), "--speed"),
        (("--speed", "2"), "for recorded quotes"),
        (("--market", "nowhere.csv.gz"), "nowhere.csv.gz"),
        (("--market", "FILE", "--start", "2013-10-08T10:00:00"), "offset"),
        (("--market", "FILE", "--start", "noon"), "--start"),
        (("--market", "FILE", "--start", "2013-10-12T10:00:00-04:00"), "outside"),
        (("--market", "FILE", "--start", "2020-01-02T10:00:00-05:00"), "outside"),
        (("--market", "FILE"), "no morning"),
    ],
)
async def test_what_cannot_be_played_is_bad_usage(
    tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    file = tmp_path / "XYZ-20131008-second.csv.gz"
    file.write_bytes(gzip.compress(EVENING.encode()))
    given = [str(file) if option == "FILE" else option for option in options]
    process = await asyncio.create_subprocess_exec(
        str(PROGRAM), "demo", "--json", *given, stdout=asyncio.subprocess.PIPE, env=environment()
    )
    out, _ = await asyncio.wait_for(process.communicate(), DEMO_SECONDS)
    error = json.loads(out)["error"]
    assert (process.returncode, error["code"]) == (2, "BAD_USAGE")
    assert told in error["message"]
