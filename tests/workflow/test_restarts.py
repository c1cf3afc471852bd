"""A run has no modes: after Terminate, a failed run or continue-as-new the next one goes on from the row."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from temporalio.client import WorkflowFailureError, WorkflowUpdateStage

from schemas import wire
from schemas.broker import TradeEvent
from schemas.orders import CancelAnswer, OrderStatus
from schemas.runs import CancelCommand, CancelReply
from tests.workflow.conftest import SUGGESTED_AFTER_EVENTS
from tests.workflow.running import (
    RESTS,
    Order,
    events,
    outcome,
    resting,
    start,
    start_standing,
    tell,
    until,
    workers,
)
from tests.workflow.scripted import ScriptedBroker

if TYPE_CHECKING:
    from temporalio.testing import TimeSkipper

Make = Callable[..., ScriptedBroker]

TRIES = 4


async def again(env: "TimeSkipper", broker: ScriptedBroker, queue: str, order: Order) -> Order:
    """Terminate the run and start the next one, as an operator and then the sweeper would."""
    await order.terminate("test")
    with env.with_time_skipping_disabled():
        return await start(env.client, broker, queue, again=True)


class TestTerminated:
    async def test_while_resting(
        self, time_skipping_env: "TimeSkipper", scripted: Make, trading: str
    ) -> None:
        broker = scripted()
        async with resting(time_skipping_env, broker, trading) as first:
            second = await again(time_skipping_env, broker, trading, first)
            await until(second, RESTS)
            assert broker.post_count == 1
            await tell(second, broker.fill("10"))
            assert (await outcome(second)).status is OrderStatus.FILLED

    async def test_with_the_post_out_the_next_run_looks_it_up(
        self, time_skipping_env: "TimeSkipper", scripted: Make, queue: str
    ) -> None:
        broker = scripted()
        async with workers(time_skipping_env.client, broker, queue):
            async with broker.held(wire.ACTIVITY_PLACE_ORDER) as post:
                first = await start_standing(time_skipping_env, broker, queue)
                await post.asked.wait()
                second = await again(time_skipping_env, broker, queue, first)
                await until(second, RESTS)
            assert broker.post_count == 1
            assert wire.ACTIVITY_RESOLVE_ORDER in broker.calls
            await tell(second, broker.fill("10"))
            assert (await outcome(second)).status is OrderStatus.FILLED

    async def test_a_cancel_asked_for_before_is_sent_by_the_next_run(
        self, time_skipping_env: "TimeSkipper", scripted: Make, trading: str
    ) -> None:
        broker = scripted()
        async with resting(time_skipping_env, broker, trading) as first:
            async with broker.held(wire.ACTIVITY_CANCEL_ORDER) as cancel:
                await first.start_update(
                    wire.UPDATE_CANCEL_ORDER, CancelCommand(actor="ana"),
                    wait_for_stage=WorkflowUpdateStage.ACCEPTED,
                )  # fmt: skip
                await cancel.asked.wait()
                second = await again(time_skipping_env, broker, trading, first)
                await until(second, RESTS)
            assert broker.calls.count(wire.ACTIVITY_CANCEL_ORDER) == 2
            await tell(second, broker.says(TradeEvent.CANCELED))
            assert (await outcome(second)).status is OrderStatus.CANCELED
        assert broker.cancel_requested_by == "ana"

    async def test_with_its_rest_being_cancelled_at_the_bell(
        self, time_skipping_env: "TimeSkipper", scripted: Make, trading: str
    ) -> None:
        broker = scripted()
        async with resting(time_skipping_env, broker, trading) as first:
            await tell(first, broker.fill("4"))
            await until(first, "fills")
            second = await again(time_skipping_env, broker, trading, first)
            await until(second, "fills, until 2 minutes before the bell")
            await tell(second, broker.says(TradeEvent.CANCELED))
            assert (await outcome(second)).filled_quantity == "4"

    async def test_between_its_end_and_its_settlement(
        self, time_skipping_env: "TimeSkipper", scripted: Make, trading: str
    ) -> None:
        broker = scripted()
        async with (
            resting(time_skipping_env, broker, trading) as first,
            broker.held(wire.ACTIVITY_SETTLE_ORDER) as settlement,
        ):
            await tell(first, broker.fill("10"))
            await settlement.asked.wait()
            second = await again(time_skipping_env, broker, trading, first)
            result = await outcome(second)
        assert result.status is OrderStatus.FILLED
        assert broker.settled


async def test_a_settled_order_is_not_started_again_and_changes_nothing_if_it_is(
    time_skipping_env: "TimeSkipper", scripted: Make, trading: str
) -> None:
    broker = scripted()
    async with resting(time_skipping_env, broker, trading) as order:
        await tell(order, broker.fill("10"))
        first = await outcome(order)
        before, run_id = broker.view, (await order.describe()).run_id
        await start(time_skipping_env.client, broker, trading)
        assert (await order.describe()).run_id == run_id, "the gateway's start: once ever"
        assert await outcome(await start(time_skipping_env.client, broker, trading, again=True)) == first
    assert broker.view == before
    assert broker.post_count == 1


class TestFailures:
    async def test_a_workflow_started_by_hand_without_a_row_fails_at_once(
        self, time_skipping_env: "TimeSkipper", scripted: Make, trading: str
    ) -> None:
        broker = scripted()
        broker.script(wire.ACTIVITY_ASSESS_RISK, "!OrderNotFound")
        async with workers(time_skipping_env.client, broker, trading):
            order = await start(time_skipping_env.client, broker, trading)
            with pytest.raises(WorkflowFailureError):
                await asyncio.wait_for(order.result(), 20)
        assert broker.calls == [wire.ACTIVITY_ASSESS_RISK]

    @pytest.mark.parametrize(
        "step",
        [
            wire.ACTIVITY_ASSESS_RISK,
            wire.ACTIVITY_CHECK_PRE_TRADE,
            wire.ACTIVITY_PLACE_ORDER,
            wire.ACTIVITY_SETTLE_ORDER,
        ],
    )
    async def test_a_step_that_may_be_tried_again_is_until_it_answers(
        self, time_skipping_env: "TimeSkipper", scripted: Make, queue: str, step: str
    ) -> None:
        """Local steps wait for their next try in real time, so only a few times here."""
        broker = scripted()
        broker.script(step, *["!ERR_NETWORK"] * TRIES)
        async with workers(time_skipping_env.client, broker, queue):
            order = await start(time_skipping_env.client, broker, queue)
            await until(order, RESTS)
            await tell(order, broker.fill("10"))
            assert (await outcome(order)).status is OrderStatus.FILLED
        assert broker.calls.count(step) == TRIES + 1
        assert broker.post_count == 1

    async def test_a_step_that_can_never_answer_fails_the_run_and_the_next_goes_on(
        self, time_skipping_env: "TimeSkipper", scripted: Make, trading: str
    ) -> None:
        """The account is blocked for a while: each start tries once more, and the row is as it was."""
        broker = scripted()
        broker.script(wire.ACTIVITY_SETTLE_ORDER, "!!ERR_FORBIDDEN")
        async with resting(time_skipping_env, broker, trading) as order:
            await tell(order, broker.fill("10"))
            with pytest.raises(WorkflowFailureError):
                await asyncio.wait_for(order.result(), 20)
            result = await outcome(await start(time_skipping_env.client, broker, trading, again=True))
        assert (result.status, result.filled_quantity) == (OrderStatus.FILLED, "10")


class TestContinueAsNew:
    """The server asks for it after 40 events here."""

    async def test_a_long_history_goes_on_as_a_fresh_run_and_loses_nothing(
        self, brief_env: "TimeSkipper", scripted: Make, queue: str
    ) -> None:
        broker = scripted(quantity=Decimal(30))
        async with resting(brief_env, broker, queue) as order:
            first = (await order.describe()).run_id
            for _ in range(29):
                await tell(order, broker.fill("1"))
            await until(order, "fills, until 2 minutes before the bell")
            assert (await order.describe()).run_id != first
            await tell(order, broker.fill("1"))
            result = await outcome(order)
        assert (result.status, result.filled_quantity) == (OrderStatus.FILLED, "30")
        assert broker.post_count == 1

    async def test_a_cancelled_workflow_does_not_forget_it_there(
        self, brief_env: "TimeSkipper", scripted: Make, trading: str
    ) -> None:
        """What was known already makes the history long without waking the workflow; the cancel does."""
        broker = scripted()
        async with resting(brief_env, broker, trading) as order:
            await lengthen(order, broker)
            await order.cancel()
            async with asyncio.timeout(20):
                while not broker.cancels_sent:
                    await asyncio.sleep(0.02)
            await tell(order, broker.says(TradeEvent.CANCELED))
            assert (await outcome(order)).status is OrderStatus.CANCELED
        assert broker.cancel_requested_by == "workflow cancel"

    async def test_an_update_is_answered_before_it(
        self, brief_env: "TimeSkipper", scripted: Make, trading: str
    ) -> None:
        broker = scripted()
        async with resting(brief_env, broker, trading) as order:
            await lengthen(order, broker)
            async with broker.held(wire.ACTIVITY_CANCEL_ORDER) as cancel:
                update = await order.start_update(
                    wire.UPDATE_CANCEL_ORDER, CancelCommand(actor="ana"), result_type=CancelReply,
                    wait_for_stage=WorkflowUpdateStage.ACCEPTED,
                )  # fmt: skip
                await cancel.asked.wait()
                await tell(order, broker.fill("1"))
            assert (await update.result()).answer is CancelAnswer.REQUESTED
            await tell(order, broker.says(TradeEvent.CANCELED))
            assert (await outcome(order)).filled_quantity == "1"


async def lengthen(order: Order, broker: ScriptedBroker) -> None:
    """Make the history long enough that the server asks for a new run."""
    for _ in range(SUGGESTED_AFTER_EVENTS // 4):
        await tell(order, broker.view)
        await until(order, RESTS)
    assert len(await events(order)) > SUGGESTED_AFTER_EVENTS
