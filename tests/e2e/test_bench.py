"""The benchmark's short form on a whole installation: every contender is measured, and the results can be read."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.bench_page import measured
from benchmarks.bench_table import sections
from benchmarks.names import NAMES, OURS, PLAIN_STOCK, PLAIN_TUNED, TOPOLOGIES

ROOT = Path(__file__).parents[2]
SECONDS_MAX = 280


@pytest.mark.slow
async def test_the_short_form_measures_every_contender_and_writes_results(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    argv = [sys.executable, "-m", "benchmarks.bench", "--quick", "--only", "compact", "--write", str(file)]
    done = await asyncio.to_thread(
        subprocess.run, argv, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS_MAX,
        env={name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(file.read_text())
    assert not found["not_measured"]
    part = found["parts"]["compact"]
    assert set(part) == {"started_seconds", "latency", "throughput"}
    assert part["latency"]["commits"]["before"] >= 5, "signal, decision, pre-trade check, token, intent"
    rows = {row["contender"]: row for row in part["latency"]["rows"]}
    bursts = {row["contender"]: row for row in part["throughput"]["rows"]}
    assert tuple(rows) == tuple(bursts) == NAMES
    assert not [row for row in (*rows.values(), *bursts.values()) if "failed" in row]
    for row in rows.values():
        assert 0 < row["post_ms"]["p50"] <= row["post_ms"]["p99"]
        assert row["post_ms"]["p50"] < row["acknowledged_ms"]["p50"], "answered after it was sent"
    assert rows[OURS]["eager_starts"] == rows[OURS]["count"], "ours loses its eager starts"
    for plain in (rows[PLAIN_TUNED], rows[PLAIN_STOCK]):
        assert plain["commits"]["before"] == rows[OURS]["commits"]["before"], "not the same work"
        assert plain["eager_starts"] == 0, "samples start as they come"
    # What people read is made of the same file.
    assert [title.partition(":")[0] for title, _, _ in sections(found["parts"])] == [TOPOLOGIES[0]]
    assert "| ours |" in measured(found)
    assert "\x1b" not in done.stdout, "no colours where no terminal is"
