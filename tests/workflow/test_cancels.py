"""Cancelling at every moment of an order's life, by update and by cancelling the workflow."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowUpdateFailedError, WorkflowUpdateStage
from temporalio.service import RPCError, RPCStatusCode

from schemas import wire
from schemas.broker import TradeEvent
from schemas.orders import CancelAnswer, OrderStatus
from schemas.risk import AssessmentKind
from schemas.runs import CancelCommand, CancelReply
from schemas.wire import Queue
from tests.workflow.protected import until_true
from tests.workflow.running import (
    RESTS,
    Order,
    cancelled,
    decided,
    outcome,
    resting,
    start_standing,
    tell,
    until,
    workers,
)
from tests.workflow.scripted import ScriptedBroker

if TYPE_CHECKING:
    from temporalio.testing import TimeSkipper

Make = Callable[..., ScriptedBroker]

ANA = CancelCommand(actor="ana", reason="changed my mind")
BO = CancelCommand(actor="bo")
HALTED_TRIES = 100
"""Three minutes of the step's retries: more than any machine needs to bring the cancel."""
ISOLATED = Queue.ORDERS.value
"""Each step is an activity of its own there, so an update comes in while the step is held."""


async def ask(order: Order, command: CancelCommand = ANA) -> CancelReply:
    """Send the update and wait for its answer."""
    reply: CancelReply = await order.execute_update(
        wire.UPDATE_CANCEL_ORDER, command, result_type=CancelReply
    )
    return reply


class TestBeforeThePost:
    @pytest.mark.parametrize(
        "step", [wire.ACTIVITY_ASSESS_RISK, wire.ACTIVITY_CHECK_PRE_TRADE], ids=["risk", "pre-trade"]
    )
    async def test_an_update_ends_it_without_a_post(
        self, time_skipping_env: "TimeSkipper", scripted: Make, step: str
    ) -> None:
        broker = scripted()
        async with workers(time_skipping_env.client, broker, ISOLATED):
            async with broker.held(step) as held:
                order = await start_standing(time_skipping_env, broker, ISOLATED)
                await held.asked.wait()
                reply = await ask(order)
                assert (reply.answer, reply.status) == (CancelAnswer.REQUESTED, OrderStatus.CANCELED)
            result = await outcome(order)
        assert (result.status, result.reason) == (OrderStatus.CANCELED, "changed my mind")
        assert (broker.post_count, broker.cancels_sent) == (0, 0)
        assert broker.cancel_requested_by == "ana"

    async def test_an_update_while_the_market_is_fetched_ends_it_in_both_topologies(
        self, time_skipping_env: "TimeSkipper", scripted: Make, queue: str
    ) -> None:
        broker = scripted()
        broker.script(wire.ACTIVITY_ASSESS_RISK, AssessmentKind.NEEDS_QUOTE)
        async with workers(time_skipping_env.client, broker, queue):
            async with broker.held(wire.ACTIVITY_REFRESH_MARKET) as held:
                order = await start_standing(time_skipping_env, broker, queue)
                await held.asked.wait()
                await ask(order)
            assert (await outcome(order)).status is OrderStatus.CANCELED
        assert broker.post_count == 0

    @pytest.mark.parametrize(
        "step", [wire.ACTIVITY_ASSESS_RISK, wire.ACTIVITY_CHECK_PRE_TRADE], ids=["risk", "pre-trade"]
    )
    async def test_cancelling_the_workflow_is_the_same(
        self, time_skipping_env: "TimeSkipper", scripted: Make, step: str
    ) -> None:
        broker = scripted()
        async with workers(time_skipping_env.client, broker, ISOLATED):
            async with broker.held(step) as held:
                order = await start_standing(time_skipping_env, broker, ISOLATED)
                await held.asked.wait()
                await cancelled(order)
            result = await outcome(order)
        assert result.status is OrderStatus.CANCELED
        assert (broker.post_count, broker.cancels_sent) == (0, 0)
        assert broker.cancel_requested_by == "workflow cancel"

    @pytest.mark.parametrize("how", ["update", "workflow"])
    async def test_one_that_waits_for_its_post_is_never_sent(
        self, time_skipping_env: "TimeSkipper", scripted: Make, queue: str, how: str
    ) -> None:
        """How: the step that places comes to nothing for some seconds, as while the broker is given up on."""
        broker = scripted()
        broker.script(wire.ACTIVITY_PLACE_ORDER, *["!BROKER_HALT"] * HALTED_TRIES)
        async with workers(time_skipping_env.client, broker, queue):
            order = await start_standing(time_skipping_env, broker, queue)
            await until_true(lambda: wire.ACTIVITY_PLACE_ORDER in broker.calls)
            if how == "update":
                assert (await ask(order)).answer is CancelAnswer.REQUESTED
            else:
                await order.cancel()
            assert (await outcome(order)).status is OrderStatus.CANCELED
        assert (broker.post_count, broker.cancels_sent) == (0, 0)


