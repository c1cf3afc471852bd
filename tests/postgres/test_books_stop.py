"""When drift stops trading, and what keeps orders waiting."""

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities.broker_state import check_whole
from activities.drift_kill import carry_out_kill
from broker.errors import NetworkError
from risk.readiness import waits_for
from schemas.alerts import AlertCode
from schemas.broker import Position
from schemas.orders import Side
from schemas.reconciliation import EndRun, Outcome
from storage.alerts import read_raised
from storage.database import Database
from storage.reconciliation import kills_due, read_readiness
from storage.switches import read_state, stream_connected, stream_seen
from tests.postgres.broker_books import PRICE, SetBroker, Steps, agrees, books, fill, told

D = Decimal


@pytest.mark.parametrize(("cents_over", "trips"), [(0, False), (1, True)])
async def test_more_than_five_per_cent_engages_the_kill_switch_once(
    rows: Database, broker: SetBroker, steps: Steps, cents_over: int, trips: bool
) -> None:
    broker.equity = D(100_000)
    broker.cash -= 5_000 + D(cents_over) / 100
    report = await steps.run()
    assert report.killed is trips
    async with rows.connection() as connection:
        state = await read_state(connection)
    assert state.engaged is trips
    if trips:
        assert state.triggered_by == "DriftMonitor"
        assert "STATE_DRIFT" in (state.reason or "")
        await steps.overwrite(report.run_id, 2)
        async with rows.connection() as connection:
            repeats = await connection.fetchval(
                "select count(*) from audit_log where decision in ('KILL_ENGAGED', 'KILL_REPEATED')"
            )
        assert repeats == 1, "the repeat of a step must not undo a release"


async def adopt_and_die(broker: SetBroker, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run adopts 60 shares that were missed, and its worker dies before it has told of them."""
    missed = fill("missed", quantity=60)
    broker.fills = [missed]
    broker.buy(missed)
    await steps.read("r", 1)
    assert (await steps.read("r", 2)).confirmed

    async def die(*_: Any) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(steps.activities, "_overwrite", die)
    with pytest.raises(RuntimeError, match="killed"):
        await steps.overwrite("r", 2)


async def test_drift_is_told_and_stops_trading_though_the_worker_dies_after_adopting_it(
    rows: Database, broker: SetBroker, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    await adopt_and_die(broker, steps, monkeypatch)
    assert await agrees(rows, broker), "it was adopted"
    monkeypatch.undo()
    report = (await steps.read("r", 3)).report or pytest.fail("nothing differs any more")
    assert (report.outcome, report.drift) == (Outcome.DRIFT, 60 * PRICE)
    assert await told(rows) == ["MISSED_FILL"]
    async with rows.connection() as connection:
        assert (await read_state(connection)).engaged


async def test_what_a_run_had_adopted_is_told_and_stops_trading_though_its_workflow_is_over(
    rows: Database, broker: SetBroker, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: no worker comes back before Temporal gives the run up; the next one finds nothing that differs."""
    await adopt_and_die(broker, steps, monkeypatch)
    monkeypatch.undo()
    assert (await steps.run()).outcome is Outcome.CLEAN
    assert await told(rows) == [], "it may still be under way"
    async with rows.connection() as connection:
        await connection.execute("update reconciliations set started_at = started_at - interval '7 minutes'")
    assert (await steps.run()).outcome is Outcome.CLEAN
    assert (await steps.run()).outcome is Outcome.CLEAN
    assert await told(rows) == ["MISSED_FILL"]
    async with rows.connection() as connection:
        assert (await read_state(connection)).engaged


async def test_no_order_goes_out_between_the_decision_to_stop_and_the_kill_switch(
    rows: Database, broker: SetBroker, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.equity = D(50_000)
    broker.cash -= 10_000

    async def die(run_id: str) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(steps.activities, "_stop", die)
    with pytest.raises(RuntimeError, match="killed"):
        await steps.run()
    now = datetime.now(UTC)
    async with rows.connection() as connection:
        assert "kill switch is being engaged" in (waits_for(await read_readiness(connection), now) or "")
        (run_id,) = await kills_due(connection)
    await rows.run("test", lambda connection: carry_out_kill(connection, run_id, now))
    async with rows.connection() as connection:
        assert (await read_state(connection)).engaged
        assert not (await read_readiness(connection)).kill_due


@pytest.mark.parametrize(("worth", "whole"), [("0", True), ("0.01", True), ("0.02", False), ("7000", False)])
async def test_shares_that_are_worth_nothing_are_a_whole_list(
    broker: SetBroker, worth: str, *, whole: bool
) -> None:
    broker.worth = D(worth)
    gone = Position(
        ticker="GONE", quantity=D(100), average_entry_price=D(5), market_value=D(0), current_price=D(0),
        side=Side.BUY,
    )  # fmt: skip
    with nullcontext() if whole else pytest.raises(NetworkError, match="not whole"):
        check_whole(await broker.get_account(), [gone])


@pytest.mark.parametrize("sign_of_life", [stream_connected, stream_seen])
async def test_only_a_silence_of_over_a_minute_is_a_gap(rows: Database, sign_of_life: Any) -> None:
    now = datetime.now(UTC)
    async with rows.connection() as connection:
        await stream_connected(connection, now)
        for seconds, gap in ((60, None), (120.001, now + timedelta(seconds=120.001))):
            await sign_of_life(connection, now + timedelta(seconds=seconds))
            assert (await read_readiness(connection)).gap_ended_at == gap


async def test_a_start_however_short_is_a_gap_and_a_new_connection_is_none(rows: Database) -> None:
    now = datetime.now(UTC)
    async with rows.connection() as connection:
        for seconds, started, gap in ((0, True, None), (5, False, None), (10, True, 10), (15, False, 10)):
            await stream_connected(connection, now + timedelta(seconds=seconds), started=started)
            found = (await read_readiness(connection)).gap_ended_at
            assert found == (None if gap is None else now + timedelta(seconds=gap))


async def test_a_broker_that_says_it_holds_nothing_leaves_the_books_and_raises_an_alert(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    broker.shares = {"AAPL": D(70)}
    await steps.run()
    held, broker.worth = dict(broker.shares), 70 * PRICE
    broker.shares = {}
    for _ in range(2):
        with pytest.raises(ApplicationError, match="not whole"):
            await steps.read("r", 1)
    end = EndRun(run_id="r", trigger="test", outcome=Outcome.FAILED, detail="gone", as_of=datetime.now(UTC))
    assert (await steps.activities.end_reconciliation(end)).outcome is Outcome.FAILED
    assert (await books(rows))[0] == held
    assert await _alerted(rows) == [AlertCode.NOT_RECONCILED]
    broker.shares = held
    assert (await steps.run()).outcome is Outcome.CLEAN
    assert await _alerted(rows) == []


async def _alerted(rows: Database) -> list[AlertCode]:
    async with rows.connection() as connection:
        raised = await read_raised(connection, (AlertCode.NOT_RECONCILED,), "books")
    return list(raised)
