"""Whoever can write every row of ours still cannot have an order placed that risk has not signed: judged by the
exchange's own ledger, which counts every request to place anything.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest

from tests.forgery import entries, misplaced, protective
from tests.forgery.bench import Bench, Case, bench_on
from tests.servers.exchange import ExchangeFactory

CASES_MIN = 500
TICKERS = 150
"""One for each leg that is forged."""
SHORT_EVERY = 7
"""Of the quick selection: each seventh of a group, and at least one of each."""

REFUSED = frozenset({
    "APPROVAL_FORGED", "APPROVAL_UNSIGNED", "APPROVAL_KEY_UNKNOWN", "APPROVAL_KEY_RETIRED", "APPROVAL_TAKEN",
    "ORDER_NOT_AS_SIGNAL", "STALE_APPROVAL", "APPROVED_BEFORE_KILL_SWITCH", "NOT_APPROVED", "LEG_NOT_APPROVED",
    "RECHECK", "OrderNotFound",
})  # fmt: skip
"""What may come of a forgery. Any other end would be one that this test did not mean."""


@pytest.fixture
async def bench(database: str, exchange_factory: ExchangeFactory) -> AsyncIterator[Bench]:
    exchange = await exchange_factory(
        session="always_open", requests_per_minute=1_000_000, cash="10000000", tickers=TICKERS
    )
    async with bench_on(database, exchange) as made:
        yield made


def all_cases() -> list[Case]:
    return [*entries.cases(), *misplaced.cases(), *protective.cases()]


def a_few() -> list[Case]:
    """So many of each group that a change to any check is seen."""
    seen: Counter[str] = Counter()
    chosen = []
    for case in all_cases():
        if seen[case.group] % SHORT_EVERY == 0:
            chosen.append(case)
        seen[case.group] += 1
    return chosen


async def judged(bench: Bench, cases: Sequence[Case]) -> dict[str, object]:
    """Try them all, and hold what came of each against the exchange's ledger."""
    wrong, came_to = [], Counter[str]()
    for case in cases:
        before = await bench.posts() if case.group != "control" else None
        legitimate = bench.legitimate
        found = await case.forge(bench)
        came_to[found] += 1
        if case.group == "control":
            if found != "PLACED":
                wrong.append(f"{case.group}: {case.name} was not placed: {found}")
            continue
        sent = await bench.posts() - (before or 0) - (bench.legitimate - legitimate)
        if found not in REFUSED or sent:
            wrong.append(f"{case.group}: {case.name}: {found}, {sent} POSTs")
    await bench.control()
    posts = await bench.posts()
    assert not wrong, "\n" + "\n".join(wrong)
    groups = Counter(case.group for case in cases)
    forged = sum(groups.values()) - groups["control"]
    return {
        "forged": forged,
        "by_group": dict(groups),
        "came_to": dict(came_to),
        "posts_of_whole_approvals": bench.legitimate,
        "posts_at_the_exchange": posts,
        "forged_at_the_exchange": posts - bench.legitimate,
    }


async def test_a_forged_approval_places_nothing(bench: Bench) -> None:
    """How: some of each kind; `make forged-approvals` tries them all."""
    report = await judged(bench, a_few())
    assert report["forged_at_the_exchange"] == 0, report


async def test_somebody_is_woken_by_a_forgery(database: str) -> None:
    async with bench_on(database) as bench:
        await _woken(bench)


async def _woken(bench: Bench) -> None:
    signal_id = await bench.approved()
    await bench.run("update orders set quantity = 1000 where signal_id = $1", signal_id)
    assert await bench.place(signal_id) == "APPROVAL_FORGED"
    alert = await bench.owner.fetchrow("select severity, text from alerts where code = 'APPROVAL_FORGED'")
    assert alert is not None
    assert alert["severity"] == "critical"
    assert signal_id in alert["text"]
    order = await bench.owner.fetchrow(
        "select status, user_message from orders where signal_id = $1", signal_id
    )
    assert order is not None
    assert (order["status"], order["user_message"][:11]) == ("REJECTED", "Not placed:")


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_no_forged_approval_of_all_places_anything(bench: Bench) -> None:
    cases = all_cases()
    report = await judged(bench, cases)
    print(json.dumps(report))
    assert report["forged_at_the_exchange"] == 0, report
    assert len(cases) >= CASES_MIN, report
