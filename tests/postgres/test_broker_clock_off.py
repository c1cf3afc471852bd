"""Answers of the broker's clock that are wrong, and instants that are ahead: what happens meanwhile is found."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from activities.catch_up import CatchUp
from broker.errors import UnknownOutcome
from market.clock import MarketClock
from schemas.broker import BrokerClock
from schemas.orders import Fill, Side
from schemas.reconciliation import DriftKind
from schemas.runs import OrderQuestion, PlaceKind, ResolveKind
from storage import placement
from storage.database import Database
from storage.orders import StoredOrder, read_order
from storage.switches import read_state, read_stream
from tests.postgres.books import prepare, propose
from tests.postgres.broker_books import SetBroker, Steps, fill, own_order
from tests.postgres.desk import SIGNAL, Desk, question
from tests.postgres.scripted_broker import ScriptedBroker, told

HOUR = timedelta(hours=1)
PASS_SECONDS = 50
CLIENT_ID = "c1"


@dataclass
class Market(ScriptedBroker):
    """Executes when a test says so, at times that are right; its clock's answer is off by ``off``."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    monotonic: float = 1000.0
    off: timedelta = timedelta(0)
    fills: list[Fill] = field(default_factory=list)
    asked: list[datetime] = field(default_factory=list)
    listed: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.monotonic += seconds

    def execute(self, quantity: int = 1, *, order_id: str = "") -> None:
        """As the list tells it: no frame of the stream has come."""
        ours = order_id or told(CLIENT_ID, "new").broker_order_id
        done = sum((each.quantity for each in self.fills if each.broker_order_id == ours), Decimal(0))
        self.fills.append(
            Fill(
                activity_id=f"row-{len(self.fills)}", broker_order_id=ours, ticker="AAPL", side=Side.BUY,
                quantity=Decimal(quantity), price=Decimal(100), cumulative_quantity=done + quantity,
                executed_at=self.now,
            )
        )  # fmt: skip

    async def get_clock(self) -> BrokerClock:
        at = self.now + self.off
        return BrokerClock(timestamp=at, is_open=True, next_open=at + 24 * HOUR, next_close=at + 3 * HOUR)

    async def get_fills(self, since: datetime) -> list[Fill]:
        found = [each for each in self.fills if each.executed_at > since]
        self.asked.append(since)
        self.listed = len(found)
        return found


class Silent:
    """Nobody is signalled."""

    async def notify(self, order: StoredOrder) -> None:
        return


@dataclass
class Watch:
    """The catch-up over a market whose clock a test turns."""

    database: Database
    market: Market
    clock: MarketClock
    catch_up: CatchUp

    async def passes(self, seconds: float = PASS_SECONDS) -> Decimal:
        """The next pass, that long after the last one; shares that the order's row then knows as executed."""
        self.market.wait(seconds)
        await self.clock.refresh()
        await self.catch_up.run(orders=False)
        async with self.database.connection() as connection:
            return (await read_order(connection, "s1")).filled_quantity

    async def cursor(self) -> datetime | None:
        async with self.database.connection() as connection:
            return (await read_stream(connection)).fill_cursor


@pytest.fixture
async def watch(database: str) -> AsyncIterator[Watch]:
    opened = await Database.connect(database)
    await prepare(opened)
    await propose(opened, "s1")
    market = Market()
    market.orders = {CLIENT_ID: told(CLIENT_ID, "new")}
    async with opened.transaction("test") as connection:
        await connection.execute(
            "update orders set status = 'ACKNOWLEDGED', raw_status = 'new', post_count = 1,"
            " client_order_id = $1, broker_order_id = $2",
            CLIENT_ID, told(CLIENT_ID, "new").broker_order_id,
        )  # fmt: skip
    clock = MarketClock(market, wall=lambda: market.now, monotonic=lambda: market.monotonic)
    taking: Any = (opened, market, clock, Silent())
    yield Watch(opened, market, clock, CatchUp(*taking, now=lambda: market.now))
    await opened.close()


@pytest.mark.parametrize("off", [HOUR, -HOUR])
async def test_what_is_executed_while_the_brokers_clock_is_off_is_found_by_the_next_pass(
    watch: Watch, off: timedelta
) -> None:
    """How: no frame comes of any execution, and the clock says the same wrong time over two minutes."""
    market = watch.market
    market.execute()
    assert await watch.passes() == 1
    market.off = off
    assert await watch.passes() == 1
    market.wait(5)
    market.execute()
    assert await watch.passes() == 2, "executed while the clock was off, found while it is"
    market.wait(5)
    market.execute()
    market.off = timedelta(0)
    assert await watch.passes(10) == 3, "executed while it was off, found after it"
    market.wait(5)
    market.execute()
    assert await watch.passes() == 4, "executed after it"
    assert max(market.asked) < market.now


