"""Shorts, covers, stops and orders of ours that could meet, as risk reads them from rows."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from activities.risk import RiskActivities
from observability.metrics import Metrics
from schemas.orders import OrderStatus
from schemas.risk import Assessment, AssessmentKind
from schemas.runs import RiskQuestion
from storage.database import Database
from storage.orders import lock_order, write_state
from storage.risk import live_reservations, read_decision
from tests.postgres.books import market_clock, prepare, propose
from tests.servers.approvals import SIGNER

D = Decimal


@pytest.fixture
async def rows(database: str) -> AsyncIterator[Database]:
    opened = await Database.connect(database)
    await prepare(opened, short_selling_strategies=["momentum"])
    yield opened
    await opened.close()


@pytest.fixture
async def risk(rows: Database) -> AsyncIterator[RiskActivities]:
    async with market_clock() as clock:
        yield RiskActivities(rows, clock, Metrics(), now=lambda: datetime.now(UTC), signer=SIGNER)


async def hold(rows: Database, quantity: int) -> None:
    """Have this position in AAPL."""
    async with rows.transaction("test") as connection:
        await connection.execute(
            "insert into positions values ('AAPL', 'momentum', $1, 0, now())", Decimal(quantity)
        )


async def assess(risk: RiskActivities, signal_id: str) -> Assessment:
    return await risk.assess_risk(RiskQuestion(signal_id=signal_id, as_of=datetime.now(UTC)))


async def asked(rows: Database, risk: RiskActivities, signal_id: str, **fields: Any) -> Assessment:
    await propose(rows, signal_id, **fields)
    return await assess(risk, signal_id)


STOP: dict[str, Any] = {"order_type": "STOP", "limit_price": None}
SELL_STOP: dict[str, Any] = {**STOP, "action": "SELL_TO_CLOSE", "stop_price": D(90)}


async def test_a_stop_is_approved_without_a_limit_and_reserved_at_its_worst_price(
    rows: Database, risk: RiskActivities
) -> None:
    answer = await asked(rows, risk, "s1", **STOP, stop_price=D(110))
    assert answer.kind is AssessmentKind.APPROVED
    assert (answer.order.limit_price, answer.order.stop_price) == (None, D(110))
    async with rows.connection() as connection:
        assert await live_reservations(connection) == (1, 10 * D("112.75"))
        decision = await read_decision(connection, "s1")
        payloads = dict(await connection.fetch("select topic, payload ->> 'stop_price' from events"))
    assert decision is not None
    assert decision.limit_price == D("112.75")
    assert payloads == {"trading.signal.created": "110", "trading.risk.approved": "110"}


async def test_a_short_sale_is_sent_at_its_limit_and_reserved_at_103_per_cent_of_the_ask(
    rows: Database, risk: RiskActivities
) -> None:
    answer = await asked(rows, risk, "s1", action="SELL_TO_OPEN", limit_price=D("99.50"))
    assert (answer.kind, answer.order.limit_price) == (AssessmentKind.APPROVED, D("99.50"))
    async with rows.connection() as connection:
        assert await live_reservations(connection) == (1, 10 * D("103.0103"))


async def test_buying_power_counts_opens_that_the_snapshot_does_not_know_and_no_closes(
    rows: Database, risk: RiskActivities
) -> None:
    """$2,060.21 of room: a cover takes none, the first short 1,030.103, the second as much, the third too much."""
    await hold(rows, -5)
    async with rows.transaction("test") as connection:
        await connection.execute("update account set buying_power = 2060.21")
    cover = await asked(rows, risk, "cover", action="BUY_TO_CLOSE", quantity=D(5), limit_price=D("98"))
    shorts = [
        await asked(rows, risk, f"short-{n}", action="SELL_TO_OPEN", limit_price=D(100) + D(n) / 100)
        for n in range(3)
    ]
    assert [cover.kind, *(short.kind for short in shorts)] == [
        AssessmentKind.APPROVED, AssessmentKind.APPROVED, AssessmentKind.APPROVED, AssessmentKind.REJECTED,
    ]  # fmt: skip
    assert shorts[-1].reasons == ("BUYING_POWER",)


async def test_a_resting_stop_blocks_the_other_side_until_it_has_ended(
    rows: Database, risk: RiskActivities
) -> None:
    await hold(rows, 20)
    assert (await asked(rows, risk, "stop", **SELL_STOP)).kind is AssessmentKind.APPROVED
    assert (await asked(rows, risk, "more")).reasons == ("OPPOSITE_ORDER",)
    async with rows.transaction("test") as connection:
        locked = await lock_order(connection, "stop")
        ended = locked.state.model_copy(update={"status": OrderStatus.CANCELED})
        await write_state(locked, ended, datetime.now(UTC), user_message=None, answered=True)
    assert (await asked(rows, risk, "now")).kind is AssessmentKind.APPROVED


async def test_a_short_whose_fills_are_on_their_way_still_keeps_buys_away(
    rows: Database, risk: RiskActivities
) -> None:
    """The broker says filled, the executions have not arrived: the account is short, and no row says so yet."""
    await asked(rows, risk, "short", action="SELL_TO_OPEN", limit_price=D("101.00"))
    async with rows.transaction("test") as connection:
        locked = await lock_order(connection, "short")
        told = {"status": OrderStatus.FILLED, "broker_filled_quantity": D(10)}
        await write_state(
            locked, locked.state.model_copy(update=told), datetime.now(UTC), user_message=None, answered=True
        )
    assert (await asked(rows, risk, "buy", limit_price=D("99.00"))).reasons == ("OPPOSITE_POSITION",)


async def test_covers_that_arrive_together_never_buy_more_than_is_short(
    rows: Database, risk: RiskActivities
) -> None:
    await hold(rows, -10)
    names = [f"cover-{number}" for number in range(8)]
    for number, name in enumerate(names):
        await propose(rows, name, action="BUY_TO_CLOSE", quantity=D(3), limit_price=D(100) + D(number) / 100)
    answers = await asyncio.gather(*(assess(risk, name) for name in names))
    approved = [answer for answer in answers if answer.kind is AssessmentKind.APPROVED]
    assert len(approved) == 3
    assert {answer.reasons for answer in answers if answer not in approved} == {("COVER_MORE_THAN_SHORT",)}


async def test_of_a_buy_and_a_short_that_arrive_together_one_opens(
    rows: Database, risk: RiskActivities
) -> None:
    await propose(rows, "long", limit_price=D("99.00"))
    await propose(rows, "short", action="SELL_TO_OPEN", limit_price=D("101.00"))
    answers = await asyncio.gather(assess(risk, "long"), assess(risk, "short"))
    assert sorted(answer.reasons for answer in answers) == [(), ("OPPOSITE_POSITION",)]