class TestWhileThePostIsOut:
    async def test_an_update_is_remembered_and_sent_once_the_order_stands(
        self, time_skipping_env: "TimeSkipper", scripted: Make, queue: str
    ) -> None:
        broker = scripted()
        async with workers(time_skipping_env.client, broker, queue):
            async with broker.held(wire.ACTIVITY_PLACE_ORDER) as post:
                order = await start_standing(time_skipping_env, broker, queue)
                await post.asked.wait()
                reply = await ask(order)
                assert reply.answer is CancelAnswer.UNKNOWN_OUTCOME
                assert broker.cancels_sent == 0
            await until(order, RESTS)
            assert broker.cancels_sent == 1
            await tell(order, broker.says(TradeEvent.CANCELED))
            assert (await outcome(order)).status is OrderStatus.CANCELED

    async def test_cancelling_the_workflow_never_cuts_it(
        self, time_skipping_env: "TimeSkipper", scripted: Make, queue: str
    ) -> None:
        broker = scripted()
        async with workers(time_skipping_env.client, broker, queue):
            async with broker.held(wire.ACTIVITY_PLACE_ORDER) as post:
                order = await start_standing(time_skipping_env, broker, queue)
                await post.asked.wait()
                await cancelled(order)
                assert broker.cancels_sent == 0
            await until(order, RESTS)
            assert (broker.post_count, broker.cancels_sent) == (1, 1)
            await tell(order, broker.says(TradeEvent.CANCELED))
            assert (await outcome(order)).status is OrderStatus.CANCELED
        assert (await order.describe()).status is WorkflowExecutionStatus.COMPLETED


class TestDuringAnUnknownOutcome:
    @pytest.mark.parametrize("how", ["update", "workflow"])
    async def test_it_is_remembered_and_sent_on_adoption(
        self, time_skipping_env: "TimeSkipper", scripted: Make, queue: str, how: str
    ) -> None:
        broker = scripted()
        broker.script(wire.ACTIVITY_PLACE_ORDER, "UNKNOWN")
        broker.script(wire.ACTIVITY_RESOLVE_ORDER, "UNKNOWN")
        async with workers(time_skipping_env.client, broker, queue):
            async with broker.held(wire.ACTIVITY_RESOLVE_ORDER) as look_up:
                order = await start_standing(time_skipping_env, broker, queue)
                await look_up.asked.wait()
                if how == "update":
                    assert (await ask(order)).answer is CancelAnswer.UNKNOWN_OUTCOME
                else:
                    await cancelled(order)
            assert await time_skipping_env.fast_forward(order, 60)
            await until(order, RESTS)
            assert (broker.post_count, broker.cancels_sent) == (1, 1)
            await tell(order, broker.says(TradeEvent.CANCELED))
            assert (await outcome(order)).status is OrderStatus.CANCELED

    @pytest.mark.parametrize("how", ["update", "workflow"])
    async def test_it_forbids_the_second_post(
        self, time_skipping_env: "TimeSkipper", scripted: Make, queue: str, how: str
    ) -> None:
        broker = scripted()
        broker.script(wire.ACTIVITY_PLACE_ORDER, "UNKNOWN")
        broker.script(wire.ACTIVITY_RESOLVE_ORDER, "ABSENT")
        async with workers(time_skipping_env.client, broker, queue):
            async with broker.held(wire.ACTIVITY_RESOLVE_ORDER) as look_up:
                order = await start_standing(time_skipping_env, broker, queue)
                await look_up.asked.wait()
                if how == "update":
                    await ask(order)
                else:
                    await cancelled(order)
            assert (await outcome(order)).status is OrderStatus.CANCELED
        assert (broker.post_count, broker.cancels_sent) == (1, 0)


