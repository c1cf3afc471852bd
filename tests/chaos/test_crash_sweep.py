"""A few deaths of the sweep on a whole installation, and that a sweep which shows nothing is none."""

from collections.abc import Callable

import pytest

from tests.servers.processes import needs_proc
from workers.chaos.crash_sweep import POINTS_LEAST, report_of, sweep, whole
from workers.chaos.crash_table import SHORT, Run, plan
from workers.chaos.judge import Verdict
from workers.chaos.report import Report

FIGURES = ("duplicates", "lost", "unapproved", "unfinished")


@needs_proc
@pytest.mark.timeout(300)
async def test_whoever_dies_at_the_most_dangerous_points_loses_and_doubles_nothing() -> None:
    report = await sweep(plan(SHORT, 1), quiet=True, topology="compact")
    assert report.good, report.wrong
    assert report.figures["reached"] == len(SHORT)
    assert [report.figures[name] for name in FIGURES] == [0, 0, 0, 0]


def died(run: Run) -> None:
    run.died = dict.fromkeys(run.points, "execution")


def nobody_died(run: Run) -> None:
    run.died = {}


def a_stranger_died(run: Run) -> None:
    run.died = dict.fromkeys(run.points, "unknown")


def wrong_end(run: Run) -> None:
    died(run)
    run.wrong = "the order never settled"


@pytest.mark.parametrize(
    ("happen", "told"),
    [
        (died, None),
        (nobody_died, "not reached"),
        (a_stranger_died, "none of ours"),
        (wrong_end, "never settled"),
    ],
)
def test_a_sweep_in_which_nobody_died_is_not_good(happen: Callable[[Run], None], told: str | None) -> None:
    runs = plan(["commit placement.intent before"], 1)
    for run in runs:
        happen(run)
    report = report_of(Verdict(), runs, [], seconds=1)
    assert report.good is (told is None)
    assert told is None or told in " ".join(report.wrong)


def test_a_whole_sweep_of_few_points_is_not_good() -> None:
    assert whole(Report("crash_points", {"points": POINTS_LEAST})).good
    assert "39 points" in " ".join(whole(Report("crash_points", {"points": POINTS_LEAST - 1})).wrong)
