"""Every kind of drift once, on the whole product; and that a pass which tells another story is noticed."""

import asyncio
import json
import sys
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from schemas.reconciliation import CASH, DriftKind, Finding, Outcome, Report
from tests.servers.processes import REPOSITORY, needs_proc
from workers.chaos.drift import TOGETHER, batches, differences
from workers.chaos.drift_desk import Told
from workers.chaos.drift_stories import ALONE, CASH_STORIES, KINDS, STOPPING

NOW = datetime(2026, 11, 23, 15, 15, tzinfo=UTC)
KINDS_LEAST = 25


@needs_proc
@pytest.mark.timeout(300)
async def test_every_kind_is_found_in_one_pass_and_named() -> None:
    """How: the command as a person runs it, everything that can share a pass in one.

    A broker that answers wrongly is another test's (`tests/e2e/test_reconciliation.py`), and the long form's.
    """
    options = "--drift 1 --together 50 --readings 0 --json"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers.chaos", *options.split(), cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert err.decode() == ""
    told = json.loads(out)
    assert process.returncode == 0, told
    assert (told["good"], told["wrong"]) == (True, [])
    assert told["found_in_one_pass_and_named"] == told["made"] == len(KINDS) >= KINDS_LEAST


def found(**fields: Any) -> Report:
    """A pass that found the shares of T1 gone, and ten dollars with them."""
    said = {"detail": "what", "do": "what to do"}
    position = Finding(
        kind=DriftKind.POSITION_ONLY_HERE, subject="T1", ticker="T1", difference=Decimal(-1), **said
    )
    cash = Finding(kind=DriftKind.CASH, subject=CASH, difference=Decimal(-10), **said)
    report = Report(
        run_id="r", trigger="t", outcome=Outcome.DRIFT, started_at=NOW, finished_at=NOW,
        findings=(position, cash), booked=1,
    )  # fmt: skip
    return report.model_copy(update=fields)


WANTED = Told(((DriftKind.POSITION_ONLY_HERE, "T1"),), Decimal(-10), booked=1)


def test_a_pass_that_tells_what_has_happened_is_right() -> None:
    assert differences([WANTED], found()) == []
    assert differences([Told(booked=1), Told()], found(findings=(), outcome=Outcome.CLEAN)) == []


@pytest.mark.parametrize(
    "told",
    [
        found(findings=found().findings[1:]),
        found(findings=found().findings[:1]),
        found(findings=(*found().findings, found().findings[0])),
        found(findings=(found().findings[0].model_copy(update={"ticker": "T2"}), found().findings[1])),
        found(findings=(found().findings[0].model_copy(update={"do": ""}), found().findings[1])),
        found(booked=0),
        found(killed=True),
        found(outcome=Outcome.UNSETTLED),
    ],
    ids=[
        "not found",
        "cash not told",
        "told twice",
        "another's",
        "no advice",
        "not booked",
        "stopped",
        "not ended",
    ],
)
def test_a_pass_that_tells_something_else_is_wrong(told: Report) -> None:
    assert differences([WANTED], told)


def test_a_round_holds_every_kind_once_and_keeps_apart_what_cannot_be_told_apart() -> None:
    passes = batches(list(KINDS), Random(1), TOGETHER)
    assert sorted(name for names in passes for name in names) == sorted(KINDS)
    assert all(sum(name in CASH_STORIES for name in names) <= 1 for names in passes)
    assert all([name] in passes for name in ALONE)
    assert list(STOPPING) in passes
