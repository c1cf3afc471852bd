"""One decision per signal: stored with its event, audit row and reservation, and the same ever after."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine

from activities.risk import RiskActivities
from observability.metrics import Metrics
from schemas.risk import AssessmentKind
from schemas.runs import RiskQuestion
from storage.database import Database
from storage.orders import OrderNotFound
from storage.risk import live_reservations
from tests.postgres.books import market_clock, prepare, propose, refresh
from tests.servers.approvals import SIGNER


@pytest.fixture
async def rows(database: str) -> AsyncIterator[Database]:
    opened = await Database.connect(database)
    yield opened
    await opened.close()


@pytest.fixture
async def risk(rows: Database) -> AsyncIterator[RiskActivities]:
    await prepare(rows)
    async with market_clock() as clock:
        yield RiskActivities(rows, clock, Metrics(), now=lambda: datetime.now(UTC), signer=SIGNER)


def question(signal_id: str, **fields: object) -> RiskQuestion:
    return RiskQuestion.model_validate({"signal_id": signal_id, "as_of": datetime.now(UTC), **fields})


async def test_an_approval_leaves_decision_reservation_event_and_audit_row(
    rows: Database, risk: RiskActivities
) -> None:
    await propose(rows, "s1")
    answer = await risk.assess_risk(question("s1"))
    assert answer.kind is AssessmentKind.APPROVED
    async with rows.connection() as connection:
        assert await live_reservations(connection) == (1, Decimal(1000))
        topics = [
            row["topic"] for row in await connection.fetch("select topic from events order by occurred_at")
        ]
        story = await connection.fetch(
            "select decision, refs from audit_log where correlation_id = 's1' order by id"
        )
    assert topics == ["trading.signal.created", "trading.risk.approved"]
    assert [row["decision"] for row in story] == ["SIGNAL_ACCEPTED", "APPROVED"]
    named = [each.rpartition(" ")[0] for each in json.loads(story[1]["refs"])]
    assert named == ["signal s1", "limits", "kill switch epoch", "approval", "approval key", "mode"]


async def test_a_second_call_answers_the_stored_decision(rows: Database, risk: RiskActivities) -> None:
    await propose(rows, "s1")
    first = await risk.assess_risk(question("s1"))
    second = await risk.assess_risk(question("s1"))
    assert second == first
    async with rows.connection() as connection:
        assert await live_reservations(connection) == (1, Decimal(1000))


async def test_a_rejection_lists_every_reason_and_ends_the_order(
    rows: Database, risk: RiskActivities
) -> None:
    await propose(rows, "s1", quantity=Decimal(5000), limit_price=Decimal(150), hard_stop_loss=Decimal(110))
    answer = await risk.assess_risk(question("s1"))
    assert answer.kind is AssessmentKind.REJECTED
    assert {
        "ORDER_NOTIONAL",
        "ORDER_QUANTITY",
        "PRICE_COLLAR",
        "GROSS_EXPOSURE",
        "HARD_STOP_LOSS",
    } <= set(answer.reasons)
    assert answer.order.status == "REJECTED"
    assert answer.order.settled
    async with rows.connection() as connection:
        assert await live_reservations(connection) == (0, Decimal(0))
        event = await connection.fetchval(
            "select payload->>'reasons' from events where topic = 'trading.risk.rejected'"
        )
    assert "ORDER_NOTIONAL" in event


async def test_a_signal_without_a_row_is_refused(risk: RiskActivities) -> None:
    """A workflow started by hand can invent nothing."""
    with pytest.raises(OrderNotFound):
        await risk.assess_risk(question("invented"))


async def test_an_old_quote_and_an_old_snapshot_are_asked_for_and_then_refused(
    rows: Database, risk: RiskActivities
) -> None:
    await propose(rows, "s1")
    async with rows.transaction("test") as connection:
        await connection.execute("update latest_quotes set quoted_at = quoted_at - interval '15.1 seconds'")
    assert (await risk.assess_risk(question("s1"))).kind is AssessmentKind.NEEDS_QUOTE
    async with rows.transaction("test") as connection:
        await refresh(connection)
        await connection.execute("update account set taken_at = taken_at - interval '61 seconds'")
    assert (await risk.assess_risk(question("s1"))).kind is AssessmentKind.NEEDS_SNAPSHOT
    answer = await risk.assess_risk(question("s1", refreshes=2))
    assert answer.kind is AssessmentKind.REJECTED
    assert answer.reasons == ("STALE_ACCOUNT",)


async def test_a_close_is_not_refused_because_the_account_cannot_be_read(
    rows: Database, risk: RiskActivities
) -> None:
    await propose(rows, "s1", action="SELL_TO_CLOSE", limit_price=Decimal(100), hard_stop_loss=None)
    async with rows.transaction("test") as connection:
        await connection.execute("update account set taken_at = taken_at - interval '61 seconds'")
    assert (await risk.assess_risk(question("s1"))).kind is AssessmentKind.NEEDS_SNAPSHOT
    answer = await risk.assess_risk(question("s1", refreshes=2))
    assert answer.reasons == ("SELL_MORE_THAN_HELD",), "nothing else is wrong with it"


async def test_an_approval_without_an_intent_gives_its_room_back_after_60_seconds(
    rows: Database, risk: RiskActivities
) -> None:
    await propose(rows, "s1", quantity=Decimal(100))
    await propose(rows, "s2", quantity=Decimal(950), limit_price=Decimal(95))
    assert (await risk.assess_risk(question("s1"))).kind is AssessmentKind.APPROVED
    later = datetime.now(UTC) + timedelta(seconds=61)
    async with rows.transaction("test") as connection:
        await connection.execute("update account set taken_at = taken_at + interval '61 seconds'")
        await connection.execute("update latest_quotes set quoted_at = quoted_at + interval '61 seconds'")
        await connection.execute(
            'update limits set document = document || \'{"max_order_notional": "100000"}\''
        )
    async with market_clock() as clock:
        then = RiskActivities(rows, clock, Metrics(), now=lambda: later, signer=SIGNER)
        answer = await then.assess_risk(question("s2", as_of=later))
    assert answer.kind is AssessmentKind.APPROVED
    async with rows.connection() as connection:
        states = dict(await connection.fetch("select signal_id, state from reservations"))
    assert states == {"s1": "lapsed", "s2": "held"}


async def test_time_in_the_argument_can_make_things_stale_and_never_fresh(
    rows: Database, risk: RiskActivities
) -> None:
    await propose(rows, "s1")
    await propose(rows, "s2")
    later = datetime.now(UTC) + timedelta(minutes=10)
    answer = await risk.assess_risk(question("s1", as_of=later, refreshes=2))
    assert "SIGNAL_EXPIRED" in answer.reasons
    with time_machine.travel(later, tick=True):
        answer = await risk.assess_risk(question("s2", as_of=later - timedelta(minutes=10), refreshes=2))
    assert "SIGNAL_EXPIRED" in answer.reasons


async def test_no_limits_no_decision(rows: Database, risk: RiskActivities) -> None:
    from storage.limits import LimitsMissing

    await propose(rows, "s1")
    async with rows.transaction("test") as connection:
        await connection.execute("truncate limits cascade")
    with pytest.raises(LimitsMissing):
        await risk.assess_risk(question("s1"))
