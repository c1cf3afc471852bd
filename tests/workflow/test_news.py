"""What an order's workflow hears: newest version wins, evidence outranks verdicts, rubbish changes nothing."""

import itertools
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowUpdateFailedError
from temporalio.common import RawValue

from broker import lifecycle
from schemas import wire
from schemas.broker import TradeEvent
from schemas.orders import OrderStatus
from schemas.runs import OrderReport
from tests.workflow.running import (
    RESTS,
    Order,
    count,
    decided,
    events,
    outcome,
    resting,
    start_standing,
    tell,
    until,
    workers,
)
from tests.workflow.scripted import ScriptedBroker
from workflows.orders import OrderWorkflow

if TYPE_CHECKING:
    from temporalio.testing import TimeSkipper

Make = Callable[..., ScriptedBroker]


async def known_version(order: Order) -> int:
    """The row version that the workflow goes by."""
    report: OrderReport = await order.query(OrderWorkflow.status)
    assert report.order is not None
    return report.order.row_version


class TestVersions:
    async def test_an_older_and_a_repeated_state_change_nothing(
        self, time_skipping_env: "TimeSkipper", scripted: Make, trading: str
    ) -> None:
        broker = scripted()
        async with resting(time_skipping_env, broker, trading) as order:
            resting_view = broker.view
            first, second = broker.fill("3"), broker.fill("3")
            for view in (second, first, second, resting_view, first):
                await tell(order, view)
            report = await until(order, "fills, until 2 minutes before the bell")
            assert report.order == second
            assert [entry.decision for entry in report.timeline].count("PARTIALLY_FILLED") == 1
            await tell(order, broker.fill("4"))
            assert (await outcome(order)).filled_quantity == "10"

    async def test_any_order_of_arrival_ends_the_same(
        self, time_skipping_env: "TimeSkipper", scripted: Make, unique: Callable[[str], str]
    ) -> None:
        for arrival in itertools.permutations(range(3)):
            broker = scripted()
            async with resting(time_skipping_env, broker, unique("queue")) as order:
                views = [broker.fill("3"), broker.fill("3"), broker.fill("4")]
                for index in arrival:
                    await tell(order, views[index])
                result = await outcome(order)
            assert (result.status, result.filled_quantity) == (OrderStatus.FILLED, "10"), arrival

    async def test_a_state_told_late_does_not_reopen_an_ended_order(
        self, time_skipping_env: "TimeSkipper", scripted: Make, trading: str
    ) -> None:
        broker = scripted()
        async with resting(time_skipping_env, broker, trading) as order:
            partial = broker.fill("3")
            async with broker.held(wire.ACTIVITY_SETTLE_ORDER) as settlement:
                await tell(order, broker.says(TradeEvent.CANCELED))
                await settlement.asked.wait()
                await tell(order, partial)
            result = await outcome(order)
        assert (result.status, result.filled_quantity) == (OrderStatus.CANCELED, "3")

    async def test_a_fill_told_while_the_bell_is_asked_for_ends_the_wait_for_it(
        self, time_skipping_env: "TimeSkipper", scripted: Make, queue: str
    ) -> None:
        broker = scripted()
        async with resting(time_skipping_env, broker, queue) as order:
            async with broker.held(wire.ACTIVITY_SESSION) as bell:
                await tell(order, broker.fill("4"))
                await bell.asked.wait()
                await tell(order, broker.fill("6"))
            result = await outcome(order)
        assert (result.status, result.filled_quantity) == (OrderStatus.FILLED, "10")


class TestEvidenceReopens:
    async def test_a_bust_before_settlement_puts_the_order_back_to_work(
        self, time_skipping_env: "TimeSkipper", scripted: Make, trading: str
    ) -> None:
        """Settlement reads the order back and finds it alive: the workflow watches it again."""
        broker = scripted()
        async with resting(time_skipping_env, broker, trading) as order:
            await tell(order, broker.fill("4"))
            await until(order, "fills")
            async with broker.held(wire.ACTIVITY_SETTLE_ORDER) as settlement:
                await tell(order, broker.fill("6"))
                await settlement.asked.wait()
                broker.bust()
            report = await until(order, "fills, until 2 minutes before the bell")
            assert report.order is not None
            assert (report.order.status, report.order.filled_quantity) == (
                OrderStatus.PARTIALLY_FILLED,
                Decimal(4),
            )
            await tell(order, broker.fill("6", "180.40"))
            result = await outcome(order)
        assert (result.status, result.average_price) == (OrderStatus.FILLED, "180.428")

    async def test_an_order_given_up_for_lost_that_shows_up_is_watched(
        self, time_skipping_env: "TimeSkipper", scripted: Make, trading: str
    ) -> None:
        env, broker = time_skipping_env, scripted()
        broker.script(wire.ACTIVITY_PLACE_ORDER, "UNKNOWN")
        broker.script(wire.ACTIVITY_RESOLVE_ORDER, "ENDED")
        async with workers(env.client, broker, trading):
            async with broker.held(wire.ACTIVITY_SETTLE_ORDER) as settlement:
                order = await start_standing(env, broker, trading)
                await settlement.asked.wait()
                assert broker.state.status is OrderStatus.FATAL_ERROR
                await tell(order, broker.apply(broker.broker_order("new")))
            await until(order, RESTS)
            await tell(order, broker.fill("10"))
            result = await outcome(order)
        assert (result.status, result.filled_quantity) == (OrderStatus.FILLED, "10")

    async def test_a_refusal_of_ours_yields_to_the_broker(
        self, time_skipping_env: "TimeSkipper", scripted: Make, trading: str
    ) -> None:
        """A refusal misread: the order does stand there, and is followed to its end."""
        env, broker = time_skipping_env, scripted()
        broker.script(wire.ACTIVITY_PLACE_ORDER, "REFUSE")
        async with workers(env.client, broker, trading):
            async with broker.held(wire.ACTIVITY_SETTLE_ORDER) as settlement:
                order = await start_standing(env, broker, trading)
                await settlement.asked.wait()
                broker.apply(lifecycle.Adopted(broker.broker_order("new")))
            await until(order, RESTS)
            await tell(order, broker.fill("10"))
            assert (await outcome(order)).status is OrderStatus.FILLED


