"""docs/BENCHMARKS.md shows what benchmarks/results.json says was measured; an aim that is missed is said to be."""

import json
from typing import Any

from benchmarks.aims import aims, bounds
from benchmarks.bench_page import PAGE, RESULTS, placed
from benchmarks.names import BONES, EQUAL, OURS, PLAIN_STOCK
from benchmarks.rival_workflows import shares

FOUND = json.loads(RESULTS.read_text())


def parts(
    *, ours: float, floor: float, plain: float, events: float = 35, seconds: float = 0.2
) -> dict[str, Any]:
    """What the aims are read from."""
    rows = [
        {"contender": name, "post_ms": {"p50": post}, "history_events": events}
        for name, post in ((OURS, ours), (EQUAL, floor), (PLAIN_STOCK, plain))
    ]
    commands = [{"command": f"trading {name}", "seconds_p50": seconds} for name in ("--help", "status")]
    return {"compact": {"latency": {"rows": rows}}, "start": {"command_line": commands}}


def test_the_page_is_what_was_measured() -> None:
    assert PAGE.read_text() == placed(PAGE.read_text(), FOUND), "python -m benchmarks.bench_page"


def test_an_aim_is_met_at_its_edge_and_missed_beyond() -> None:
    at_the_edge = aims(parts(ours=15, floor=10, plain=45, events=40, seconds=0.3))
    assert [each.word for each in at_the_edge] == ["met"] * 5
    beyond = aims(parts(ours=15.2, floor=10, plain=45, events=41, seconds=0.31))
    assert [each.word for each in beyond] == ["NOT MET"] * 5


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert {each.word for each in aims({})} == {"not measured"}
    failed = parts(ours=1, floor=1, plain=9)
    failed["compact"]["latency"]["rows"][1] = {"contender": EQUAL, "failed": "it did not answer"}
    assert next(iter(aims(failed))).word == "not measured"


def test_an_aim_is_told_in_milliseconds_beside_those_that_check_nothing() -> None:
    found = parts(ours=47, floor=20, plain=60)
    assert bounds(found) == [], "not without our workflow's bones"
    found["compact"]["latency"]["rows"].append({"contender": BONES, "post_ms": {"p50": 28}})
    one, other = bounds(found)
    assert "30.0 ms" in one
    assert "28.0 ms" in one
    assert "20.0 ms. The floor" in other
    assert other.endswith("after 20.0 ms.")


def test_the_plain_pipeline_makes_as_many_commits_as_ours() -> None:
    assert [shares(commits, 4) for commits in (4, 5, 2)] == [[1, 1, 1, 1], [2, 1, 1, 1], [1, 1, 0, 0]]
