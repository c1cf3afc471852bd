"""Fees, dividends, deposits: booked once, whenever they are listed; and a day's result."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from risk.day_result import day_result
from schemas.reconciliation import DriftKind, Outcome, StepAnswer
from storage import journal
from storage.database import Database
from tests.postgres.broker_books import (
    LAST_DAY_PRICE,
    PRICE,
    SetBroker,
    Steps,
    activity,
    agrees,
    fill,
    own_order,
    tell,
    told,
)

D = Decimal


async def test_fees_and_dividends_are_booked_once_and_are_no_drift(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    broker.activities = [activity("fee", "-1.23"), activity("dividend", "5", "DIV")]
    broker.cash += D("3.77")
    report = await steps.run()
    assert (report.outcome, report.booked) == (Outcome.CLEAN, 2)
    assert await agrees(rows, broker)
    again = await steps.run()
    assert (again.outcome, again.booked) == (Outcome.CLEAN, 0)
    assert await told(rows) == []


async def test_cash_that_moves_before_its_activity_is_listed_is_told_once(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    broker.cash -= 5
    assert (await steps.run()).drift == 5
    broker.activities = [activity("fee", "-5")]
    report = await steps.run()
    assert (report.outcome, report.booked, report.drift) == (Outcome.CLEAN, 1, D(0))
    assert await agrees(rows, broker)
    assert (await steps.run()).booked == 0
    assert await told(rows) == ["CASH"]
    async with rows.connection() as connection:
        entries = await journal.list_journal(connection, report.run_id)
    assert [(each.cause, each.cash) for each in entries] == [("ACTIVITY", D(-5)), ("REVERSAL", D(5))]


@pytest.mark.parametrize(
    ("before", "listed", "meanwhile"),
    [
        ("-7", ["-3", "-4"], "0"),
        ("-5", ["-3"], "0"),
        ("11", ["4", "-2"], "-2"),
    ],
    ids=["two in one", "less than was found", "one before and one not"],
)
async def test_what_an_overwrite_has_of_an_activity_is_reversed_and_no_more(
    rows: Database, broker: SetBroker, steps: Steps, before: str, listed: list[str], meanwhile: str
) -> None:
    broker.cash += D(before)
    await steps.run()
    broker.cash += D(meanwhile)
    for number, amount in enumerate(listed):
        broker.activities.append(activity(f"a{number}", amount))
    report = await steps.run()
    assert (report.outcome, report.booked) == (Outcome.CLEAN, len(listed))
    assert await agrees(rows, broker)
    assert await told(rows) == ["CASH"]


async def test_an_activity_whose_cash_has_moved_since_leaves_an_older_difference_alone(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    broker.cash -= 5
    await steps.run()
    broker.cash -= 5
    broker.activities = [activity("another", "-5")]
    assert (await steps.run()).outcome is Outcome.CLEAN
    assert await agrees(rows, broker)
    async with rows.connection() as connection:
        assert await connection.fetchval("select count(*) from journal where cause = 'REVERSAL'") == 0


async def test_more_than_was_left_unexplained_is_a_difference(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    """Of 8 that are listed 5 were found before; 3 more are listed than have ever moved: nobody knows what it is."""
    opened_before = (
        "update journal set snapshot_at = snapshot_at - interval '30 days' where cause = 'OPENING'"
    )
    async with rows.connection() as connection:
        await connection.execute(f"alter table journal disable trigger user; {opened_before}")
    broker.cash -= 5
    await steps.run()
    broker.activities = [activity("fee", "-8")]
    report = await steps.run()
    assert [(found.kind, found.difference) for found in report.findings] == [(DriftKind.CASH, D(8))]
    assert await agrees(rows, broker)
    assert (await steps.run()).outcome is Outcome.CLEAN


async def test_a_new_difference_beside_an_ordinary_fee_is_told_whole(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    broker.cash += 1000
    broker.cash -= 3
    broker.activities = [activity("fee", "-3")]
    report = await steps.run()
    assert [(found.kind, found.difference) for found in report.findings] == [(DriftKind.CASH, D(1000))]
    assert await agrees(rows, broker)


async def test_a_fee_of_the_days_before_the_first_start_is_in_what_was_taken_over(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    broker.activities = [activity("old", "-3")]
    report = await steps.run()
    assert (report.outcome, report.booked) == (Outcome.CLEAN, 1)
    assert await agrees(rows, broker)


async def test_what_may_be_late_waits_until_cash_can_be_judged(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    broker.cash -= 5
    await steps.run()
    young = fill("young", executed_at=datetime.now(UTC))
    broker.buy(young)
    broker.fills, broker.activities = [young], [activity("fee", "-5")]
    report = await steps.run()
    assert (report.outcome, report.left_out, report.booked) == (Outcome.CLEAN, 1, 0)
    await tell(rows, young)
    assert (await steps.run()).booked == 1
    assert await agrees(rows, broker)
    assert await told(rows) == ["CASH"]


async def test_what_was_overwritten_long_before_a_pause_of_days_keeps_no_run_from_its_end(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    """How: the overwrite is eight days old, the last run three, and now a fee of since then is listed."""
    broker.cash -= 5
    await steps.run()
    async with rows.transaction("test") as connection:
        await connection.execute("set local session_replication_role = replica")
        await connection.execute(
            "update journal set snapshot_at = snapshot_at - interval '8 days' where cause = 'RESIDUAL'"
        )
        await connection.execute("update reconciliations set market_at = market_at - interval '3 days'")
    fee = activity("fee", "-5")
    broker.activities = [fee.model_copy(update={"day": datetime.now(UTC).date() + timedelta(days=1)})]
    assert (await steps.run()).booked == 1
    assert await agrees(rows, broker)
    assert await told(rows) == ["CASH"]


async def test_two_runs_at_once_book_what_is_late_once(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    broker.cash -= 5
    await steps.run()
    broker.activities = [activity("fee", "-5")]
    answers = await asyncio.gather(*(steps.read(run, 1) for run in ("a", "b")), return_exceptions=True)
    assert any(isinstance(answer, StepAnswer) and answer.report for answer in answers)
    assert all(getattr(answer, "type", "SNAPSHOT_MOVED") == "SNAPSHOT_MOVED" for answer in answers)
    assert await agrees(rows, broker)


async def test_what_another_run_overwrites_meanwhile_is_booked_once(
    rows: Database, broker: SetBroker, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: the activity is listed after the other's two readings, and its cash is overwritten after ours."""
    broker.cash -= 5
    await steps.read("other", 1)
    assert (await steps.read("other", 2)).confirmed
    broker.activities = [activity("fee", "-5")]
    read_quietly = steps.activities._read_quietly

    async def then_overwritten(started: datetime) -> Any:
        found = await read_quietly(started)
        await steps.overwrite("other", 2)
        return found

    monkeypatch.setattr(steps.activities, "_read_quietly", then_overwritten)
    with pytest.raises(ApplicationError, match="booked meanwhile"):
        await steps.read("ours", 1)
    monkeypatch.undo()
    assert (await steps.read("ours", 1)).report is not None
    assert await agrees(rows, broker)
    assert await told(rows) == ["CASH"]


