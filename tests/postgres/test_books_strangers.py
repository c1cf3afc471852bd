"""Whose an order or an execution is: ours under any of its names, or a stranger's."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from activities.broker_orders import LOOKUPS_MAX
from activities.evidence import take_in
from schemas.orders import Action, BrokerOrder, OrderStatus
from schemas.reconciliation import EXTERNAL, DriftKind, Outcome
from storage import journal
from storage.database import Database
from storage.orders import read_order
from storage.reconciliation import external_open
from storage.risk import read_exposures, read_working
from tests.postgres.books import propose
from tests.postgres.broker_books import PRICE, SetBroker, Steps, agrees, fill, own_order, tell

D = Decimal


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


async def test_another_installations_execution_stops_everything_once(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    """It stays in the list for minutes; a person who has released must not be overruled by it."""
    broker.open_order("b-f", "ti-" + "0" * 32, raw_status="filled")
    done = fill("foreign", broker_order_id="b-f", executed_at=datetime.now(UTC))
    broker.buy(done)
    broker.fills = [done]
    steps = Steps(rows, broker, fill_seconds=0)
    report = await steps.run()
    assert {found.kind for found in report.findings} == {
        DriftKind.EXTERNAL_FILL, DriftKind.FOREIGN_INSTALLATION
    }  # fmt: skip
    assert report.killed
    again = await steps.run()
    assert (again.outcome, again.killed) == (Outcome.CLEAN, False)