RUBBISH: dict[str, Any] = {
    "null": None,
    "text": "filled",
    "list": [1, 2, 3],
    "empty object": {},
    "wrong types": {"signal_id": 7, "row_version": "many", "status": "HALF"},
    "not JSON": RawValue(Payload(metadata={"encoding": b"json/plain"}, data=b"{")),
    "unknown encoding": RawValue(Payload(metadata={"encoding": b"binary/protobuf"}, data=b"\x08\x96\x01")),
    "no encoding": RawValue(Payload(data=b"\xff\xfe")),
}


class TestRubbish:
    """Signals are not trusted: anyone who can reach Temporal may send one."""

    async def test_no_signal_wedges_or_changes_the_workflow(
        self, time_skipping_env: "TimeSkipper", scripted: Make, trading: str
    ) -> None:
        """With a typed handler no payload, null and one argument too many wedged the order for ever."""
        broker = scripted()
        async with resting(time_skipping_env, broker, trading) as order:
            for payload in RUBBISH.values():
                await order.signal(wire.SIGNAL_ORDER_UPDATED, payload)
            await order.signal(wire.SIGNAL_ORDER_UPDATED)
            await order.signal(wire.SIGNAL_ORDER_UPDATED, args=[broker.view, broker.view])
            await order.signal("no-such-signal", broker.view.model_copy(update={"row_version": 1_000}))
            report = await order.query(OrderWorkflow.status)
            assert report.order == broker.view
            await tell(order, broker.fill("10"))
            assert (await outcome(order)).filled_quantity == "10"
            assert count(await events(order), EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED) == 0

    @pytest.mark.parametrize("payload", RUBBISH.values(), ids=RUBBISH)
    async def test_an_update_that_cannot_be_read_is_refused(
        self, time_skipping_env: "TimeSkipper", scripted: Make, unique: Callable[[str], str], payload: Any
    ) -> None:
        broker = scripted()
        async with resting(time_skipping_env, broker, unique("queue")) as order:
            with pytest.raises(WorkflowUpdateFailedError):
                await order.execute_update(wire.UPDATE_CANCEL_ORDER, payload)
            assert broker.cancel_requested_by is None
            await tell(order, broker.fill("10"))
            assert (await outcome(order)).filled_quantity == "10"

    async def test_a_state_of_another_order_is_not_taken_for_ours(
        self, time_skipping_env: "TimeSkipper", scripted: Make, unique: Callable[[str], str]
    ) -> None:
        """Signals are not trusted: anyone who can reach Temporal may send one."""
        broker, other = scripted(), scripted()
        async with resting(time_skipping_env, broker, unique("queue")) as order:
            other.post_count = 1
            other.row_version = 1_000
            await tell(order, other.fill("10"))
            assert await known_version(order) == broker.row_version
            await tell(order, broker.fill("10"))
            assert (await outcome(order)).filled_quantity == "10"

    async def test_an_end_that_no_row_knows_is_dropped_at_settlement(
        self, time_skipping_env: "TimeSkipper", scripted: Make, trading: str
    ) -> None:
        """A forged signal, or a database restored from yesterday: the row that settlement reads is older."""
        broker = scripted()
        async with resting(time_skipping_env, broker, trading) as order:
            forged = broker.view.model_copy(update={"status": OrderStatus.CANCELED, "row_version": 1_000})
            await tell(order, forged)
            await decided(order, "CANCELED")
            await until(order, RESTS)
            assert await known_version(order) == broker.row_version
            assert broker.calls.count(wire.ACTIVITY_SETTLE_ORDER) == 1
            await tell(order, broker.fill("10"))
            assert (await outcome(order)).status is OrderStatus.FILLED
