"""docs/SCALING.md shows what benchmarks/scale.json says was measured, and nothing else."""

import json

from benchmarks.scale_page import PAGE, RESULTS, measured, placed

FOUND = json.loads(RESULTS.read_text())


def test_the_page_is_what_was_measured() -> None:
    assert PAGE.read_text() == placed(PAGE.read_text(), FOUND), "python -m benchmarks.scale_page"


def test_one_two_and_four_workers_were_measured_with_four_slots() -> None:
    assert {1, 2, 4} <= {step["workers"] for step in FOUND["steps"] if step["slots"] == 4}


def test_limits_of_temporal_postgresql_and_the_broker_stand_in_their_order() -> None:
    table = measured(FOUND).rpartition("| limit | orders a minute |")[2].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert {name.partition(":")[0] for name, _, _ in rows} >= {"Alpaca", "our PostgreSQL", "Temporal Cloud"}
    rates = [int(rate.replace(",", "")) for _, rate, _ in rows]
    assert rates == sorted(rates)
    assert all(source for _, _, source in rows)


def test_what_a_cluster_needs_follows_from_the_cost() -> None:
    """How: an order that costs twice as much at the database needs twice the processors there."""
    dear = FOUND | {"cost_per_order": json.loads(json.dumps(FOUND["cost_per_order"]))}
    dear["cost_per_order"]["cpu_ms"]["postgres"] = 36_000.0
    [row] = [line for line in measured(dear).splitlines() if line.startswith("| processors for postgres ")]
    assert row == "| processors for postgres | 10 | 1,000 | 100,000 |"
