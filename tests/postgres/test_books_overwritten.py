"""What a run adopts, books and leaves alone, on the real database: the sum is always the broker's."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from activities.adoption import Adopter
from schemas.reconciliation import CASH, EXTERNAL, EndRun, Outcome
from storage import journal
from storage.database import Database
from storage.reconciliation import read_readiness
from storage.risk import read_exposures
from tests.postgres.broker_books import (
    PRICE,
    SetBroker,
    Steps,
    activity,
    agrees,
    books,
    fill,
    tell,
    told,
)

D = Decimal


async def test_the_first_start_takes_over_what_the_broker_has(rows: Database, broker: SetBroker) -> None:
    broker.shares = {"AAPL": D(30)}
    broker.activities = [activity("old-fee", "-3")]
    broker.open_order("b-x", "somebody")
    broker.fills = [fill("before", broker_order_id="b-x")]
    report = await Steps(rows, broker).run()
    assert (report.outcome, report.drift, report.booked) == (Outcome.OPENED, D(0), 1)
    assert await agrees(rows, broker)
    assert await told(rows) == []
    assert (await Steps(rows, broker).run()).outcome is Outcome.CLEAN, "what was listed then stays in it"
    async with rows.connection() as connection:
        cost = await connection.fetchval("select cash from positions where ticker = 'AAPL'")
        exposures = await read_exposures(connection)
    assert cost == -30 * D(90), "at what the broker says they cost"
    assert sum(each.reserved_buy for each in exposures if each.strategy == EXTERNAL) == 10


async def test_a_residual_is_journaled_with_before_and_after(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    broker.shares = {"AAPL": D(7)}
    broker.cash -= D("12.34")
    report = await steps.run()
    assert (report.outcome, report.drift) == (Outcome.DRIFT, 7 * PRICE)
    assert await agrees(rows, broker)
    assert await told(rows) == ["CASH", "POSITION_ONLY_THERE"]
    async with rows.connection() as connection:
        entries = await journal.list_journal(connection, report.run_id)
    shares, cash = entries
    assert (shares.cause, shares.strategy, shares.before, shares.after) == ("RESIDUAL", EXTERNAL, D(0), D(7))
    assert (cash.ticker, cash.after) == (CASH, broker.cash)
    assert (await steps.run()).outcome is Outcome.CLEAN


async def test_missing_executions_are_adopted_and_only_the_rest_is_journaled(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    now, steps = datetime.now(UTC), Steps(rows, broker, fill_seconds=0)
    missed = fill("mine")
    external = fill("theirs", quantity=4, price="99", broker_order_id="b-other", executed_at=now)
    broker.fills = [missed, external]
    for each in broker.fills:
        broker.buy(each)
    broker.shares["AAPL"] += 2
    report = await steps.run()
    assert await told(rows) == ["EXTERNAL_FILL", "MISSED_FILL", "POSITION_BIGGER_THERE"]
    assert report.drift == 11 * PRICE, "before anything is adopted"
    assert await agrees(rows, broker)
    async with rows.connection() as connection:
        entries = await journal.list_journal(connection, report.run_id)
        executed = await connection.fetchval("select sum(quantity) from executions")
    assert executed == 5
    assert [(each.cause, each.quantity) for each in entries] == [
        ("EXTERNAL_FILL", D(4)), ("RESIDUAL", D(2)), ("RESIDUAL", D(0))
    ]  # fmt: skip


async def test_a_difference_that_stood_once_changes_nothing(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    broker.shares = {"AAPL": D(500)}
    first = await steps.read("r", 1)
    assert not first.confirmed
    broker.shares = {}
    assert (await steps.read("r", 2)).report is not None
    forged = await steps.overwrite("r2", 2)
    assert forged.report is None, "without two agreeing readings on file nothing is done"
    assert await agrees(rows, broker)
    assert await told(rows) == []


async def test_books_that_moved_since_the_reading_are_read_again(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    """An execution that explains the difference arrives between the second reading and the overwrite."""
    late = fill("late")
    broker.buy(late)
    await steps.read("r", 1)
    assert (await steps.read("r", 2)).confirmed
    await tell(rows, late)
    assert (await steps.overwrite("r", 2)).report is None
    broker.fills = [late]
    last = (await steps.read("r", 3)).report
    assert last is not None
    assert last.outcome is Outcome.CLEAN
    assert await agrees(rows, broker)


@pytest.mark.parametrize("in_vain", [False, True])
async def test_what_was_adopted_is_told_though_the_overwrite_was_not_done(
    rows: Database, broker: SetBroker, steps: Steps, *, in_vain: bool
) -> None:
    """A missed execution is adopted; the rest of the difference explains itself before the overwrite."""
    missed, late = fill("missed", quantity=3), fill("late", quantity=5, cumulative_quantity=D(8))
    broker.fills = [missed]
    for each in (missed, late):
        broker.buy(each)
    await steps.read("r", 1)
    assert (await steps.read("r", 2)).confirmed
    await tell(rows, late)
    assert (await steps.overwrite("r", 2)).report is None
    if in_vain:
        end = EndRun(
            run_id="r", trigger="test", outcome=Outcome.FAILED, detail="gone", as_of=datetime.now(UTC)
        )
        report = await steps.activities.end_reconciliation(end)
    else:
        broker.fills = [missed, late]
        report = (await steps.read("r", 3)).report or pytest.fail("it agrees now")
    assert (report.outcome is Outcome.DRIFT) is not in_vain
    assert (await told(rows), report.drift) == (["MISSED_FILL"], 3 * PRICE)
    assert await agrees(rows, broker)


async def test_two_runs_at_once_overwrite_once(rows: Database, broker: SetBroker, steps: Steps) -> None:
    broker.shares = {"AAPL": D(7)}
    for run in ("a", "b"):
        await steps.read(run, 1)
        assert (await steps.read(run, 2)).confirmed
    answers = await asyncio.gather(*(steps.overwrite(run, 2) for run in ("a", "b", "a")))
    assert {answer.report.run_id for answer in answers if answer.report} in ({"a"}, {"b"})
    assert await agrees(rows, broker)
    assert await told(rows) == ["POSITION_ONLY_THERE"]


async def test_readings_too_close_together_are_one(rows: Database, broker: SetBroker, steps: Steps) -> None:
    """How: by hand, without the workflow's pause."""
    patient = Steps(rows, broker, pause_seconds=2)
    broker.shares = {"AAPL": D(7)}
    await patient.read("r", 1)
    assert (await patient.read("r", 2)).confirmed
    assert (await patient.overwrite("r", 2)).report is None
    assert (await books(rows))[0] == {}


