"""docs/SCALING.md shows what benchmarks/scale.json says was measured, and nothing else."""

import json

from benchmarks.scale_page import PAGE, RESULTS, measured, placed

FOUND = json.loads(RESULTS.read_text())


def test_the_page_is_what_was_measured() -> None:
    assert PAGE.read_text() == placed(PAGE.read_text(), FOUND), "python -m benchmarks.scale_page"


def test_one_two_and_four_workers_were_measured_with_four_slots() -> None:
    assert {1, 2, 4} <= {step["workers"] for step in FOUND["steps"] if step["slots"] == 4}


def test_what_a_cluster_needs_follows_from_the_cost() -> None:
    """How: an order that costs twice as much at the database needs twice the processors there."""
    dear = FOUND | {"cost_per_order": json.loads(json.dumps(FOUND["cost_per_order"]))}
    dear["cost_per_order"]["cpu_ms"]["postgres"] = 36_000.0
    [row] = [line for line in measured(dear).splitlines() if line.startswith("| processors for postgres ")]
    assert row == "| processors for postgres | 10 | 1,000 | 100,000 |"
