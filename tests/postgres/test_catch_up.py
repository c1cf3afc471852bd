"""What the stream did not bring: found by lists, told of the stream that is mute, and read however it is held."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities import catch_up, trade_updates
from activities.catch_up import CatchUp
from activities.trade_updates import TradeUpdateActivities
from broker.errors import NetworkError, NotFound
from observability.metrics import Metrics
from schemas.alerts import AlertCode
from schemas.orders import BrokerOrder, Fill, OrderStatus, Side
from schemas.runs import StreamInput
from storage.alerts import list_alerts
from storage.database import Database
from storage.orders import StoredOrder, read_order
from storage.switches import doubt_stream, read_stream, stream_connected, stream_seen
from tests.postgres.books import market_clock, prepare, propose
from tests.postgres.scripted_broker import ScriptedBroker, told
from workers import stream_watch
from workers.stream_watch import StreamWatch

CLIENT_ID = "c1"
ID = told(CLIENT_ID, "new").broker_order_id


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def listed_fill(order_id: str, *, age_seconds: float) -> Fill:
    """One row of the broker's list: it knows no client id and no execution id."""
    return Fill(
        activity_id=f"row-{order_id}", broker_order_id=order_id, ticker="AAPL", side=Side.BUY,
        quantity=Decimal(10), price=Decimal(100), cumulative_quantity=Decimal(10), executed_at=ago(age_seconds),
    )  # fmt: skip


class ListingBroker(ScriptedBroker):
    """Lists executions and open orders, and knows orders by id."""

    def __init__(self) -> None:
        super().__init__()
        self.fills: list[Fill] = []
        self.by_id: dict[str, BrokerOrder] = {}
        self.looked_up: list[str] = []

    async def get_fills(self, since: datetime) -> list[Fill]:
        return self.fills

    async def get_order_status(self, broker_order_id: str) -> BrokerOrder:
        self.looked_up.append(broker_order_id)
        if broker_order_id not in self.by_id:
            raise NotFound("order not found")
        return self.by_id[broker_order_id]


class Silent:
    """Nobody is signalled."""

    async def notify(self, order: StoredOrder) -> None:
        return


@dataclass
class Desk:
    database: Database
    broker: ListingBroker
    catch_up: CatchUp

    async def order(self) -> StoredOrder:
        async with self.database.connection() as connection:
            return await read_order(connection, "s1")

    async def connected(self, *, seconds_ago: float) -> None:
        async with self.database.connection() as connection:
            await stream_connected(connection, ago(seconds_ago))

    async def is_doubted(self, last_update_at: datetime | None = None) -> bool:
        async with self.database.connection() as connection:
            return await stream_seen(connection, ago(0), last_update_at)

    async def alerts(self) -> list[AlertCode]:
        async with self.database.connection() as connection:
            return [each.code for each in await list_alerts(connection)]


@pytest.fixture
async def desk(database: str) -> AsyncIterator[Desk]:
    opened = await Database.connect(database)
    await prepare(opened)
    await propose(opened, "s1")
    async with opened.transaction("test") as connection:
        await connection.execute("update orders set client_order_id = $1, post_count = 1", CLIENT_ID)
    broker = ListingBroker()
    async with market_clock() as clock:
        taking: Any = (opened, broker, clock, Silent())
        yield Desk(opened, broker, CatchUp(*taking, now=lambda: ago(0)))
    await opened.close()


async def test_an_execution_of_an_order_closed_here_is_found_by_its_id(desk: Desk) -> None:
    """And one of somebody else's order costs one look-up, not one a pass."""
    async with desk.database.transaction("test") as connection:
        await connection.execute(
            "update orders set status = 'REJECTED', reason = 'ERR_X', settled_at = now(), final_at = now()"
        )
    desk.broker.fills = [listed_fill(ID, age_seconds=1), listed_fill("foreign", age_seconds=1)]
    desk.broker.by_id = {
        ID: told(CLIENT_ID, "filled", filled=10),
        "foreign": told("theirs", "filled").model_copy(update={"broker_order_id": "foreign"}),
    }
    for _ in range(2):
        await desk.catch_up.run(orders=False)
    order = await desk.order()
    assert (order.status, order.filled_quantity, order.settled) == (OrderStatus.FILLED, 10, False)
    assert await desk.alerts() == [AlertCode.LATE_TRUTH]
    assert sorted(desk.broker.looked_up) == sorted([ID, "foreign"])


