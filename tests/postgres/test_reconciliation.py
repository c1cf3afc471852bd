"""Overwrites, journal and reversals on the real database: the sum is always the broker's, and told once."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from activities.adoption import Adopter
from activities.broker_orders import LOOKUPS_MAX
from activities.broker_state import FILLS_OVERLAP, check_whole
from activities.evidence import take_in
from activities.reconciliation import carry_out_kill
from broker.errors import NetworkError
from risk.readiness import waits_for
from schemas.broker import CashActivity, Position, TradeEvent, TradeUpdate
from schemas.orders import Action, BrokerOrder, Fill, OrderStatus, Side
from schemas.reconciliation import CASH, EXTERNAL, DriftKind, EndRun, Outcome
from storage import journal
from storage.database import Database
from storage.orders import read_order
from storage.reconciliation import external_open, kills_due, last_market_at, read_readiness
from storage.risk import read_exposures, read_working
from storage.switches import read_state, stream_connected, stream_seen
from tests.postgres.books import prepare, propose
from tests.postgres.broker_books import PRICE, SetBroker, Steps, fill, own_order

D = Decimal


@pytest.fixture
async def rows(database: str) -> AsyncIterator[Database]:
    """Give a database with limits and quotes."""
    opened = await Database.connect(database)
    await prepare(opened)
    yield opened
    await opened.close()


@pytest.fixture
def broker() -> SetBroker:
    """Give an account that holds nothing but cash."""
    return SetBroker()


@pytest.fixture
async def steps(rows: Database, broker: SetBroker) -> Steps:
    """Give the steps on books that were opened with that cash, and an order of ours that rests."""
    found = Steps(rows, broker)
    assert (await found.run()).outcome is Outcome.OPENED
    await own_order(rows)
    broker.open_order("b-own", "ti-own")
    return found


async def books(rows: Database) -> tuple[dict[str, Decimal], Decimal]:
    """Shares and cash of executions and journal alone; ``positions`` must say the same."""
    async with rows.transaction("test") as connection:
        sums = await journal.rebuild(connection)
        assert await journal.mend(connection, datetime.now(UTC)) == []
    shares: dict[str, Decimal] = {}
    for each in sums:
        if each.ticker != CASH:
            shares[each.ticker] = shares.get(each.ticker, D(0)) + each.quantity
    return {name: held for name, held in shares.items() if held}, sum((each.cash for each in sums), D(0))


async def agrees(rows: Database, broker: SetBroker) -> bool:
    return await books(rows) == ({name: held for name, held in broker.shares.items() if held}, broker.cash)


async def told(rows: Database) -> list[str]:
    """Kinds in the outbox; each event has its audit row."""
    async with rows.connection() as connection:
        events = await connection.fetch(
            "select payload->>'kind' as kind from events where topic = 'system.state_drift' order by 1"
        )
        audits = await connection.fetchval("select count(*) from audit_log where decision = 'STATE_DRIFT'")
    assert len(events) == audits
    return [row["kind"] for row in events]


async def tell(rows: Database, evidence: Fill | TradeUpdate) -> None:
    await take_in(rows, evidence, now=datetime.now(UTC), source="test")


async def test_the_first_start_takes_over_what_the_broker_has(rows: Database, broker: SetBroker) -> None:
    broker.shares = {"AAPL": D(30)}
    broker.activities = [_activity("old-fee", "-3")]
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


async def test_an_execution_told_late_reverses_the_residual_instead_of_adding(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    """The account moved, the list lagged: the overwrite booked shares that the execution brings again."""
    late = fill("late", quantity=5, price="101")
    broker.buy(late)
    broker.shares["AAPL"] += 2
    await steps.run()
    assert await agrees(rows, broker)
    for _ in range(2):
        await tell(rows, late)
        shares, cash = await books(rows)
        assert shares == {"AAPL": D(7)}
        assert cash == broker.cash
    younger = fill("young", executed_at=datetime.now(UTC) + timedelta(seconds=1), cumulative_quantity=D(10))
    broker.buy(younger)
    await tell(rows, younger)
    assert await agrees(rows, broker), "an execution after the reading adds"
    broker.fills = [late, younger]
    assert (await steps.run()).outcome is Outcome.CLEAN


async def test_a_larger_execution_reverses_what_is_there_and_adds_the_rest(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    broker.shares = {"AAPL": D(3)}
    await steps.run()
    late = fill("late", quantity=5)
    await tell(rows, late)
    assert (await books(rows))[0] == {"AAPL": D(5)}


async def test_a_bust_told_late_does_not_count_twice(rows: Database, broker: SetBroker, steps: Steps) -> None:
    bought = fill("b", execution_id="e1")
    broker.fills = [bought]
    broker.buy(bought)
    await tell(rows, bought)
    assert (await steps.run()).outcome is Outcome.CLEAN
    broker.fills, broker.shares, broker.cash = [], {}, D(100_000)
    report = await steps.run()
    assert [found.kind for found in report.findings] == [DriftKind.FILL_TAKEN_BACK, DriftKind.CASH]
    assert await agrees(rows, broker)
    order = broker.open_order("b-own", "ti-own")
    bust = TradeUpdate(
        event=TradeEvent.TRADE_BUST, raw_event="trade_bust", at=datetime.now(UTC), order=order, fill=bought
    )
    await tell(rows, bust)
    assert await agrees(rows, broker)


async def test_fees_and_dividends_are_booked_once_and_are_no_drift(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    broker.activities = [_activity("fee", "-1.23"), _activity("dividend", "5", "DIV")]
    broker.cash += D("3.77")
    report = await steps.run()
    assert (report.outcome, report.booked) == (Outcome.CLEAN, 2)
    assert await agrees(rows, broker)
    again = await steps.run()
    assert (again.outcome, again.booked) == (Outcome.CLEAN, 0)
    assert await told(rows) == []


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


async def test_external_orders_count_while_they_are_open(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    broker.open_order("b-x", "somebody", side="sell", quantity=D(4))
    report = await steps.run()
    assert [found.kind for found in report.findings] == [DriftKind.EXTERNAL_ORDER]
    async with rows.connection() as connection:
        assert await external_open(connection) == {"b-x"}
        (exposure,) = [each for each in await read_exposures(connection) if each.strategy == EXTERNAL]
        (working,) = await read_working(connection, exposure.ticker)
    assert (working.signal_id, working.action) == ("somebody", Action.SELL_TO_OPEN), (
        "nothing is held to close"
    )
    assert (exposure.reserved_sell, exposure.reserved_sell_notional) == (D(4), D(400))
    assert (await steps.run()).outcome is Outcome.CLEAN, "told once"
    del broker.orders["b-x"]
    assert (await steps.run()).outcome is Outcome.CLEAN
    async with rows.connection() as connection:
        assert await external_open(connection) == set()


async def test_an_external_sale_comes_off_who_holds(rows: Database, broker: SetBroker, steps: Steps) -> None:
    bought = fill("mine", quantity=5)
    sold = fill("sale", quantity=5, side="sell", broker_order_id="b-other")
    broker.fills = [bought]
    broker.buy(bought)
    await tell(rows, bought)
    await steps.run()
    broker.fills = [bought, sold.model_copy(update={"executed_at": datetime.now(UTC)})]
    broker.buy(sold)
    steps = Steps(rows, broker, fill_seconds=0)
    assert [found.kind for found in (await steps.run()).findings] == [DriftKind.EXTERNAL_FILL]
    async with rows.connection() as connection:
        held = await journal.read_held(connection)
    assert held == (), "the strategy holds nothing any more"


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


async def test_nobody_can_call_a_run_good(rows: Database, broker: SetBroker, steps: Steps) -> None:
    async with rows.connection() as connection:
        before = await read_readiness(connection)
    end = EndRun(
        run_id="forged", trigger="x", outcome=Outcome.CLEAN, detail="trust me", as_of=datetime.now(UTC)
    )
    assert (await steps.activities.end_reconciliation(end)).outcome is Outcome.FAILED
    async with rows.connection() as connection:
        assert await read_readiness(connection) == before


async def test_readings_too_close_together_are_one(rows: Database, broker: SetBroker, steps: Steps) -> None:
    """How: by hand, without the workflow's pause."""
    patient = Steps(rows, broker, pause_seconds=2)
    broker.shares = {"AAPL": D(7)}
    await patient.read("r", 1)
    assert (await patient.read("r", 2)).confirmed
    assert (await patient.overwrite("r", 2)).report is None
    assert (await books(rows))[0] == {}


