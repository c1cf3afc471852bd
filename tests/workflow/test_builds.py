"""A changed workflow is deployed while orders are in flight: none is stuck, none meets code that it does not know.

On a server of its own: a build that is current there would keep every other test's orders from their workers.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from activities import builds as builds_module
from activities.builds import Builds, UnknownBuild
from activities.starter import OrderStarter
from market.calendar import TradingCalendar
from schemas import wire
from schemas.alerts import AlertCode
from schemas.builds import Build, BuildState
from schemas.orders import OrderStatus, TimeInForce
from schemas.wire import Queue
from storage.alerts import list_alerts
from storage.builds import list_builds, save_builds
from storage.database import Database
from tests.postgres.books import prepare, propose
from tests.replay.changed import OtherAlarm
from tests.replay.replaying import failure
from tests.servers.session import Servers
from tests.servers.temporal import start_server
from tests.workflow.book import proposal
from tests.workflow.desk import Desk
from tests.workflow.protected import ProtectedBroker, at_rest, ended, protection_of, tell_leg, until_true
from tests.workflow.running import (
    POLL_SECONDS,
    RESTS,
    WITHIN_SECONDS,
    Order,
    count,
    events,
    outcome,
    start,
    tell,
    until,
)
from workers import build_watch, temporal
from workers.build_watch import BuildWatch
from workers.first_build import first_build
from workers.roles import as_build
from workflows.orders import OrderWorkflow
from workflows.protection import ProtectionWorkflow

ORDERS = Queue.ORDERS.value
LOOK_SECONDS = 0.2
OLD, NEW = "1.0-old", "1.1-new"


async def connect(address: str) -> Client:
    return await Client.connect(address, namespace=temporal.NAMESPACE, data_converter=pydantic_data_converter)


@pytest.fixture(scope="module")
async def client(servers: Servers) -> Client:
    """Give a client of a server on which nothing has run."""
    server = await start_server(servers, "temporal-builds", time_skipping=False)
    return await connect(server.address)


@asynccontextmanager
async def running(client: Client, build: str, *workflows: type) -> AsyncIterator[None]:
    """The orders' process of one build. Its client is its own: a worker of the starter's would get an eager start,
    whatever its build is.
    """
    async with Worker(
        await connect(client.service_client.config.target_host),
        task_queue=ORDERS,
        workflows=workflows,
        deployment_config=as_build(Queue.ORDERS, build),
    ):
        yield


@asynccontextmanager
async def steps(client: Client, desk: Desk) -> AsyncIterator[None]:
    """Risk and execution, which have no build."""
    async with AsyncExitStack() as stack:
        for role in (Queue.RISK, Queue.EXECUTION):
            worker = Worker(client, task_queue=role.value, activities=desk.activities(role))
            await stack.enter_async_context(worker)
        yield


class Floor:
    """Orders of one test, and where each of them runs."""

    def __init__(self, client: Client, calendar: TradingCalendar, unique: Callable[[str], str]) -> None:
        self.client = client
        self.desk = Desk()
        self._calendar = calendar
        self._unique = unique

    def broker(self, *, stop: bool = False) -> ProtectedBroker:
        """One more order that rests until it is filled."""
        made = ProtectedBroker(proposal(self._unique("s"), time_in_force=TimeInForce.GTC), self._calendar)
        if not stop:
            made.hard_stop = None
        return self.desk.add(made)

    async def start(self, broker: ProtectedBroker) -> Order:
        return await start(self.client, broker, ORDERS)

    async def rests(self, broker: ProtectedBroker) -> Order:
        order = await self.start(broker)
        await until(order, RESTS)
        return order

    async def build_of(self, handle: WorkflowHandle[Any, Any]) -> str:
        """On which build it was last seen to run."""
        found = await self.client.get_workflow_handle(handle.id).describe()
        info = found.raw_description.workflow_execution_info.versioning_info
        return info.deployment_version.build_id

    async def moved(self, handle: WorkflowHandle[Any, Any], build: str) -> None:
        async with asyncio.timeout(WITHIN_SECONDS):
            while await self.build_of(handle) != build:
                await asyncio.sleep(POLL_SECONDS)

    async def runs(self, workflow_id: str) -> list[Any]:
        """Every run of it, oldest first."""
        found = [each async for each in self.client.list_workflows(f"WorkflowId = '{workflow_id}'")]
        return sorted(found, key=lambda each: each.start_time)


async def test_a_changed_workflow_is_deployed_with_orders_in_flight(
    client: Client, calendar: TradingCalendar, unique: Callable[[str], str], database: str
) -> None:
    """How: at the deployment one order waits for risk, one's POST is out, one of each kind rests; the new build's
    workflow begins otherwise, so that no history of the old one replays on it.
    """
    floor, builds = Floor(client, calendar, unique), Builds(client)
    assessed, posted, filled, resting, partly = (floor.broker() for _ in range(5))
    entry, fresh, back = floor.broker(stop=True), floor.broker(), floor.broker()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(steps(client, floor.desk))
        old = await stack.enter_async_context(AsyncExitStack())
        await old.enter_async_context(running(client, OLD, OrderWorkflow, ProtectionWorkflow))
        await first_build(client, Queue.ORDERS, OLD)
        risk = await stack.enter_async_context(assessed.held(wire.ACTIVITY_ASSESS_RISK))
        post = await stack.enter_async_context(posted.held(wire.ACTIVITY_PLACE_ORDER))
        begun = [await floor.start(each) for each in (assessed, posted)]
        at_rest_orders = [await floor.rests(each) for each in (filled, resting, partly, entry)]
        await tell(at_rest_orders[2], partly.fill("4"))
        await tell(at_rest_orders[3], entry.fill("10"))
        await until_true(entry.is_live)
        await at_rest(protection_of(client, entry))
        await asyncio.gather(risk.asked.wait(), post.asked.wait())

        # A build that nobody runs cannot be promoted; one that comes up takes nothing by itself.
        with pytest.raises(UnknownBuild):
            await builds.promote(ORDERS, "1.2-none", within_seconds=0)
        await stack.enter_async_context(running(client, NEW, OtherAlarm, ProtectionWorkflow))
        await first_build(client, Queue.ORDERS, NEW)
        assert [each.build_id for each in await builds.read(ORDERS) if each.state is BuildState.CURRENT] == [
            OLD
        ]
        await builds.promote(ORDERS, NEW)

        # Within the session: what is in flight goes on where it is, what is new begins on the new build.
        risk.opened.set()
        post.opened.set()
        for order in begun:
            await until(order, RESTS)
            assert await floor.build_of(order) == OLD
        await tell(at_rest_orders[0], filled.fill("10"))
        assert (await outcome(at_rest_orders[0])).status is OrderStatus.FILLED
        assert await floor.build_of(at_rest_orders[0]) == OLD
        new = await floor.rests(fresh)
        assert await floor.build_of(new) == NEW

        # At the close what is left moves, and the old build has none of its own.
        left = [*begun, at_rest_orders[1], at_rest_orders[2], protection_of(client, entry)]
        await drained(client, database)
        for handle in left:
            await floor.moved(handle, NEW)
        await old.aclose()
        for order, broker in zip(left, (assessed, posted, resting), strict=False):
            await tell(order, broker.fill("10"))
            assert (await outcome(order)).status is OrderStatus.FILLED
        await tell(left[3], partly.fill("6"))
        assert (await outcome(left[3])).filled_quantity == "10"
        protection = protection_of(client, entry)
        await at_rest(protection)
        await tell_leg(protection, entry.told(filled_quantity=entry.stop.quantity, status=OrderStatus.FILLED))
        assert (await ended(protection)).exited == 10

        # Back again: a build that runs is promoted like any other.
        await stack.enter_async_context(running(client, OLD, OrderWorkflow, ProtectionWorkflow))
        await builds.promote(ORDERS, OLD)
        again = await floor.rests(back)
        assert await floor.build_of(again) == OLD
        for order, broker in ((new, fresh), (again, back)):
            await tell(order, broker.fill("10"))
            assert (await outcome(order)).status is OrderStatus.FILLED

    for broker in (assessed, posted, filled, resting, partly, entry, fresh, back):
        assert broker.post_count == 1, "a move never sends anything twice"
        await no_task_has_failed(floor, wire.order_workflow_id(broker.proposal.signal_id))
    await no_task_has_failed(floor, protection.id)
    first_run = (await floor.runs(left[2].id))[0]
    history = await client.get_workflow_handle(first_run.id, run_id=first_run.run_id).fetch_history()
    assert await failure(history, OrderWorkflow) is None
    assert await failure(history, OtherAlarm) is not None, "the change was one that no old order survives"


async def test_what_nobody_runs_any_more_is_begun_anew(
    client: Client,
    calendar: TradingCalendar,
    unique: Callable[[str], str],
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How: an order rests on a build whose only process ends; within the session, as nobody is left to drain it."""
    monkeypatch.setattr(build_watch, "UNATTENDED_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(builds_module, "POLLED_WITHIN", timedelta(seconds=1))
    floor, builds = Floor(client, calendar, unique), Builds(client)
    broker = floor.broker()
    signal_id = broker.proposal.signal_id
    rows = await Database.connect(database)
    await prepare(rows)
    await propose(rows, signal_id)
    starter = OrderStarter(client, ORDERS)
    watch = BuildWatch(rows, client, starter, SimpleNamespace(at=the_session))  # type: ignore[arg-type]
    async with AsyncExitStack() as stack:
        stack.push_async_callback(rows.close)
        await stack.enter_async_context(steps(client, floor.desk))
        async with running(client, "2.0-gone", OrderWorkflow, ProtectionWorkflow):
            await builds.promote(ORDERS, "2.0-gone")
            order = await floor.rests(broker)
            assert await floor.build_of(order) == "2.0-gone"
        await stack.enter_async_context(running(client, "2.1-here", OtherAlarm, ProtectionWorkflow))
        await builds.promote(ORDERS, "2.1-here")
        async with asyncio.timeout(WITHIN_SECONDS):
            while await floor.build_of(order) != "2.1-here":
                await watch.watch_builds()
                await asyncio.sleep(LOOK_SECONDS)
        await until(order, RESTS)
        await tell(order, broker.fill("10"))
        assert (await outcome(order)).status is OrderStatus.FILLED
    assert broker.post_count == 1
    ends = [run.status for run in await floor.runs(order.id)]
    assert ends[0] is WorkflowExecutionStatus.TERMINATED
    assert ends[-1] is WorkflowExecutionStatus.COMPLETED


async def test_a_person_is_told_while_nobody_runs_the_build_that_gets_new_work(database: str) -> None:
    rows = await Database.connect(database)
    at = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)
    build = Build(deployment=ORDERS, build_id=NEW, state=BuildState.CURRENT, attended=False)
    for number, attended in enumerate((False, True)):
        async with rows.transaction("test") as connection:
            seen = build.model_copy(update={"attended": attended})
            await save_builds(connection, ORDERS, [seen], now=at + timedelta(seconds=number))
            [alert] = await list_alerts(connection, everything=True)
            assert (alert.code, alert.subject) == (AlertCode.BUILD_UNATTENDED, ORDERS)
            assert (alert.cleared_at is not None) is attended
    async with rows.connection() as connection:
        found = await connection.fetch("select decision from audit_log order by occurred_at, id")
    await rows.close()
    assert [row["decision"] for row in found] == ["BUILD_CURRENT", "ALERT_RAISED", "ALERT_CLEARED"]