class TestWhileResting:
    async def test_an_update_reaches_the_broker_whose_word_ends_it(
        self, time_skipping_env: "TimeSkipper", scripted: Make, trading: str
    ) -> None:
        broker = scripted()
        async with resting(time_skipping_env, broker, trading) as order:
            reply = await ask(order)
            assert (reply.answer, reply.status) == (CancelAnswer.REQUESTED, OrderStatus.ACKNOWLEDGED)
            assert broker.cancels_sent == 1
            await until(order, RESTS)
            await tell(order, broker.says(TradeEvent.CANCELED))
            assert (await outcome(order)).status is OrderStatus.CANCELED
        assert broker.cancels_sent == 1

    async def test_cancelling_the_workflow_reaches_the_broker(
        self, time_skipping_env: "TimeSkipper", scripted: Make, trading: str
    ) -> None:
        broker = scripted()
        async with resting(time_skipping_env, broker, trading) as order:
            await order.cancel()
            await decided(order, "CANCEL_REQUESTED")
            await tell(order, broker.fill("10"))
            assert (await outcome(order)).status is OrderStatus.FILLED, "the fill won"
        assert broker.cancels_sent == 1
        assert (await order.describe()).status is WorkflowExecutionStatus.COMPLETED

    @pytest.mark.parametrize("ends", [TradeEvent.CANCELED, TradeEvent.FILL])
    async def test_the_end_may_be_told_before_the_cancel_is_answered(
        self, time_skipping_env: "TimeSkipper", scripted: Make, queue: str, ends: TradeEvent
    ) -> None:
        """The broker's stream is often faster than our own answer."""
        broker = scripted()
        async with resting(time_skipping_env, broker, queue) as order:
            async with broker.held(wire.ACTIVITY_CANCEL_ORDER) as held:
                await order.cancel()
                await held.asked.wait()
                await tell(order, broker.fill("10") if ends is TradeEvent.FILL else broker.says(ends))
            result = await outcome(order)
        expected = OrderStatus.FILLED if ends is TradeEvent.FILL else OrderStatus.CANCELED
        assert result.status is expected

    async def test_two_at_once_are_answered_one_after_the_other(
        self, time_skipping_env: "TimeSkipper", scripted: Make, trading: str
    ) -> None:
        """Who asked first is remembered."""
        broker = scripted()
        async with resting(time_skipping_env, broker, trading) as order:
            async with broker.held(wire.ACTIVITY_CANCEL_ORDER) as held:
                both = [
                    await order.start_update(
                        wire.UPDATE_CANCEL_ORDER,
                        command,
                        result_type=CancelReply,
                        wait_for_stage=WorkflowUpdateStage.ACCEPTED,
                    )
                    for command in (ANA, BO)
                ]
                await held.asked.wait()
                assert broker.calls.count(wire.ACTIVITY_CANCEL_ORDER) == 1
            replies: list[CancelReply] = [await update.result() for update in both]
            assert [reply.answer for reply in replies] == [CancelAnswer.REQUESTED] * 2
            assert broker.cancel_requested_by == "ana"
            await tell(order, broker.says(TradeEvent.CANCELED))
            assert (await outcome(order)).status is OrderStatus.CANCELED


class TestAfterTheEnd:
    async def test_before_settlement_it_is_too_late_with_the_final_state(
        self, time_skipping_env: "TimeSkipper", scripted: Make, trading: str
    ) -> None:
        broker = scripted()
        async with resting(time_skipping_env, broker, trading) as order:
            async with broker.held(wire.ACTIVITY_SETTLE_ORDER) as held:
                await tell(order, broker.fill("10"))
                await held.asked.wait()
                reply = await ask(order)
                assert (reply.answer, reply.status) == (CancelAnswer.TOO_LATE, OrderStatus.FILLED)
            assert (await outcome(order)).status is OrderStatus.FILLED
        assert broker.cancels_sent == 0

    async def test_a_closed_workflow_answers_that_it_is_closed(
        self, time_skipping_env: "TimeSkipper", scripted: Make, trading: str
    ) -> None:
        """The caller then reads the row: it has the outcome."""
        broker = scripted()
        async with resting(time_skipping_env, broker, trading) as order:
            await tell(order, broker.fill("10"))
            await outcome(order)
            with pytest.raises(RPCError) as refused:
                await ask(order)
        assert refused.value.status is RPCStatusCode.NOT_FOUND

    async def test_the_workflow_waits_for_an_update_that_is_still_being_answered(
        self, time_skipping_env: "TimeSkipper", scripted: Make, trading: str
    ) -> None:
        """And cancelling the workflow meanwhile does not turn a filled order into a cancelled run."""
        broker = scripted()
        async with resting(time_skipping_env, broker, trading) as order:
            async with broker.held(wire.ACTIVITY_CANCEL_ORDER) as answer:
                async with broker.held(wire.ACTIVITY_SETTLE_ORDER) as settlement:
                    await tell(order, broker.fill("10"))
                    await settlement.asked.wait()
                    update = asyncio.create_task(ask(order))
                    await answer.asked.wait()
                await until(order, "nothing: settled")
                await cancelled(order)
            assert (await update).answer is CancelAnswer.TOO_LATE
            assert (await outcome(order)).status is OrderStatus.FILLED
        assert (await order.describe()).status is WorkflowExecutionStatus.COMPLETED


async def test_a_cancel_that_names_nobody_is_refused(
    time_skipping_env: "TimeSkipper", scripted: Make, trading: str
) -> None:
    broker = scripted()
    async with resting(time_skipping_env, broker, trading) as order:
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await ask(order, CancelCommand(actor=""))
        assert "say who cancels" in str(refused.value.cause)
        assert broker.cancel_requested_by is None
        await tell(order, broker.fill("10"))
        await outcome(order)
