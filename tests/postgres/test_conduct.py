"""What a decision counts: windows, working orders, duplicates, halt and losses, read under the account lock."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from activities.risk import RiskActivities
from observability.metrics import Metrics
from schemas.alerts import AlertCode
from schemas.broker import Account, CashActivity
from schemas.risk import Assessment, AssessmentKind
from schemas.runs import RiskQuestion
from storage.alerts import list_alerts
from storage.conduct import enable_strategy, kills_asked_for, list_stops, read_conduct
from storage.database import Database
from storage.equity import move_peak, read_equity
from storage.limits import current_limits
from storage.market import save_account
from storage.reconciliation import read_readiness
from storage.risk import read_exposures
from tests.postgres.books import market_clock, prepare, propose
from tests.servers.approvals import SIGNER

NOW = datetime.now(UTC)
MICROSECOND = timedelta(microseconds=1)
DAY = date(2026, 11, 24)
FLAGGED = {
    "pending cancel": "status = 'ACKNOWLEDGED', flags = '{pending_cancel}'",
    "partly filled": "status = 'PARTIALLY_FILLED', filled_quantity = 4",
    "unknown": "status = 'SUBMITTED', flags = '{outcome_unknown}', post_count = 1",
    "on its way": "status = 'SUBMITTED', post_count = 1, post_open = true",
}


class Desk:
    """Signals and their decisions, one after the other."""

    def __init__(self, rows: Database, risk: RiskActivities) -> None:
        self.rows = rows
        self.risk = risk
        self._made = 0

    async def decide(
        self, *, after: timedelta = timedelta(0), same: bool = False, **fields: Any
    ) -> Assessment:
        """Propose and decide; no two signals are the same unless wished. ``after`` is skipped time."""
        self._made += 1
        name = f"s{self._made}"
        if not same:
            fields.setdefault("hard_stop_loss", Decimal(50) + Decimal(self._made) / 100)
        await propose(self.rows, name, **fields)
        return await self.risk.assess_risk(
            RiskQuestion(signal_id=name, as_of=datetime.now(UTC) + after, refreshes=2)
        )

    async def sql(self, statement: str, *values: Any) -> Any:
        async with self.rows.transaction("test") as connection:
            return await connection.fetchval(statement, *values)

    async def execute(self, *, times: int = 1) -> None:
        """Approve and fill so many orders of ten shares."""
        for _ in range(times):
            answer = await self.decide()
            assert answer.kind is AssessmentKind.APPROVED, answer.reasons
            await self.sql(
                "update orders set filled_quantity = 10, status = 'FILLED', settled_at = $2 where signal_id = $1",
                answer.order.signal_id, datetime.now(UTC),
            )  # fmt: skip
            await self.sql(
                "update reservations set state = 'released' where signal_id = $1", answer.order.signal_id
            )


@pytest.fixture
async def rows(database: str) -> AsyncIterator[Database]:
    opened = await Database.connect(database)
    yield opened
    await opened.close()


@pytest.fixture
async def make(rows: Database) -> AsyncIterator[Any]:
    """Give a function that sets limits and gives a desk."""
    async with market_clock() as clock:

        async def made(**limits: Any) -> Desk:
            await prepare(rows, **limits)
            return Desk(
                rows, RiskActivities(rows, clock, Metrics(), now=lambda: datetime.now(UTC), signer=SIGNER)
            )

        yield made


async def test_the_minutes_last_order_passes_and_the_next_is_refused_until_one_is_a_minute_old(
    make: Any,
) -> None:
    desk = await make(max_strategy_orders_per_minute=2, max_orders_per_minute=3)
    for strategy in ("momentum", "momentum", "other"):
        assert (await desk.decide(strategy=strategy)).kind is AssessmentKind.APPROVED
    assert (await desk.decide()).reasons == ("STRATEGY_ORDER_RATE", "ORDER_RATE")
    assert (await desk.decide(strategy="third")).reasons == ("ORDER_RATE",)
    async with desk.rows.connection() as connection:
        limits = (await current_limits(connection, datetime.now(UTC))).limits
        first = await connection.fetchval("select min(decided_at) from decisions where approved")
        seen = [
            (await read_conduct(connection, "s5", limits, now=first + ahead)).approvals
            for ahead in (timedelta(seconds=60) - MICROSECOND, timedelta(seconds=60))
        ]
    assert seen == [3, 2], "the window is half-open"


async def test_a_strategy_that_repeats_itself_is_disabled_with_its_refusal_until_a_person_enables_it(
    make: Any,
) -> None:
    desk = await make(max_repeated_executions=2)
    await desk.execute(times=2)
    assert (await desk.decide(strategy="other")).kind is AssessmentKind.APPROVED
    refused = await desk.decide()
    assert refused.reasons == ("REPEATED_EXECUTIONS",)
    async with desk.rows.connection() as connection:
        [stop] = await list_stops(connection)
        [alert] = await list_alerts(connection)
        decided_at = await connection.fetchval(
            "select decided_at from decisions where signal_id = $1", refused.order.signal_id
        )
    assert (stop.strategy, stop.since) == ("momentum", decided_at)
    assert (alert.code, alert.raised_at) == (AlertCode.RUNAWAY_STRATEGY, decided_at), "one transaction"
    assert "STRATEGY_DISABLED" in (await desk.decide(ticker="AAPL")).reasons
    later = await desk.decide(after=timedelta(minutes=2))
    assert "STRATEGY_DISABLED" in later.reasons, "time alone lets nobody trade"
    close = await desk.decide(action="SELL_TO_CLOSE", hard_stop_loss=None)
    assert "STRATEGY_DISABLED" not in close.reasons
    async with desk.rows.transaction("test") as connection:
        assert await enable_strategy(
            connection, "momentum", person="Jo", reason="mended", component="test", now=datetime.now(UTC)
        )
        assert await list_alerts(connection) == []
    assert (await desk.decide()).kind is AssessmentKind.APPROVED, "what it did before counts no more"


async def test_too_fast_too_often_is_a_runaway_of_the_strategy(make: Any) -> None:
    desk = await make(max_strategy_orders_per_minute=2)
    for _ in range(2):
        assert (await desk.decide()).kind is AssessmentKind.APPROVED
    for _ in range(2):
        assert (await desk.decide()).reasons == ("STRATEGY_ORDER_RATE",)
    async with desk.rows.connection() as connection:
        assert await list_stops(connection) == []
    await desk.decide()
    async with desk.rows.connection() as connection:
        [stop] = await list_stops(connection)
    assert stop.cause == "RUNAWAY_RATE"


async def test_an_account_that_runs_away_asks_for_the_kill_switch_once_and_orders_wait(make: Any) -> None:
    desk = await make(max_orders_per_minute=1)
    assert (await desk.decide(strategy="a0")).kind is AssessmentKind.APPROVED
    asked = []
    for number in range(4):
        assert (await desk.decide(strategy=f"a{number + 1}")).reasons == ("ORDER_RATE",)
        async with desk.rows.connection() as connection:
            asked.append(len(await kills_asked_for(connection)))
    assert asked == [0, 1, 1, 1]
    async with desk.rows.connection() as connection:
        assert (await read_readiness(connection)).kill_due


async def test_the_same_again_is_refused_naming_the_other_and_not_after_the_window(make: Any) -> None:
    desk = await make(duplicate_window_seconds=30)
    first = await desk.decide(same=True, limit_price=Decimal("100"))
    assert first.kind is AssessmentKind.APPROVED
    again = await desk.decide(same=True, limit_price=Decimal("100.00"), rationale="other words")
    assert again.reasons == ("DUPLICATE_CONTENT",)
    told = await desk.sql("select checks from decisions where signal_id = $1", again.order.signal_id)
    assert f"signal {first.order.signal_id} asked for exactly the same" in told
    for different in ({"quantity": Decimal(11)}, {"strategy": "other"}, {"time_in_force": "GTC"}):
        other = await desk.decide(same=True, limit_price=Decimal("100"), **different)
        assert other.kind is AssessmentKind.APPROVED, other.reasons
    async with desk.rows.connection() as connection:
        limits = (await current_limits(connection, datetime.now(UTC))).limits
        at = await connection.fetchval("select decided_at from decisions where signal_id = 's1'")
        for ahead, found in ((30 * 10**6 - 1, "s1"), (30 * 10**6, None)):
            now = at + timedelta(microseconds=ahead)
            conduct = await read_conduct(connection, "s2", limits, now=now)
            assert conduct.duplicate_of == found
    await desk.sql("update orders set status = 'REJECTED' where signal_id = 's1'")
    resent = await desk.decide(same=True, limit_price=Decimal("100"))
    assert resent.kind is AssessmentKind.APPROVED, "what was refused afterwards did nothing"


async def test_open_orders_are_all_that_may_still_execute_and_count_in_full(make: Any) -> None:
    desk = await make(max_open_orders=len(FLAGGED) + 1)
    names = [(await desk.decide()).order.signal_id for _ in range(len(FLAGGED) + 1)]
    for number, state in enumerate(FLAGGED.values()):
        standing = f"update orders set {state}, client_order_id = 'ti-{number}' where signal_id = $1"
        await desk.sql(standing, names[number])
        await desk.sql("update reservations set state = 'working' where signal_id = $1", names[number])
    assert "OPEN_ORDERS" in (await desk.decide()).reasons, "the last one is approved and not sent yet"
    close = await desk.decide(action="SELL_TO_CLOSE", hard_stop_loss=None)
    assert "OPEN_ORDERS" not in close.reasons
    async with desk.rows.connection() as connection:
        [row] = await read_exposures(connection)
    assert (row.reserved_buy, row.reserved_buy_notional) == (10 * len(names), 1000 * len(names))
    for name in names:
        await desk.sql("update orders set status = 'CANCELED' where signal_id = $1", name)
        assert "OPEN_ORDERS" not in (await desk.decide()).reasons, "that one has ended"


async def test_nothing_is_opened_while_the_broker_is_given_up_on(make: Any) -> None:
    desk = await make()
    await desk.sql("update broker_halt set is_open = true, cause = 'five calls failed'")
    refused = await desk.decide()
    assert refused.reasons == ("BROKER_HALT",)
    assert (refused.user_message or "").startswith("Broker API unreachable.")
    close = await desk.decide(action="SELL_TO_CLOSE", hard_stop_loss=None)
    assert "BROKER_HALT" not in close.reasons


async def test_without_a_start_of_the_session_nothing_is_opened(make: Any) -> None:
    desk = await make()
    await desk.sql("update account set last_equity = null")
    assert (await desk.decide()).reasons == ("DAILY_LOSS",)
    await desk.sql("update account set last_equity = 100000, equity = 90000, peak_equity = null")
    assert (await desk.decide()).reasons == ("DRAWDOWN",)


def account(equity: int) -> Account:
    money = Decimal(equity)
    return Account(
        account_id="A1", account_number="1", status="ACTIVE", cash=money, equity=money,
        last_equity=Decimal(100), buying_power=money, tradable=True,
    )  # fmt: skip


def activity(kind: str, amount: int, day: date = DAY) -> CashActivity:
    return CashActivity(
        activity_id=f"{kind}{amount}{day}", activity_type=kind, amount=Decimal(amount), day=day
    )


async def test_the_peak_is_the_highest_reading_and_moves_with_money_paid_in_or_out(rows: Database) -> None:
    async with rows.transaction("test") as connection:

        async def read(equity: int, seconds: int) -> tuple[Any, Any]:
            await save_account(connection, account(equity), taken_at=NOW + timedelta(seconds=seconds))
            found = await read_equity(connection)
            return found.peak_equity, found.session_equity

        assert await read(100, 0) == (100, 100)
        assert await read(120, 1) == (120, 100)
        assert await read(90, 2) == (120, 100), "never lowered by a reading"
        await move_peak(connection, (), DAY)
        # $50 come in: seen in equity before they are booked.
        assert await read(145, 3) == (145, 100)
        await move_peak(connection, [activity("CSD", 50), activity("DIV", 9)], DAY)
        assert await read(145, 4) == (170, 150), "the loss is what it was: 25 of the peak, 5 of the day"
        # $60 go out, of which 20 counted for the day before.
        assert await read(85, 5) == (170, 150)
        await move_peak(connection, [activity("CSW", -40), activity("CSW", -20, DAY - timedelta(1))], DAY)
        assert await read(85, 6) == (110, 110)
        # $30 come in, which an earlier reconciliation could not explain: the peak has them already.
        assert await read(115, 7) == (115, 110)
        await move_peak(connection, [activity("CSD", 30)], DAY, late={f"CSD30{DAY}"})
        assert await read(115, 8) == (115, 140)


async def test_a_transfer_counts_until_the_broker_tells_of_another_session(rows: Database) -> None:
    """Midnight and a weekend begin no session: what was paid out on Friday is no loss of Saturday's."""
    async with rows.transaction("test") as connection:
        await save_account(connection, account(100), taken_at=NOW)
        await move_peak(connection, [activity("CSW", -20)], DAY)
        for days, close, expected in ((0, 100, 80), (2, 100, 80), (3, 79, 79), (4, 79, 79)):
            read = account(80).model_copy(update={"last_equity": Decimal(close)})
            await save_account(connection, read, taken_at=NOW + timedelta(days=days, seconds=1))
            await move_peak(connection, (), DAY + timedelta(days=days))
            found = await read_equity(connection)
            assert found.session_equity == expected, days
