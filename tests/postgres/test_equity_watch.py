"""A loss that two readings show stops trading once, whoever dies between them; money paid out is no loss."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from broker.budget import NoToken, Share, take_token
from broker.errors import BrokerError, NetworkError
from observability.metrics import Metrics
from risk.losses import READINGS_APART
from schemas.broker import Account, CashActivity
from schemas.conduct import KillRequest, LossKind
from schemas.wire import Queue
from storage.conduct import kills_asked_for
from storage.database import Database
from storage.equity import read_breaches
from storage.events import timeline
from storage.market import save_account
from storage.switches import read_state
from tests.postgres.books import market_clock, prepare
from workers.equity_watch import EquityWatch, carry_out

MICROSECOND = timedelta(microseconds=1)


class Broker:
    """What it tells of money that was paid in or out."""

    def __init__(self) -> None:
        self.activities: list[CashActivity] = []
        self.error: BrokerError | None = None
        self.asked = 0
        self.tokens = [0.0]
        """Seconds until there is one, try by try."""

    async def take(self, share: Share) -> None:
        """As a budget does."""
        if wait_seconds := self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]:
            raise NoToken(share, wait_seconds)

    async def get_cash_activities(self, since: datetime) -> list[CashActivity]:
        self.asked += 1
        await take_token(self, Share.READS)  # type: ignore[arg-type]
        if self.error is not None:
            raise self.error
        return self.activities


class Operations:
    """One process after the other, on the same rows."""

    def __init__(self, rows: Database, clock: Any) -> None:
        self.rows = rows
        self.broker = Broker()
        self.asked_for: list[str] = []
        self.began = datetime.now(UTC)
        self._clock = clock

    async def read_account(self) -> None:
        self.asked_for.append("a reading")

    async def start_workflow(self, name: str, *_: Any, **__: Any) -> None:
        self.asked_for.append(name)

    async def look(self) -> list[KillRequest]:
        """A process that was started just now looks; what is asked for after it."""
        await self.watch().watch_equity()
        async with self.rows.connection() as connection:
            return await kills_asked_for(connection)

    def watch(self) -> EquityWatch:
        """Of a process that was started just now."""
        parts: Any = SimpleNamespace(
            database=self.rows, clock=self._clock, metrics=Metrics(), broker=self.broker, client=self,
            catch_up=self,
        )  # fmt: skip
        return EquityWatch(parts, operations_queue=Queue.TRADING)

    async def reads(self, equity: str, *, after: timedelta, last_equity: int = 100_000) -> None:
        """A snapshot so long after the beginning."""
        money = Decimal(equity)
        account = Account(
            account_id="A1", account_number="1", status="ACTIVE", cash=money, equity=money,
            last_equity=Decimal(last_equity), buying_power=money, tradable=True,
        )  # fmt: skip
        async with self.rows.transaction("test") as connection:
            await save_account(connection, account, taken_at=self.began + after)


@pytest.fixture
async def operations(database: str) -> AsyncIterator[Operations]:
    rows = await Database.connect(database)
    await prepare(rows, max_daily_loss_pct="5", max_drawdown_pct="50")
    async with market_clock() as clock:
        found = Operations(rows, clock)
        found.began += timedelta(seconds=1)
        yield found
    await rows.close()


async def test_a_second_reading_by_another_process_asks_for_the_switch_once(operations: Operations) -> None:
    await operations.reads("95000", after=timedelta(0))
    assert await operations.look() == []
    await operations.reads("94999.99", after=MICROSECOND)
    assert await operations.look() == []
    await operations.reads("94999.99", after=READINGS_APART)
    assert await operations.look() == [], "not five seconds after the first one yet"
    await operations.reads("94999.99", after=READINGS_APART + MICROSECOND)
    [request] = await operations.look()
    assert request.reason == (
        "MAX_DAILY_LOSS_EXCEEDED: equity at the session's start 100000 − equity 94999.99 = 5000.01 > 5 % of 100000 "
        "= 5000"
    )
    for done in (True, False):
        assert await operations.rows.run("test", lambda connection: carry_out(connection, request)) is done
    await operations.reads("90000", after=timedelta(minutes=1))
    assert await operations.look() == [], "the same loss asks for nothing more, whoever released the switch"
    async with operations.rows.connection() as connection:
        state = await read_state(connection)
        told = [each.decision for each in await timeline(connection, "equity")]
    assert (state.engaged, state.epoch, state.triggered_by) == (True, 1, "EquityWatch")
    assert told == ["LOSS_SEEN", "LOSS_CONFIRMED"]
    await operations.reads("95000", after=timedelta(minutes=2))
    assert await operations.look() == []
    again: list[KillRequest] = []
    for minutes in (3, 4):
        await operations.reads("94000", after=timedelta(minutes=minutes))
        again = await operations.look()
    assert len(again) == 1, "another loss is another reason"
    await operations.rows.run("test", lambda connection: carry_out(connection, again[0]))
    for minutes in (1440, 1441, 1442):
        assert await operations.look() == []
        await operations.reads("80000", after=timedelta(minutes=minutes), last_equity=94_000)
    assert len(await operations.look()) == 1, (
        "nobody looked at the change of sessions: today's loss is not yesterday's"
    )


async def test_a_reading_within_the_limit_between_two_over_it_ends_the_first(operations: Operations) -> None:
    for equity, minutes in (("94000", 0), ("96000", 1), ("94000", 2)):
        await operations.reads(equity, after=timedelta(minutes=minutes))
        assert await operations.look() == []
    async with operations.rows.connection() as connection:
        assert set(await read_breaches(connection)) == {LossKind.DAILY_LOSS}


async def test_a_second_reading_is_asked_for_when_it_is_due(operations: Operations) -> None:
    operations.began -= timedelta(seconds=30)
    async with operations.rows.transaction("test") as connection:
        await connection.execute("update account set taken_at = null")
    await operations.reads("94000", after=timedelta(0))
    await operations.look()
    assert operations.asked_for == []
    await operations.look()
    assert operations.asked_for == ["a reading"]


@pytest.mark.parametrize("amount", [-900, 6000])
async def test_a_transfer_that_is_not_all_of_the_loss_holds_nothing_up(
    operations: Operations, amount: int
) -> None:
    """Its booking may take long: what it cannot explain is a loss already."""
    operations.broker.activities = [
        CashActivity(
            activity_id="w1", activity_type="CSW", amount=Decimal(amount), day=operations.began.date()
        )
    ]
    asked: list[KillRequest] = []
    for minutes in (0, 1):
        await operations.reads("94000", after=timedelta(minutes=minutes))
        asked = await operations.look()
    assert len(asked) == 1


@pytest.mark.parametrize("deaf", [False, True])
async def test_what_may_be_money_paid_out_waits_for_its_booking(operations: Operations, deaf: bool) -> None:
    """A broker that does not say so is no reason to go on trading."""
    paid_out = CashActivity(
        activity_id="w1", activity_type="CSW", amount=Decimal(-6000), day=operations.began.date()
    )
    operations.broker.activities = [paid_out]
    operations.broker.error = NetworkError("down") if deaf else None
    asked: list[KillRequest] = []
    for minutes in (0, 1):
        await operations.reads("94000", after=timedelta(minutes=minutes))
        asked = await operations.look()
    assert len(asked) == deaf
    assert operations.asked_for == ([] if deaf else ["reconciliation"])


async def test_a_used_up_budget_says_nothing_of_transfers_and_is_not_used_up_by_asking(
    operations: Operations,
) -> None:
    operations.broker.activities = [
        CashActivity(
            activity_id="w1", activity_type="CSW", amount=Decimal(-6000), day=operations.began.date()
        )
    ]
    await operations.reads("94000", after=timedelta(0))
    assert await operations.look() == []
    await operations.reads("94000", after=timedelta(minutes=1))
    operations.broker.tokens = [0.01, 0.01, 0.0]
    watch = operations.watch()
    for _ in range(3):
        await watch.watch_equity()
    async with operations.rows.connection() as connection:
        assert await kills_asked_for(connection) == []
    assert operations.broker.asked == 1, "not with every look while the transfer is being booked"
