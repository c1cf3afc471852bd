"""What is told after an overwrite that had it in already: it reverses, and is never counted twice."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from activities.broker_state import FILLS_OVERLAP
from schemas.broker import CashActivity, TradeEvent, TradeUpdate
from schemas.orders import Fill
from schemas.reconciliation import EXTERNAL, DriftKind, Outcome
from storage import journal
from storage.database import Database
from storage.orders import read_order
from storage.reconciliation import last_market_at
from tests.postgres.broker_books import (
    PRICE,
    SetBroker,
    Steps,
    activity,
    agrees,
    books,
    fill,
    tell,
)

D = Decimal


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
    assert [found.kind for found in report.findings] == [DriftKind.FILL_TAKEN_BACK]
    assert await agrees(rows, broker)
    order = broker.open_order("b-own", "ti-own")
    bust = TradeUpdate(
        event=TradeEvent.TRADE_BUST, raw_event="trade_bust", at=datetime.now(UTC), order=order, fill=bought
    )
    await tell(rows, bust)
    assert await agrees(rows, broker)


async def filled_here(rows: Database) -> Decimal:
    async with rows.connection() as connection:
        return (await read_order(connection, "own")).filled_quantity


@pytest.mark.parametrize("told_by", ["stream", "list"])
async def test_a_bust_that_nobody_tells_takes_its_execution_back(
    rows: Database, broker: SetBroker, steps: Steps, told_by: str
) -> None:
    """Also of an execution that only the list has told of."""
    bought = fill("b", execution_id="e1" if told_by == "stream" else None)
    broker.buy(bought)
    broker.fills = [bought]
    await tell(rows, bought)
    assert (await steps.run()).outcome is Outcome.CLEAN
    broker.fills, broker.shares, broker.cash = [], {}, D(100_000)
    report = await steps.run()
    assert [found.kind for found in report.findings] == [DriftKind.FILL_TAKEN_BACK]
    assert (await filled_here(rows), await agrees(rows, broker)) == (0, True)
    async with rows.connection() as connection:
        assert await journal.list_journal(connection, report.run_id) == [], "no overwrite: it never was"
    assert (await steps.run()).outcome is Outcome.CLEAN


@pytest.mark.parametrize("quantity", [5, 3])
async def test_a_correction_that_nobody_tells_and_then_the_stream_counts_once(
    rows: Database, broker: SetBroker, steps: Steps, quantity: int
) -> None:
    bought = fill("b", execution_id="e1")
    broker.buy(bought)
    broker.fills = [bought]
    await tell(rows, bought)
    right = {"price": D(99), "quantity": D(quantity), "cumulative_quantity": D(quantity)}
    instead = fill("c").model_copy(update=right)
    broker.fills, broker.shares, broker.cash = [instead], {}, D(100_000)
    broker.buy(instead)
    order = broker.open_order("b-own", "ti-own", filled_quantity=D(quantity), quantity=D(50))
    report = await steps.run()
    assert [found.kind for found in report.findings] == [DriftKind.MISSED_FILL, DriftKind.FILL_TAKEN_BACK]
    assert (await filled_here(rows), await agrees(rows, broker)) == (quantity, True)
    correction = TradeUpdate(
        event=TradeEvent.TRADE_CORRECT, raw_event="trade_correct", at=datetime.now(UTC), order=order,
        fill=bought.model_copy(update={**right, "correction_id": "e2", "activity_id": None}),
    )  # fmt: skip
    for _ in range(2):
        await tell(rows, correction)
        assert (await filled_here(rows), await agrees(rows, broker)) == (quantity, True)
    assert (await steps.run()).outcome is Outcome.CLEAN


async def test_a_list_without_its_executions_takes_nothing_back_that_the_account_has(
    rows: Database, broker: SetBroker, steps: Steps
) -> None:
    bought = fill("b", execution_id="e1")
    broker.buy(bought)
    await tell(rows, bought)
    broker.cash -= 3
    report = await steps.run()
    assert [found.kind for found in report.findings] == [DriftKind.CASH]
    assert (await filled_here(rows), await agrees(rows, broker)) == (5, True)


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


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_happens_the_books_become_the_brokers(
    rows: Database, broker: SetBroker, steps: Steps, seed: int
) -> None:
    """Executions told, missed, told late, listed late; strangers' trades, transfers, fees before and after."""
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
        self._unlisted: list[CashActivity] = []
        self._number = 0
        self._filled = D(0)
        self.told: list[str] = []

    async def happen(self) -> None:
        what = self._chance.choice(
            ["own", "missed", "late", "late", "strange", "transfer", "cash", "fee", "early", "hear", "hear"]
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
            self._broker.activities.append(activity(name, "-1"))
        elif what == "early":
            self._broker.cash -= 2
            self._unlisted.append(activity(name, "-2"))
        elif self._unlisted and self._chance.random() < 0.3:
            self._broker.activities.append(self._unlisted.pop(0))
        elif self._unheard:
            await self._tell(self._unheard.pop(self._chance.randrange(len(self._unheard))))

    async def tell_all(self) -> None:
        self._broker.activities += self._unlisted
        for each in self._unheard:
            await self._tell(each)

    async def _tell(self, heard: Fill) -> None:
        if heard.activity_id not in {listed.activity_id for listed in self._broker.fills}:
            self._broker.fills.append(heard.model_copy(update={"execution_id": None}))
        await tell(self._rows, heard)
