"""No commit and no call without a scenario that dies on either side of it."""

import pytest

from workers.chaos.crash_table import SCENARIOS, SHORT, cover, plan
from workers.chaos.points import MOMENTS, names, points


def test_every_point_is_covered_by_a_scenario() -> None:
    uncovered = set(names()) - cover().keys()
    assert not uncovered, f"name them in `covers` of a scenario that passes them: {sorted(uncovered)}"
    gone = cover().keys() - set(names())
    assert not gone, f"no such commit or call any more, take them out of `covers`: {sorted(gone)}"


def test_every_scenario_has_its_turn() -> None:
    assert {run.scenario for run in plan()} == set(SCENARIOS)


@pytest.mark.parametrize("repeats", [1, 3])
def test_the_sweep_dies_before_and_after_each_as_often_as_asked(repeats: int) -> None:
    planned = [point for run in plan(repeats=repeats) for point in run.points]
    assert sorted(planned) == sorted(points() * repeats)
    assert len(points()) == len(names()) * len(MOMENTS)


def test_a_part_of_the_sweep_can_be_asked_for() -> None:
    assert {each for run in plan(["*placement.intent *"]) for each in run.points} == {
        "commit placement.intent before",
        "commit placement.intent after",
    }
    assert sorted(each for run in plan(SHORT, 1) for each in run.points) == sorted(SHORT)