async def test_of_resting_orders_only_those_that_differ_are_taken_in(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: the same listing twice; then the order is replaced by somebody and no longer listed."""
    desk.broker.orders = {CLIENT_ID: told(CLIENT_ID, "new")}
    taken: list[str] = []
    take_in = catch_up.take_in

    async def counted(database: Database, evidence: Any, **how: Any) -> Any:
        taken.append(how["source"])
        return await take_in(database, evidence, **how)

    monkeypatch.setattr(catch_up, "take_in", counted)
    for _ in range(2):
        await desk.catch_up.run(orders=True)
    assert taken == ["open-order list"]
    successor = told("theirs", "filled", quantity=Decimal(12)).model_copy(
        update={"broker_order_id": "second", "replaces": ID, "filled_quantity": Decimal(12)}
    )
    desk.broker.orders = {}
    desk.broker.by_id = {
        ID: told(CLIENT_ID, "replaced").model_copy(update={"replaced_by": "second"}),
        "second": successor,
    }
    await desk.catch_up.run(orders=True)
    order = await desk.order()
    assert (order.status, order.broker_order_id, order.quantity) == (OrderStatus.FILLED, "second", 12)


async def test_a_stream_is_doubted_that_should_have_brought_an_execution(desk: Desk) -> None:
    """Not a young one, which is on its way, and not where it has brought anything since."""
    desk.broker.orders = {CLIENT_ID: told(CLIENT_ID, "new")}
    await desk.catch_up.run(orders=True)
    for age, update_age, doubted in ((1, None, False), (20, 10, False), (20, 30, True)):
        async with desk.database.transaction("test") as connection:
            await connection.execute("delete from executions")
            await connection.execute(
                "update orders set status = 'ACKNOWLEDGED', raw_status = 'new', filled_quantity = 0,"
                " broker_filled_quantity = 0, execution_count = 0, final_at = null"
            )
            await connection.execute("update trade_stream set last_update_at = null, doubted_at = null")
        await desk.connected(seconds_ago=60)
        await desk.is_doubted(None if update_age is None else ago(update_age))
        desk.broker.fills = [listed_fill(ID, age_seconds=age)]
        await desk.catch_up.run(orders=False)
        assert await desk.is_doubted() is doubted, (age, update_age)
    await desk.connected(seconds_ago=0)
    assert not await desk.is_doubted(), "a new connection is as good as any"


@dataclass
class Streams:
    """Connections that answer pings and bring nothing; each can be broken."""

    opened: list["asyncio.Event"] = field(default_factory=list)
    caught_up: int = 0

    def stream_trade_updates(self) -> "Streams":
        return self

    async def __aenter__(self) -> "Streams":
        self.opened.append(asyncio.Event())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return

    async def __aiter__(self) -> AsyncIterator[Any]:
        await self.opened[-1].wait()
        raise NetworkError("a frame that cannot be read")
        yield

    async def ping(self, timeout_seconds: float) -> None:
        return

    async def run(self, *, orders: bool) -> None:
        self.caught_up += orders

    async def until(self, connections: int) -> None:
        async with asyncio.timeout(20):
            while (len(self.opened), self.caught_up) != (connections, connections):
                await asyncio.sleep(0.01)


async def test_the_holder_connects_anew_after_doubt_and_after_a_frame_it_cannot_read(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And catches up each time."""
    monkeypatch.setattr(trade_updates, "PING_INTERVAL_SECONDS", 0.02)
    monkeypatch.setattr(trade_updates, "RECONNECT_PAUSE_SECONDS", 0.02)
    streams: Any = Streams()
    holder: Any = TradeUpdateActivities(desk.database, streams, streams, Silent(), now=lambda: ago(0))  # type: ignore[arg-type]
    holding = asyncio.create_task(ActivityEnvironment().run(holder.hold_trade_updates, StreamInput()))
    await streams.until(1)
    streams.opened[0].set()
    await streams.until(2)
    async with desk.database.connection() as connection:
        assert await doubt_stream(connection, executed_at=ago(-1), now=ago(-2))
    await streams.until(3)
    holding.cancel()
    with suppress(asyncio.CancelledError):
        await holding


async def test_without_a_holder_the_catch_up_runs_every_5_seconds_in_every_process(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """UPDATE_STREAM_DOWN after a minute, cleared when somebody holds it; another's pass counts as ours."""
    at = ago(0)
    runs: list[bool] = []

    class Pass:
        is_running = False

        async def run(self, *, orders: bool) -> None:
            runs.append(orders)
            async with desk.database.connection() as connection:
                await connection.execute(
                    "update trade_stream set last_catch_up_at = $1, orders_listed_at = $1", at
                )

    monkeypatch.setattr(stream_watch, "TRY_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(stream_watch, "utc_now", lambda: at)
    watches = [StreamWatch(desk.database, Pass(), Metrics()) for _ in range(2)]  # type: ignore[arg-type]
    async with desk.database.connection() as connection:
        await stream_connected(connection, at)
    began = at
    for seconds, passes in ((0, 1), (3, 1), (7, 2), (11, 2), (12, 3), (49, 4), (62, 5)):
        at = began + timedelta(seconds=seconds)
        for watch in watches:
            await watch.catch_up()
            await watch.watch_stream()
        assert len(runs) == passes, seconds
    assert runs == [True, False, False, False, False]
    assert await desk.alerts() == [AlertCode.UPDATE_STREAM_DOWN]
    async with desk.database.connection() as connection:
        await stream_connected(connection, at)
        assert (await read_stream(connection)).disconnected_at is None
    for watch in watches:
        await watch.catch_up()
        await watch.watch_stream()
    assert len(runs) == 5, "held again: not before 50 s"
    assert await desk.alerts() == []


async def test_a_catch_up_that_its_holder_did_not_make_is_made_by_the_watch(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all open orders, whatever was listed before the connection, and again until one is done after it.

    How: a connection whose holder's pass fails; the first pass of the watch is overtaken by the next connection.
    """
    at = began = ago(60)
    runs: list[bool] = []
    run = desk.catch_up.run

    async def counted(*, orders: bool) -> None:
        runs.append(orders)
        await run(orders=orders)

    async def reconnected(since: datetime) -> list[Fill]:
        nonlocal at
        if len(runs) == 1:
            at = began + timedelta(seconds=19.5)
            await desk.connected(seconds_ago=(ago(0) - began).total_seconds() - 19)
        return []

    monkeypatch.setattr(stream_watch, "TRY_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(stream_watch, "utc_now", lambda: at)
    monkeypatch.setattr(desk.catch_up, "_now", lambda: at)
    monkeypatch.setattr(desk.catch_up, "run", counted)
    monkeypatch.setattr(desk.broker, "get_fills", reconnected)
    await run(orders=True)
    async with desk.database.connection() as connection:
        await stream_connected(connection, began + timedelta(seconds=10))
    watch = StreamWatch(desk.database, desk.catch_up, Metrics())
    for seconds, passes in ((12, 0), (16, 1), (20, 1), (25, 2), (26, 2)):
        at = began + timedelta(seconds=seconds)
        async with desk.database.connection() as connection:
            await stream_seen(connection, at, None)
        await watch.catch_up()
        assert len(runs) == passes, seconds
    assert runs == [True, True]