async def the_session(_: object) -> Any:
    return SimpleNamespace(is_open=True)


async def drained(client: Client, database: str) -> None:
    """Operations look at the builds after the close, until nothing is open on the old one."""
    rows = await Database.connect(database)
    closed: Any = SimpleNamespace(at=the_close)
    watch = BuildWatch(rows, client, OrderStarter(client, ORDERS), closed)
    old = Build(deployment=ORDERS, build_id=OLD, state=BuildState.DRAINING)
    try:
        async with asyncio.timeout(WITHIN_SECONDS):
            while await Builds(client).count_open(old):
                await watch.watch_builds()
                await asyncio.sleep(LOOK_SECONDS)
            await watch.watch_builds()
        async with rows.connection() as connection:
            seen = {each.build_id: each for each in await list_builds(connection)}
            audited = await connection.fetch("select decision from audit_log where correlation_id = 'builds'")
    finally:
        await rows.close()
    assert seen[NEW].state is BuildState.CURRENT
    assert seen[OLD].open_workflows == 0
    assert [row["decision"] for row in audited] == ["BUILD_CURRENT"]


async def the_close(_: object) -> Any:
    return SimpleNamespace(is_open=False)


async def no_task_has_failed(floor: Floor, workflow_id: str) -> None:
    for run in await floor.runs(workflow_id):
        history = await events(floor.client.get_workflow_handle(workflow_id, run_id=run.run_id))
        assert count(history, EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED) == 0, workflow_id
