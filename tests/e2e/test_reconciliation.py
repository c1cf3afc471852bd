"""Our books become the broker's, whatever happened to them; judged by the broker's own numbers."""

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from schemas.reconciliation import Outcome, Report, SnapshotOrder
from schemas.wire import Queue
from tests.e2e import books
from tests.e2e.books import QUIET, count
from tests.servers.stack import Stack, StackFactory, signal
from workers.roles import reconciliation_of
from workflows.policies import READINGS_MAX

DRIFT_EVENTS = "select count(*) from events where topic = 'system.state_drift'"


async def test_a_bad_read_never_changes_the_books(stack_factory: StackFactory, unique: Any) -> None:
    """How: with a queue for each role."""
    stack = await stack_factory(ours=QUIET, topology="isolated")
    await books.filled(stack, unique, "AAPL", 10)
    await books.filled(stack, unique, "MSFT", 5)
    before = await books.here(stack)
    for path, action in (
        ("/v2/positions", "short_list"),
        ("/v2/positions", "status_500"),
        ("/v2/account", "status_502"),
        ("/v2/orders", "drop_after_landing"),
        ("/v2/account/activities/FILL", "status_504_after_landing"),
    ):
        await stack.control(
            "faults", {"match": {"method": "GET", "path": path}, "action": action, "times": 1}
        )
        report = await books.reconcile(stack, Queue.OPERATIONS.value)
        assert report.outcome is Outcome.CLEAN, (path, action, report)
        assert await books.here(stack) == before == await books.there(stack), (path, action)
    assert (await stack.ledger())["faults"].keys() >= {"short_list", "status_500", "status_502"}
    assert await count(stack, DRIFT_EVENTS) == 0


@pytest.mark.parametrize(
    "passes",
    [
        pytest.param(60, marks=pytest.mark.timeout(300)),
        pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
async def test_passes_with_fills_in_flight_raise_nothing(
    stack_factory: StackFactory, unique: Any, passes: int
) -> None:
    """Half of the executions are told only by the fill list, up to a second late."""
    stack = await stack_factory(ours={"reconcile_pause_seconds": 0.05}, tickers=20)
    reports: list[Report] = []
    passing = asyncio.create_task(_pass(stack, passes, reports))
    async with asyncio.TaskGroup() as others:
        others.create_task(_trade(stack, unique, passing, reports))
        others.create_task(_lose_and_catch_up(stack, passing))
    await passing
    assert {report.outcome for report in reports} == {Outcome.CLEAN}
    assert sum(report.left_out for report in reports), "nothing was ever in flight: this shows nothing"
    assert await count(stack, DRIFT_EVENTS) == 0
    await stack.parts.catch_up.run(orders=True)
    assert await books.here(stack) == await books.there(stack)
    assert await count(stack, "select count(*) from executions") > passes / 20


async def _pass(stack: Stack, times: int, reports: list[Report]) -> None:
    """The workflow's own steps in its own order, without the engine: two hundred of them in ten seconds.

    Each report is there as soon as its pass is over: whoever trades waits for it.
    """
    read, overwrite, _ = reconciliation_of(stack.parts)
    for _ in range(times):
        reports += [await _steps(read, overwrite)]


async def _steps(read: Any, overwrite: Any) -> Report:
    run_id = str(uuid.uuid4())
    for number in range(1, READINGS_MAX + 1):
        order = SnapshotOrder(run_id=run_id, number=number, trigger="a test", as_of=datetime.now(UTC))
        answer = await _tried(read, order)
        if answer.confirmed:
            answer = await overwrite(order)
        if answer.report is not None:
            report: Report = answer.report
            return report
        await asyncio.sleep(answer.look_again_seconds)
    raise AssertionError("no two readings agreed")


async def _tried(read: Any, order: SnapshotOrder) -> Any:
    while True:
        try:
            return await read(order)
        except ApplicationError as error:
            if error.type != "SNAPSHOT_MOVED":
                raise
            await asyncio.sleep(0.1)


async def _trade(stack: Stack, unique: Any, until: "asyncio.Task[Any]", reports: list[Report]) -> None:
    """At most one signal a pass: where a reading takes longer than a fill, no two would ever agree."""
    number = 0
    while not until.done():
        number += 1
        ticker = f"T{number % 20 + 1:04d}"
        passed = len(reports)
        await stack.submit(signal(unique("flow"), ticker=ticker, quantity="1"))
        await asyncio.sleep(0.4)
        while len(reports) == passed and not until.done():
            await asyncio.sleep(0.05)


async def _lose_and_catch_up(stack: Stack, until: "asyncio.Task[Any]") -> None:
    while not until.done():
        lost = {"match": {"stream": "trade_updates", "event": "fill"}, "action": "drop_frame", "times": 2}
        await stack.control("faults", lost)
        await asyncio.sleep(1)
        await stack.parts.catch_up.run(orders=False)


async def test_orders_wait_until_the_books_are_known(stack_factory: StackFactory, unique: Any) -> None:
    """Nothing is refused meanwhile, and the reason can be seen."""
    stack = await stack_factory(ours=QUIET)
    await books.filled(stack, unique, "AAPL", 1)
    broken = {"match": {"method": "GET", "path": "/v2/positions"}, "action": "status_500", "times": 999}
    await stack.control("faults", broken)
    async with stack.parts.database.connection() as connection:
        await connection.execute(
            "update reconciliations set finished_at = finished_at - interval '20 minutes'"
            " where finished_at is not null"
        )
    posts = (await stack.ledger())["posts_total"]
    signal_id = unique("waits")
    await stack.submit(signal(signal_id))
    async with asyncio.timeout(20):
        while "NOT_RECONCILED" not in await _why(stack, signal_id):
            await asyncio.sleep(0.05)
    assert (await stack.ledger())["posts_total"] == posts
    await stack.exchange_http.delete("/_exchange/faults")
    assert (await stack.settled(signal_id))["status"] == "FILLED"


async def _why(stack: Stack, signal_id: str) -> str:
    described = await stack.workflow(signal_id).describe()
    return str(described.raw_description.pending_activities)