async def lost_answer(rows: Database, broker: SetBroker, **fields: Any) -> BrokerOrder:
    """An order of ours that stands at the broker as ``b-lost``, which nobody has told us."""
    await propose(rows, "lost", quantity=D(5))
    async with rows.connection() as connection:
        await connection.execute(
            "update orders set status = 'SUBMITTED', flags = '{outcome_unknown}', post_count = 1,"
            " post_open = false, client_order_id = 'ti-lost', first_post_at = now() where signal_id = 'lost'"
        )
    return broker.open_order("b-lost", "ti-lost", quantity=D(5), **fields)


@pytest.mark.parametrize("age_seconds", [1, 60])
async def test_an_order_with_a_lost_answer_that_has_executed_is_ours(
    rows: Database, broker: SetBroker, steps: Steps, age_seconds: int
) -> None:
    """It is in no list and has no broker id here: only its client id tells whose it is."""
    order = await lost_answer(rows, broker, raw_status="filled", filled_quantity=D(5))
    executed_at = datetime.now(UTC) - timedelta(seconds=age_seconds)
    done = fill("lost", broker_order_id="b-lost", executed_at=executed_at)
    broker.buy(done)
    broker.fills = [done]
    report = await steps.run()
    left_out = age_seconds < 10
    assert [found.kind for found in report.findings] == ([] if left_out else [DriftKind.MISSED_FILL])
    assert not report.killed
    assert left_out or await agrees(rows, broker)
    await take_in(rows, order, now=datetime.now(UTC), source="test")
    await tell(rows, done)
    assert await agrees(rows, broker), "its execution is booked once, as ours"