async def test_one_wrong_answer_of_the_brokers_clock_is_not_believed(watch: Watch) -> None:
    await watch.passes()
    clock, answers = watch.market.get_clock, iter([HOUR, timedelta(0)])

    async def once_wrong() -> BrokerClock:
        watch.market.off = next(answers)
        return await clock()

    watch.market.get_clock = once_wrong  # type: ignore[method-assign]
    await watch.passes()
    assert watch.clock.at(watch.market.now) == watch.market.now


async def test_a_quiet_account_lists_nothing_again_and_again(watch: Watch) -> None:
    """A page holds 100: after a burst each pass would cost several requests for ever."""
    market = watch.market
    for _ in range(250):
        market.execute(order_id="of-somebody-else")
    await watch.passes()
    assert market.listed == 250
    for _ in range(6):
        await watch.passes()
    assert market.listed == 0
    assert market.now - (await watch.cursor() or market.now) < timedelta(minutes=5)
    market.execute()
    assert await watch.passes() == 1


async def test_an_account_without_executions_reads_the_last_day(watch: Watch) -> None:
    for _ in range(2):
        await watch.passes()
    assert market_age(watch) == timedelta(days=1)
    watch.market.execute()
    assert await watch.passes() == 1
    await watch.passes()
    assert market_age(watch) < timedelta(minutes=5)


def market_age(watch: Watch) -> timedelta:
    """How far back the last pass has read."""
    return watch.market.now - watch.market.asked[-1]


async def test_a_reconciliation_after_one_whose_clock_was_ahead_lists_what_was_executed_since(
    database: str,
) -> None:
    """And adopts it as ours, instead of overwriting what nothing explains."""
    rows, broker = await Database.connect(database), SetBroker()
    await prepare(rows)
    steps = Steps(rows, broker)
    await steps.run()
    await own_order(rows)
    broker.open_order("b-own", "ti-own", raw_status="partially_filled", quantity=50, filled_quantity=5)
    async with rows.transaction("test") as connection:
        await connection.execute(
            "update reconciliations set read_at = read_at - interval '6 minutes',"
            " market_at = market_at + interval '54 minutes'"
        )
    missed = fill("missed", executed_at=datetime.now(UTC) - timedelta(minutes=4))
    broker.fills = [missed]
    broker.buy(missed)
    report = await steps.run()
    assert [found.kind for found in report.findings] == [DriftKind.MISSED_FILL]
    await rows.close()


async def place_unanswered(desk: Desk, *, ahead: timedelta) -> str:
    """One POST, asked for by a workflow whose server's clock is ahead; its answer is lost."""
    desk.broker.answer = UnknownOutcome("timeout")
    async with desk.database.transaction("test") as connection:
        order = await read_order(connection, SIGNAL)
        await placement.write_pre_trade(connection, order, datetime.now(UTC))
    asked = OrderQuestion(signal_id=SIGNAL, as_of=datetime.now(UTC) + ahead)
    assert (await desk.placement.place_order(asked)).kind is PlaceKind.UNKNOWN
    (posted,) = desk.broker.posts
    return posted


async def is_killed(desk: Desk) -> bool:
    async with desk.database.connection() as connection:
        return (await read_state(connection)).engaged


async def test_our_order_is_ours_though_the_workflows_instant_is_ahead(desk: Desk) -> None:
    posted = await place_unanswered(desk, ahead=timedelta(seconds=7))
    desk.broker.orders[posted] = told(posted, "new")
    assert (await desk.resolution.resolve_order(question())).kind is ResolveKind.FOUND
    assert not await is_killed(desk)


async def test_an_order_that_stood_there_well_before_is_not_ours(desk: Desk) -> None:
    posted = await place_unanswered(desk, ahead=timedelta(seconds=7))
    before = datetime.now(UTC) - timedelta(seconds=30)
    desk.broker.orders[posted] = told(posted, "new").model_copy(update={"created_at": before})
    assert (await desk.resolution.resolve_order(question())).kind is ResolveKind.UNKNOWN
    assert await is_killed(desk)
