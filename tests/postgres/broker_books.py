"""A broker whose every answer a test sets, the steps of a reconciliation on it, and both sides' books."""

import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from activities.adoption import Adopter
from activities.broker_state import BrokerStateReader
from activities.evidence import take_in
from activities.reconciliation import Pace, ReconciliationActivities
from broker.errors import NotFound
from schemas.broker import Account, BrokerClock, CalendarDay, CashActivity, Position, TradeUpdate
from schemas.orders import BrokerOrder, Fill, Side
from schemas.reconciliation import CASH, Graces, Report, SnapshotOrder, StepAnswer
from storage import journal
from storage.database import Database
from tests.postgres.books import market_clock, propose

D = Decimal
PRICE = D(100)
LAST_DAY_PRICE = D(95)


class SetBroker:
    """What the account holds, lists and did. US dollars, shares."""

    def __init__(self) -> None:
        self.cash = D(100_000)
        self.shares: dict[str, Decimal] = {}
        self.fills: list[Fill] = []
        self.activities: list[CashActivity] = []
        self.orders: dict[str, BrokerOrder] = {}
        self.equity: Decimal | None = None
        self.worth: Decimal | None = None
        self.lookups = 0

    async def get_account(self) -> Account:
        worth = sum((abs(held) * PRICE for held in self.shares.values()), D(0))
        return Account(
            account_id="A1", account_number="1", status="ACTIVE", cash=self.cash,
            equity=self.cash + worth if self.equity is None else self.equity, last_equity=D(100_000),
            buying_power=D(400_000), long_market_value=worth if self.worth is None else self.worth,
            short_market_value=D(0), tradable=True,
        )  # fmt: skip

    async def get_positions(self) -> list[Position]:
        return [
            Position(
                ticker=ticker, quantity=held, average_entry_price=D(90), market_value=held * PRICE,
                current_price=PRICE, last_day_price=LAST_DAY_PRICE, side=Side.BUY,
            )
            for ticker, held in self.shares.items() if held
        ]  # fmt: skip

    async def get_open_orders(self) -> list[BrokerOrder]:
        return [order for order in self.orders.values() if order.raw_status in ("new", "accepted")]

    async def get_order_status(self, broker_order_id: str) -> BrokerOrder:
        self.lookups += 1
        if broker_order_id not in self.orders:
            raise NotFound(f"no order {broker_order_id}")
        return self.orders[broker_order_id]

    async def get_orders(self, *, after: datetime, until: datetime) -> list[BrokerOrder]:
        found = self.orders.values()
        return [order for order in found if order.created_at and after < order.created_at < until]

    async def get_fills(self, since: datetime) -> list[Fill]:
        return [fill for fill in self.fills if fill.executed_at > since]

    async def get_cash_activities(self, since: datetime) -> list[CashActivity]:
        return list(self.activities)

    async def get_clock(self) -> BrokerClock:
        raise AssertionError("the market's clock is the test's")

    def buy(self, fill: Fill) -> None:
        """Execute: the account moves; whether the list shows it is the test's choice."""
        signed = fill.quantity if fill.side is Side.BUY else -fill.quantity
        self.shares[fill.ticker] = self.shares.get(fill.ticker, D(0)) + signed
        self.cash -= signed * fill.price

    def open_order(self, broker_order_id: str, client_order_id: str, **fields: Any) -> BrokerOrder:
        """Let an order rest."""
        order = BrokerOrder.model_validate(
            {
                "broker_order_id": broker_order_id, "client_order_id": client_order_id, "ticker": "AAPL",
                "side": "buy", "raw_type": "limit", "raw_time_in_force": "day", "raw_status": "new",
                "quantity": D(10), "filled_quantity": D(0), "limit_price": D(100),
                "created_at": datetime.now(UTC) - timedelta(minutes=5), **fields,
            }
        )  # fmt: skip
        self.orders[broker_order_id] = order
        return order


def trading_day(at: datetime) -> CalendarDay:
    """Every day is one, and begins at midnight UTC."""
    day = at.date()
    hours = [datetime.combine(day, time(hour), tzinfo=UTC) for hour in (0, 14, 21, 23)]
    return CalendarDay(day=day, session_open=hours[0], open=hours[1], close=hours[2], session_close=hours[3])


class SilentNotifier:
    """Nobody has a workflow here."""

    async def notify(self, order: Any) -> None:
        """Tell nobody."""


def fill(number: str, quantity: int = 5, price: str = "100", **fields: Any) -> Fill:
    """An execution on AAPL of a minute ago."""
    return Fill.model_validate(
        {
            "activity_id": f"act-{number}", "broker_order_id": "b-own", "ticker": "AAPL", "side": "buy",
            "quantity": D(quantity), "price": D(price), "cumulative_quantity": D(quantity),
            "executed_at": datetime.now(UTC) - timedelta(minutes=1), **fields,
        }
    )  # fmt: skip


async def own_order(database: Database, signal_id: str = "own", quantity: int = 50) -> None:
    """An order of ours that stands at the broker as ``b-own``."""
    await propose(database, signal_id, quantity=D(quantity))
    async with database.connection() as connection:
        await connection.execute(
            "update orders set status = 'ACKNOWLEDGED', raw_status = 'new', post_count = 1,"
            " client_order_id = 'ti-' || $1, broker_order_id = 'b-' || $1 where signal_id = $1",
            signal_id,
        )


class Steps:
    """A reconciliation's steps, run in the workflow's order."""

    def __init__(
        self, database: Database, broker: SetBroker, pause_seconds: float = 0, **graces: float
    ) -> None:
        self.database = database
        clock = market_clock()
        self.activities = ReconciliationActivities(
            database,
            BrokerStateReader(database, broker, clock, trading_day),  # type: ignore[arg-type]
            Adopter(database, broker, SilentNotifier()),  # type: ignore[arg-type]
            Pace(Graces(**{"fill_seconds": 10, "order_seconds": 60, **graces}), pause_seconds),
            now=lambda: datetime.now(UTC),
        )

    def order(self, run_id: str, number: int) -> SnapshotOrder:
        return SnapshotOrder(run_id=run_id, number=number, trigger="test", as_of=datetime.now(UTC))

    async def read(self, run_id: str, number: int) -> StepAnswer:
        return await self.activities.read_broker_state(self.order(run_id, number))

    async def overwrite(self, run_id: str, number: int) -> StepAnswer:
        return await self.activities.overwrite_books(self.order(run_id, number))

    async def run(self) -> Report:
        """Two readings and an overwrite, or one reading that is clean."""
        run_id = str(uuid.uuid4())
        for number in range(1, 4):
            answer = await self.read(run_id, number)
            if answer.confirmed:
                answer = await self.overwrite(run_id, number)
            if answer.report is not None:
                return answer.report
        raise AssertionError("not settled after three readings")


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


def activity(name: str, amount: str, kind: str = "FEE") -> CashActivity:
    return CashActivity(activity_id=name, activity_type=kind, amount=D(amount), day=date(2026, 11, 23))