async def test_a_part_execution_of_an_order_with_a_lost_answer_is_adopted_with_its_order(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    await lost_answer(rows, broker, raw_status="partially_filled", filled_quantity=D(2))
    done = fill("lost", quantity=2, broker_order_id="b-lost")
    broker.buy(done)
    broker.fills = [done]
    report = await steps.run()
    assert (report.outcome, report.drift) == (Outcome.DRIFT, 2 * PRICE)
    assert await agrees(rows, broker)
    assert (await steps.run()).outcome is Outcome.CLEAN


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


@pytest.mark.parametrize("hops", [1, 2])
async def test_our_order_replaced_by_hand_whose_successor_has_executed(
    rows: Database, broker: SetBroker, hops: int
) -> None:
    """Neither is in the list of open orders, and the row here names the first one only."""
    steps = Steps(rows, broker, order_seconds=0)
    assert (await steps.run()).outcome is Outcome.OPENED
    await own_order(rows)
    names = ["b-own", *(f"b-{number}" for number in range(hops))]
    for number, name in enumerate(names):
        broker.open_order(
            name, "human" if number else "ti-own", raw_status="replaced", quantity=D(50),
            replaces=names[number - 1] if number else None,
            replaced_by=names[number + 1] if number < hops else None,
        )  # fmt: skip
    ended = {"raw_status": "filled", "filled_quantity": D(50)}
    broker.orders[names[-1]] = broker.orders[names[-1]].model_copy(update=ended)
    done = fill("successor", quantity=50, broker_order_id=names[-1])
    broker.buy(done)
    broker.fills = [done]
    report = await steps.run()
    kinds = {found.kind: found.broker_order_id for found in report.findings}
    assert kinds == {DriftKind.MISSED_FILL: names[-1], DriftKind.ORDER_ENDED_THERE: names[-1]}
    assert await agrees(rows, broker)
    async with rows.connection() as connection:
        order = await read_order(connection, "own")
        held = await journal.read_held(connection)
    assert (order.status, order.filled_quantity, order.broker_order_id) == (OrderStatus.FILLED, 50, names[-1])
    assert [(row.strategy, row.quantity) for row in held] == [("momentum", D(50))]
    assert (await steps.run()).outcome is Outcome.CLEAN


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


async def test_what_was_booked_as_a_residual_is_not_drift_again_once_it_is_listed(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    late = fill("late", quantity=60)
    broker.buy(late)
    first = await steps.run()
    assert (first.drift, first.killed) == (60 * PRICE, True)
    broker.fills = [late]
    second = await steps.run()
    assert (second.drift, second.killed) == (D(0), False)
    assert await agrees(rows, broker)


async def test_drift_is_told_and_stops_trading_though_the_worker_dies_after_adopting_it(
    rows: Database, broker: SetBroker, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert await agrees(rows, broker), "it was adopted"
    monkeypatch.undo()
    report = (await steps.read("r", 3)).report or pytest.fail("nothing differs any more")
    assert (report.outcome, report.drift) == (Outcome.DRIFT, 60 * PRICE)
    assert await told(rows) == ["MISSED_FILL"]
    async with rows.connection() as connection:
        assert (await read_state(connection)).engaged


@pytest.mark.parametrize("milliseconds", [-1, 1])
async def test_stream_and_list_may_put_an_execution_on_two_sides_of_the_windows_edge(
    rows: Database, broker: SetBroker, steps: Steps, milliseconds: int
) -> None:
    async with rows.connection() as connection:
        last = await last_market_at(connection)
    assert last is not None
    edge, apart = last - FILLS_OVERLAP, timedelta(milliseconds=milliseconds) / 2
    streamed = fill("x", execution_id="e1", activity_id=None, executed_at=edge + apart)
    await tell(rows, streamed)
    broker.buy(streamed)
    other_name = {"execution_id": None, "activity_id": "act-x", "executed_at": edge - apart}
    broker.fills = [streamed.model_copy(update=other_name)]
    assert (await steps.run()).outcome is Outcome.CLEAN
    assert await agrees(rows, broker)


@pytest.mark.parametrize("days_old", [0, 3])
async def test_any_number_of_strangers_orders_may_have_executed(
    rows: Database, broker: SetBroker, steps: Steps, days_old: int
) -> None:
    steps = Steps(rows, broker, fill_seconds=0)
    created_at = datetime.now(UTC) - timedelta(days=days_old, minutes=5)
    for number in range(LOOKUPS_MAX + 1):
        name = f"b-{number}"
        broker.open_order(name, f"human-{number}", raw_status="filled", created_at=created_at)
        done = fill(name, quantity=1, price="1", broker_order_id=name, executed_at=datetime.now(UTC))
        broker.buy(done)
        broker.fills.append(done)
    report = await steps.run()
    assert (report.outcome, report.found) == (Outcome.DRIFT, LOOKUPS_MAX + 1)
    assert await agrees(rows, broker)
    assert (broker.lookups == 0) is (days_old == 0), "those of the day come from the list"


async def test_a_stranger_who_trades_all_the_time_does_not_keep_the_books_from_being_brought_up(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    steps = Steps(rows, broker, fill_seconds=0)
    broker.open_order("b-x", "human", raw_status="filled")
    for number in (1, 2):
        done = fill(f"x{number}", quantity=1, broker_order_id="b-x", executed_at=datetime.now(UTC))
        broker.buy(done)
        broker.fills.append(done)
        answer = await steps.read("r", number)
        assert answer.confirmed is (number == 2)
    report = (await steps.overwrite("r", 2)).report or pytest.fail("they agree on what nothing explains")
    assert [found.subject for found in report.findings] == ["act-x1", "act-x2"]
    assert await agrees(rows, broker)


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


@pytest.mark.parametrize("quantity", [5, 7])
async def test_a_correction_leaves_a_strangers_residual_alone(
    rows: Database, broker: SetBroker, steps: Steps, quantity: int
) -> None:
    """Of 5 shares that were told it makes 5 at another price, or 7: only 2 could have been in the residual."""
    bought = fill("b", execution_id="e1", activity_id=None)
    broker.buy(bought)
    await tell(rows, bought)
    assert (await steps.run()).outcome is Outcome.CLEAN
    broker.shares["AAPL"] += 3
    await steps.run()
    assert await agrees(rows, broker)
    order = broker.open_order("b-own", "ti-own", filled_quantity=D(quantity), quantity=D(50))
    right = {"price": D(99), "quantity": D(quantity), "cumulative_quantity": D(quantity)}
    correction = TradeUpdate(
        event=TradeEvent.TRADE_CORRECT, raw_event="trade_correct", at=datetime.now(UTC), order=order,
        fill=bought.model_copy(update=right),
    )  # fmt: skip
    await tell(rows, correction)
    assert (await books(rows))[0] == {"AAPL": D(8)}
    async with rows.connection() as connection:
        held = {row.strategy: row.quantity for row in await journal.read_held(connection)}
        reversals = await connection.fetchval("select count(*) from journal where cause = 'REVERSAL'")
    assert held == {"momentum": D(quantity), EXTERNAL: D(8 - quantity)}
    assert reversals == (0 if quantity == 5 else 2), "shares and cash of the net alone"


async def test_a_strangers_order_counts_for_what_can_be_known_of_it(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    market = {"raw_type": "market", "limit_price": None}
    broker.open_order("b-n", "dollars", quantity=None, notional=D(5000), **market)
    broker.open_order("b-m", "quoted", quantity=D(10), side="sell", **market)
    broker.open_order("b-t", "unquoted", ticker="TSLA", quantity=D(1000), **market)
    broker.open_order("b-d", "unquoted dollars", ticker="TSLA", quantity=None, notional=D(700), **market)
    await steps.run()
    async with rows.connection() as connection:
        aapl, tsla = [each for each in await read_exposures(connection) if each.strategy == EXTERNAL]
    assert (aapl.reserved_buy_notional, aapl.unpriced_orders) == (D(5000), 0)
    assert round(aapl.reserved_buy, 2) == round(5000 / D("100.01"), 2)
    assert (aapl.reserved_sell, aapl.reserved_sell_notional) == (D(10), 10 * D("100.01"))
    assert (tsla.reserved_buy, tsla.reserved_buy_notional, tsla.unpriced_orders) == (D(1000), D(700), 1)


async def test_a_strangers_execution_that_was_left_out_is_one_in_the_next_run(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    """It was too young; the run that left it out must not count as having it."""
    broker.open_order("b-x", "human", raw_status="filled")
    young = fill("young", broker_order_id="b-x", executed_at=datetime.now(UTC))
    broker.buy(young)
    broker.fills = [young]
    report = await steps.run()
    assert (report.outcome, report.left_out) == (Outcome.CLEAN, 1)
    report = await Steps(rows, broker, fill_seconds=0).run()
    assert [found.kind for found in report.findings] == [DriftKind.EXTERNAL_FILL]
    assert await agrees(rows, broker)
    assert (await steps.run()).outcome is Outcome.CLEAN, "it is booked under its id, once"


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_happens_the_books_become_the_brokers(
    rows: Database, broker: SetBroker, steps: Steps, seed: int
) -> None:
    """Executions told, missed, told late, listed late, taken back; strangers' trades, fees, transfers."""
    chance = random.Random(seed)
    steps, story = Steps(rows, broker, fill_seconds=-1), Story(rows, broker, chance)
    for _ in range(14):
        await story.happen()
        if chance.random() < 0.4:
            await steps.run()
            assert await agrees(rows, broker), story.told
    await story.tell_all()
    # A purchase and a sale told late together cancel out in shares, not in cash: the next run sees that.
    outcomes = [(await steps.run()).outcome for _ in range(3)]
    assert await agrees(rows, broker), story.told
    assert outcomes[-1] is Outcome.CLEAN, story.told


class Story:
    """Random things that happen to an account and to what we hear of it."""

    def __init__(self, rows: Database, broker: SetBroker, chance: random.Random) -> None:
        self._rows, self._broker, self._chance = rows, broker, chance
        self._unheard: list[Fill] = []
        self._number = 0
        self._filled = D(0)
        self.told: list[str] = []

    async def happen(self) -> None:
        what = self._chance.choice(
            ["own", "missed", "late", "late", "strange", "transfer", "cash", "fee", "hear", "hear"]
        )
        self.told.append(what)
        self._number += 1
        name, quantity = f"{what}-{self._number}", self._chance.randint(1, 9)
        if what in ("own", "missed", "late"):
            self._filled += quantity
            done = fill(
                name, quantity, execution_id=f"e-{name}", executed_at=datetime.now(UTC),
                cumulative_quantity=self._filled, price=str(self._chance.randint(95, 105)),
            )  # fmt: skip
            self._broker.buy(done)
            if what != "late":
                self._broker.fills.append(done.model_copy(update={"execution_id": None}))
            if what == "own":
                await tell(self._rows, done)
            else:
                self._unheard.append(done)
        elif what == "strange":
            side = self._chance.choice(["buy", "sell"])
            done = fill(name, quantity, side=side, broker_order_id="b-other", executed_at=datetime.now(UTC))
            self._broker.buy(done)
            self._broker.fills.append(done)
        elif what == "transfer":
            shares = self._broker.shares
            shares["AAPL"] = shares.get("AAPL", D(0)) + self._chance.choice([-3, 4])
        elif what == "cash":
            self._broker.cash += self._chance.choice([-7, 11])
        elif what == "fee":
            self._broker.cash -= 1
            self._broker.activities.append(_activity(name, "-1"))
        elif self._unheard:
            await self._tell(self._unheard.pop(self._chance.randrange(len(self._unheard))))

    async def tell_all(self) -> None:
        for each in self._unheard:
            await self._tell(each)

    async def _tell(self, heard: Fill) -> None:
        if heard.activity_id not in {listed.activity_id for listed in self._broker.fills}:
            self._broker.fills.append(heard.model_copy(update={"execution_id": None}))
        await tell(self._rows, heard)


@pytest.mark.parametrize("sign_of_life", [stream_connected, stream_seen])
async def test_only_a_silence_of_over_a_minute_is_a_gap(rows: Database, sign_of_life: Any) -> None:
    now = datetime.now(UTC)
    async with rows.connection() as connection:
        await stream_connected(connection, now)
        for seconds, gap in ((60, None), (120.001, now + timedelta(seconds=120.001))):
            await sign_of_life(connection, now + timedelta(seconds=seconds))
            assert (await read_readiness(connection)).gap_ended_at == gap


def _activity(name: str, amount: str, kind: str = "FEE") -> CashActivity:
    return CashActivity(activity_id=name, activity_type=kind, amount=D(amount), day=date(2026, 11, 23))