async def test_no_run_is_good_while_an_execution_of_ours_is_not_adopted(
    rows: Database, broker: SetBroker, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = fill("mine")
    broker.buy(done)
    broker.fills = [done]

    async def adopt_nothing(*_: Any, **__: Any) -> None:
        """Find no row for it."""

    monkeypatch.setattr(Adopter, "adopt", adopt_nothing)
    await steps.read("r", 1)
    assert (await steps.read("r", 2)).confirmed
    assert (await steps.overwrite("r", 2)).report is None
    monkeypatch.undo()
    report = (await steps.overwrite("r", 2)).report
    assert report is not None
    assert report.outcome is Outcome.DRIFT
    assert await agrees(rows, broker)


async def test_a_repeated_overwrite_counts_drift_once(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    """3 % adopted twice over, because the answer of the first time was lost, is not 6 %."""
    missed, late = fill("missed", quantity=30), fill("late", cumulative_quantity=D(35))
    broker.fills = [missed]
    for each in (missed, late):
        broker.buy(each)
    await steps.read("r", 1)
    assert (await steps.read("r", 2)).confirmed
    await tell(rows, late)
    for _ in range(2):
        assert (await steps.overwrite("r", 2)).report is None
    broker.fills = [missed, late]
    report = (await steps.read("r", 3)).report
    assert report is not None
    assert (report.drift, report.killed) == (30 * PRICE, False)
    assert await told(rows) == ["MISSED_FILL"]


async def test_nobody_can_call_a_run_good(rows: Database, broker: SetBroker, steps: Steps) -> None:
    async with rows.connection() as connection:
        before = await read_readiness(connection)
    end = EndRun(
        run_id="forged", trigger="x", outcome=Outcome.CLEAN, detail="trust me", as_of=datetime.now(UTC)
    )
    assert (await steps.activities.end_reconciliation(end)).outcome is Outcome.FAILED
    async with rows.connection() as connection:
        assert await read_readiness(connection) == before


async def test_positions_that_a_hand_has_changed_are_written_anew(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    async with rows.connection() as connection:
        await connection.execute("update positions set cash = cash - 1")
    assert (await steps.run()).outcome is Outcome.CLEAN
    assert await agrees(rows, broker)


@pytest.mark.parametrize(
    "attempt", ["update journal set cash = 0", "delete from journal", "truncate journal"]
)
async def test_the_journal_is_append_only(rows: Database, steps: Steps, attempt: str) -> None:
    async with rows.connection() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await connection.execute(attempt)
