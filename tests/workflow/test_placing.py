"""From the decision to a place at the broker: every answer of every step, in both topologies."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from schemas import wire
from schemas.orders import OrderStatus
from schemas.risk import AssessmentKind
from schemas.runs import OrderReport
from tests.workflow.running import (
    RESTS,
    Order,
    outcome,
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

ASSESS = wire.ACTIVITY_ASSESS_RISK
REFRESH = wire.ACTIVITY_REFRESH_MARKET
PRE_TRADE = wire.ACTIVITY_CHECK_PRE_TRADE
PLACE = wire.ACTIVITY_PLACE_ORDER
RESOLVE = wire.ACTIVITY_RESOLVE_ORDER
SETTLE = wire.ACTIVITY_SETTLE_ORDER
PLACED = [ASSESS, PRE_TRADE, PLACE]


def decisions(report: OrderReport) -> list[str]:
    """The order's story, as the queries tell it."""
    return [entry.decision for entry in report.timeline]


async def filled(order: Order, broker: ScriptedBroker) -> None:
    """Fill it at one stroke and see it settled."""
    await tell(order, broker.fill("10"))
    result = await outcome(order)
    assert (result.status, result.filled_quantity) == (OrderStatus.FILLED, "10")
    assert broker.settled


async def test_the_straight_way(time_skipping_env: "TimeSkipper", scripted: Make, queue: str) -> None:
    broker = scripted()
    async with workers(time_skipping_env.client, broker, queue):
        order = await start_standing(time_skipping_env, broker, queue)
        report = await until(order, RESTS)
        assert report.order == broker.view
        assert decisions(report) == ["CREATED", "APPROVED", "ACKNOWLEDGED", "PLACED"]
        await filled(order, broker)
    assert broker.calls == [*PLACED, SETTLE]


async def test_a_rejection_by_risk_ends_without_any_other_step(
    time_skipping_env: "TimeSkipper", scripted: Make, queue: str
) -> None:
    broker = scripted()
    broker.script(ASSESS, AssessmentKind.REJECTED)
    async with workers(time_skipping_env.client, broker, queue):
        result = await outcome(await start(time_skipping_env.client, broker, queue))
    assert (result.status, result.reason) == (OrderStatus.REJECTED, "MARKET_DATA")
    assert broker.calls == [ASSESS, SETTLE]


@pytest.mark.parametrize("needs", [AssessmentKind.NEEDS_QUOTE, AssessmentKind.NEEDS_SNAPSHOT])
async def test_what_risk_lacks_is_fetched_twice_and_then_it_decides(
    time_skipping_env: "TimeSkipper", scripted: Make, queue: str, needs: AssessmentKind
) -> None:
    broker = scripted()
    broker.script(ASSESS, needs, needs, needs)
    async with workers(time_skipping_env.client, broker, queue):
        result = await outcome(await start(time_skipping_env.client, broker, queue))
    assert result.status is OrderStatus.REJECTED
    assert broker.calls == [ASSESS, REFRESH, ASSESS, REFRESH, ASSESS, SETTLE]


@pytest.mark.parametrize("fails", [("!!ERR_FORBIDDEN",), ("!ERR_NETWORK",) * 3], ids=["refused", "no answer"])
async def test_where_nothing_can_be_fetched_risk_decides_with_what_there_is(
    time_skipping_env: "TimeSkipper", scripted: Make, queue: str, fails: tuple[str, ...]
) -> None:
    broker = scripted()
    broker.script(ASSESS, AssessmentKind.NEEDS_QUOTE, AssessmentKind.NEEDS_QUOTE)
    broker.script(REFRESH, *fails)
    async with workers(time_skipping_env.client, broker, queue):
        result = await outcome(await start(time_skipping_env.client, broker, queue))
    assert result.status is OrderStatus.REJECTED
    assert broker.calls == [ASSESS, *[REFRESH] * len(fails), ASSESS, SETTLE]


async def test_what_was_fetched_once_is_enough_where_risk_then_decides(
    time_skipping_env: "TimeSkipper", scripted: Make, queue: str
) -> None:
    broker = scripted()
    broker.script(ASSESS, AssessmentKind.NEEDS_QUOTE, AssessmentKind.APPROVED)
    async with workers(time_skipping_env.client, broker, queue):
        order = await start_standing(time_skipping_env, broker, queue)
        await until(order, RESTS)
        assert broker.calls == [ASSESS, REFRESH, *PLACED]
        await filled(order, broker)


async def test_a_refusal_right_before_the_post_ends_it_unsent(
    time_skipping_env: "TimeSkipper", scripted: Make, queue: str
) -> None:
    broker = scripted()
    broker.script(PRE_TRADE, "REFUSE")
    async with workers(time_skipping_env.client, broker, queue):
        result = await outcome(await start(time_skipping_env.client, broker, queue))
    assert (result.status, result.reason) == (OrderStatus.REJECTED, "NEAR_CLOSE")
    assert broker.calls == [ASSESS, PRE_TRADE, SETTLE]
    assert broker.post_count == 0