async def test_a_days_result_is_what_the_broker_says(rows: Database, broker: SetBroker) -> None:
    """30 shares carried at 95, 5 bought at 98, a fee, a deposit, and cash that nothing explains."""
    broker.shares = {"AAPL": D(30)}
    steps = Steps(rows, broker, fill_seconds=0)
    assert (await steps.run()).outcome is Outcome.OPENED
    await own_order(rows)
    broker.open_order("b-own", "ti-own")
    began_with = broker.cash + 30 * LAST_DAY_PRICE
    bought = fill("b", quantity=5, price="98", executed_at=datetime.now(UTC))
    broker.fills = [bought]
    broker.buy(bought)
    await tell(rows, bought)
    broker.activities = [activity("fee", "-2.5"), activity("deposit", "1000", "CSD")]
    broker.cash += D("997.5") - D("12.34")
    await steps.run()
    async with rows.connection() as connection:
        day, then = await journal.read_trading_day(connection, datetime.now(UTC))
        assert day is not None
        moves = await journal.read_day(connection, day.began_at)
    result = day_result(moves, then, {"AAPL": PRICE})
    equity = broker.cash + 35 * PRICE
    assert result.result == equity - began_with - 1000
    assert (result.unexplained, result.transferred) == (D("-12.34"), D(1000))
    assert day_result(moves, {}, {"AAPL": PRICE}).unpriced == ("AAPL",), "no guess without a price"


async def test_what_is_no_loss_is_no_result_either(rows: Database, broker: SetBroker, steps: Steps) -> None:
    """Money paid in or out has one list of words, for the peak of equity and for a day's result."""
    paid = [activity(kind, "10", kind) for kind in ("CSD", "CSR", "WIRE")]
    assert all(each.is_transfer for each in paid)
    broker.activities = paid
    broker.cash += 30
    assert (await steps.run()).booked == 3
    async with rows.connection() as connection:
        day, then = await journal.read_trading_day(connection, datetime.now(UTC))
        assert day is not None
        result = day_result(await journal.read_day(connection, day.began_at), then, {})
    assert (result.result, result.transferred) == (D(0), D(30))