async def test_a_check_that_aged_is_made_again_as_often_as_it_takes(
    time_skipping_env: "TimeSkipper", scripted: Make, queue: str
) -> None:
    broker = scripted()
    broker.script(PLACE, "RECHECK", "RECHECK", "RECHECK")
    async with workers(time_skipping_env.client, broker, queue):
        order = await start_standing(time_skipping_env, broker, queue)
        await until(order, RESTS)
        assert broker.calls == [ASSESS, *[PRE_TRADE, PLACE] * 4]
        assert broker.post_count == 1
        await filled(order, broker)


async def test_a_recheck_that_refuses_ends_it(
    time_skipping_env: "TimeSkipper", scripted: Make, queue: str
) -> None:
    broker = scripted()
    broker.script(PLACE, "RECHECK")
    broker.script(PRE_TRADE, "", "REFUSE")
    async with workers(time_skipping_env.client, broker, queue):
        result = await outcome(await start(time_skipping_env.client, broker, queue))
    assert result.status is OrderStatus.REJECTED
    assert broker.post_count == 0


async def test_a_refusal_by_the_broker_ends_it(
    time_skipping_env: "TimeSkipper", scripted: Make, queue: str
) -> None:
    broker = scripted()
    broker.script(PLACE, "REFUSE")
    async with workers(time_skipping_env.client, broker, queue):
        result = await outcome(await start(time_skipping_env.client, broker, queue))
    assert (result.status, result.reason) == (OrderStatus.REJECTED, "ERR_WASH_TRADE")
    assert broker.calls == [*PLACED, SETTLE]


class TestUnknownOutcome:
    async def test_it_is_looked_up_until_found(
        self, time_skipping_env: "TimeSkipper", scripted: Make, queue: str
    ) -> None:
        """The pauses are timers: an hour of look-ups is skipped, and time alone brings no verdict."""
        env, broker = time_skipping_env, scripted()
        broker.script(PLACE, "UNKNOWN")
        broker.script(RESOLVE, *["UNKNOWN"] * 5)
        async with workers(env.client, broker, queue):
            order = await start(env.client, broker, queue)
            report = await until(order, RESTS)
            assert broker.calls == [*PLACED, *[RESOLVE] * 6]
            assert broker.post_count == 1
            assert decisions(report)[-2:] == ["ACKNOWLEDGED", "RESOLVED_FOUND"]
            await filled(order, broker)

    async def test_proof_of_absence_allows_a_second_post_after_new_checks(
        self, time_skipping_env: "TimeSkipper", scripted: Make, queue: str
    ) -> None:
        env, broker = time_skipping_env, scripted()
        broker.script(PLACE, "UNKNOWN")
        broker.script(RESOLVE, "UNKNOWN", "ABSENT")
        async with workers(env.client, broker, queue):
            order = await start(env.client, broker, queue)
            await until(order, RESTS)
            assert broker.calls == [*PLACED, RESOLVE, RESOLVE, PRE_TRADE, PLACE]
            assert broker.post_count == 2
            await filled(order, broker)

    async def test_proof_of_absence_after_the_last_post_ends_it(
        self, time_skipping_env: "TimeSkipper", scripted: Make, queue: str
    ) -> None:
        broker = scripted()
        broker.script(PLACE, "UNKNOWN", "UNKNOWN", "UNKNOWN")
        broker.script(RESOLVE, "ABSENT", "ABSENT", "ENDED")
        async with workers(time_skipping_env.client, broker, queue):
            result = await outcome(await start(time_skipping_env.client, broker, queue))
        assert (result.status, broker.post_count) == (OrderStatus.FATAL_ERROR, 3)

    async def test_the_stream_may_answer_before_the_look_up_does(
        self, time_skipping_env: "TimeSkipper", scripted: Make, queue: str
    ) -> None:
        """News of the order ends the pause at once, and the look-up that follows finds it."""
        env, broker = time_skipping_env, scripted()
        broker.script(PLACE, "UNKNOWN")
        broker.script(RESOLVE, "UNKNOWN")
        async with workers(env.client, broker, queue):
            order = await start_standing(env, broker, queue)
            await until(order, "proof of what became of the POST")
            await filled(order, broker)
        assert broker.calls == [*PLACED, RESOLVE, SETTLE]

    async def test_the_stream_may_answer_before_the_post_does(
        self, time_skipping_env: "TimeSkipper", scripted: Make, queue: str
    ) -> None:
        """In one workflow task signals run before the activity's result, which then is the older truth."""
        env, broker = time_skipping_env, scripted()
        async with workers(env.client, broker, queue):
            async with broker.held(PLACE) as post:
                order = await start_standing(env, broker, queue)
                await post.asked.wait()
                await tell(order, broker.fill("10"))
            result = await outcome(order)
        assert (result.status, result.filled_quantity) == (OrderStatus.FILLED, "10")
