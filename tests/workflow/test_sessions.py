"""Orders over days: resting, the bell, early closes, expiry. Time is skipped, sessions are the real ones."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowUpdateStage

from market.calendar import TradingCalendar
from schemas import wire
from schemas.broker import TradeEvent
from schemas.orders import OrderStatus, TimeInForce
from schemas.runs import CancelCommand, CancelReply
from tests.workflow.protected import until_true
from tests.workflow.running import (
    RESTS,
    Order,
    count,
    events,
    forward_to,
    outcome,
    resting,
    tell,
    until,
)
from tests.workflow.scripted import ScriptedBroker

if TYPE_CHECKING:
    from temporalio.testing import TimeSkipper

EVENTS_MAX = 200
"""What a five-day order may cost."""
OPTIONS_UPDATED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED
TIME_SKIPPED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIME_SKIPPING_TRANSITIONED
"""Both are written where time is skipped, and nowhere else."""
AN_HOUR_BEFORE = timedelta(hours=1)
BLACK_FRIDAY = datetime(2026, 11, 27, 15, 0, tzinfo=UTC)
"""10:00 in New York; the bell rings at 13:00."""
TUESDAY = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)
BY_ITS_CLOSE = pytest.mark.parametrize("opening", [TUESDAY, BLACK_FRIDAY], ids=["16:00", "13:00"])

Make = Callable[..., ScriptedBroker]
Unique = Callable[[str], str]


async def test_a_five_day_order_costs_at_most_200_events(
    time_skipping_env: "TimeSkipper", scripted: Make, queue: str, calendar: TradingCalendar
) -> None:
    """Thanksgiving and a weekend lie in it. Each evening and morning the broker tells where it stands."""
    env, broker = time_skipping_env, scripted(time_in_force=TimeInForce.GTC)
    async with resting(env, broker, queue) as order:
        for day in (24, 25, 27, 30):
            session = calendar.session_at(datetime(2026, 11, day, 17, tzinfo=UTC))
            assert session.close is not None
            await forward_to(env, broker, order, session.close)
            await tell(order, broker.says(TradeEvent.DONE_FOR_DAY))
            await forward_to(env, broker, order, session.next_open)
            await tell(order, broker.says(TradeEvent.NEW))
        for _ in range(9):
            await tell(order, broker.fill("1"))
            await until(order, "fills, until 2 minutes before the bell")
        await tell(order, broker.fill("1"))
        assert (await outcome(order)).filled_quantity == "10"
        assert wire.ACTIVITY_CANCEL_ORDER not in broker.calls
    history = await events(order)
    skipping = count(history, OPTIONS_UPDATED) + count(history, TIME_SKIPPED)
    print(f"{len(history)} events over five sessions, {skipping} of them written by skipping time")
    assert len(history) - skipping <= EVENTS_MAX
    started, ended = history[0].event_time.ToDatetime(), history[-1].event_time.ToDatetime()
    assert ended - started >= timedelta(days=6)


async def test_a_resting_order_costs_nothing(
    time_skipping_env: "TimeSkipper", scripted: Make, unique: Unique
) -> None:
    """No poll and no timer: thirty days add only what skipping itself writes."""
    env, broker = time_skipping_env, scripted(time_in_force=TimeInForce.GTC)
    async with resting(env, broker, unique("queue")) as order:
        before, calls = len(await events(order)), list(broker.calls)
        assert await env.fast_forward(order, timedelta(days=30))
        assert len(await events(order)) - before <= 2
        assert broker.calls == calls
        await tell(order, broker.fill("10"))
        await outcome(order)


@BY_ITS_CLOSE
async def test_the_rest_of_a_partial_fill_is_cancelled_two_minutes_before_the_bell(
    time_skipping_env: "TimeSkipper",
    scripted: Make,
    unique: Unique,
    calendar: TradingCalendar,
    opening: datetime,
) -> None:
    env = time_skipping_env
    broker = scripted(time_in_force=TimeInForce.GTC, market_start=opening)
    bell = calendar.session_at(opening).close
    assert bell is not None
    async with resting(env, broker, unique("queue")) as order:
        await tell(order, broker.fill("4"))
        await until(order, "fills, until 2 minutes before the bell")
        await forward_to(env, broker, order, bell - timedelta(minutes=3))
        assert broker.cancels_sent == 0
        await forward_to(env, broker, order, bell - timedelta(seconds=110))
        await until(order, "the broker's confirmation that the rest is cancelled")
        assert broker.cancels_sent == 1
        assert broker.cancel_requested_by == "end of day"
        await tell(order, broker.says(TradeEvent.CANCELED))
        result = await outcome(order)
    assert (result.status, result.filled_quantity) == (OrderStatus.CANCELED, "4")


async def test_a_fill_that_wins_the_race_against_that_cancel_counts(
    time_skipping_env: "TimeSkipper", scripted: Make, unique: Unique
) -> None:
    env, broker = time_skipping_env, scripted()
    bell = datetime(2026, 11, 24, 21, 0, tzinfo=UTC)
    async with resting(env, broker, unique("queue")) as order:
        await tell(order, broker.fill("4"))
        await forward_to(env, broker, order, bell - timedelta(seconds=110))
        await until(order, "the broker's confirmation")
        await tell(order, broker.fill("6", "180.50"))
        result = await outcome(order)
    assert (result.status, result.filled_quantity) == (OrderStatus.FILLED, "10")
    assert result.average_price == "180.488"


async def test_an_unconfirmed_cancel_is_repeated_and_outlives_the_bell(
    time_skipping_env: "TimeSkipper", scripted: Make, unique: Unique
) -> None:
    """The workflow stays open: whatever the broker says next morning still counts."""
    env, broker = time_skipping_env, scripted(time_in_force=TimeInForce.GTC)
    bell = datetime(2026, 11, 24, 21, 0, tzinfo=UTC)
    async with resting(env, broker, unique("queue")) as order:
        await tell(order, broker.fill("4"))
        await until(order, "fills")
        await forward_to(env, broker, order, bell + timedelta(minutes=5))
        await until(order, "the next session")
        assert 2 <= broker.cancels_sent <= 7, "every 20 s of the last two minutes"
        assert broker.told_unconfirmed == 1, "a person is told once a session"
        await tell(order, broker.fill("1"))
        await tell(order, broker.says(TradeEvent.CANCELED))
        result = await outcome(order)
    assert (result.status, result.filled_quantity) == (OrderStatus.CANCELED, "5")


SILENT = ["!ERR_NETWORK"] * 200
"""What a step comes to while the broker answers nothing: more tries than these minutes hold."""
BELL = datetime(2026, 11, 24, 21, 0, tzinfo=UTC)


FIVE_BEFORE: dict[str, Any] = {
    "time_in_force": TimeInForce.GTC,
    "market_start": BELL - timedelta(minutes=5),
}


class TestTheBrokerIsSilentOverTheBell:
    """A person hears of the order at the bell, not when the broker answers again; and once."""

    @staticmethod
    async def told_and_ended(
        env: "TimeSkipper", broker: ScriptedBroker, order: Order, step: str = wire.ACTIVITY_CANCEL_ORDER
    ) -> None:
        """Over the bell, four minutes of silence, and the broker's word at last."""
        await forward_to(env, broker, order, BELL - timedelta(seconds=1))
        assert broker.told_unconfirmed == 0
        await forward_to(env, broker, order, BELL + timedelta(seconds=10))
        await until_true(lambda: broker.told_unconfirmed == 1)
        await forward_to(env, broker, order, BELL + timedelta(minutes=4))
        assert (broker.cancels_sent, broker.told_unconfirmed) == (0, 1), "nothing has answered since"
        broker.heal(step)
        await forward_to(env, broker, order, BELL + timedelta(minutes=6))
        await until_true(lambda: broker.cancels_sent > 0)
        await tell(order, broker.says(TradeEvent.CANCELED))
        result = await outcome(order)
        assert (result.status, result.filled_quantity) == (OrderStatus.CANCELED, "4")

    async def test_the_cancel_of_the_rest_is_not_answered(
        self, time_skipping_env: "TimeSkipper", scripted: Make, queue: str
    ) -> None:
        env, broker = time_skipping_env, scripted(**FIVE_BEFORE)
        async with resting(env, broker, queue) as order:
            await tell(order, broker.fill("4"))
            await until(order, "fills")
            broker.script(wire.ACTIVITY_CANCEL_ORDER, *SILENT)
            await self.told_and_ended(env, broker, order)
        assert broker.cancel_requested_by == "end of day"

    async def test_nobody_says_when_the_bell_is(
        self, time_skipping_env: "TimeSkipper", scripted: Make, queue: str
    ) -> None:
        """The bell that was read at the first fill rings all the same."""
        env, broker = time_skipping_env, scripted(**FIVE_BEFORE)
        async with resting(env, broker, queue) as order:
            await tell(order, broker.fill("4"))
            await until(order, "fills")
            broker.script(wire.ACTIVITY_SESSION, *["!ERR_CLOCK"] * 200)
            await self.told_and_ended(env, broker, order, wire.ACTIVITY_SESSION)
        assert broker.cancel_requested_by == "end of day"

    @pytest.mark.parametrize("how", ["update", "workflow"])
    async def test_a_persons_cancel_is_not_answered_and_a_fill_comes_meanwhile(
        self, time_skipping_env: "TimeSkipper", scripted: Make, queue: str, how: str
    ) -> None:
        env, broker = time_skipping_env, scripted(**FIVE_BEFORE)
        async with resting(env, broker, queue) as order:
            broker.script(wire.ACTIVITY_CANCEL_ORDER, *SILENT)
            if how == "update":
                await order.start_update(
                    wire.UPDATE_CANCEL_ORDER,
                    CancelCommand(actor="ana"),
                    result_type=CancelReply,
                    wait_for_stage=WorkflowUpdateStage.ACCEPTED,
                )
            else:
                await order.cancel()
            await until_true(lambda: wire.ACTIVITY_CANCEL_ORDER in broker.calls)
            await tell(order, broker.fill("4"))
            await until_true(lambda: wire.ACTIVITY_SESSION in broker.calls)
            await self.told_and_ended(env, broker, order)
        assert broker.cancel_requested_by == ("ana" if how == "update" else "workflow cancel")

    async def test_a_fill_is_told_after_the_bell(
        self, time_skipping_env: "TimeSkipper", scripted: Make, trading: str
    ) -> None:
        env = time_skipping_env
        broker = scripted(time_in_force=TimeInForce.GTC, market_start=BELL + timedelta(hours=1))
        async with resting(env, broker, trading) as order:
            broker.script(wire.ACTIVITY_CANCEL_ORDER, *SILENT)
            await tell(order, broker.fill("4"))
            await until_true(lambda: wire.ACTIVITY_CANCEL_ORDER in broker.calls)
            await forward_to(env, broker, order, BELL + timedelta(hours=1, minutes=1))
            await until_true(lambda: broker.told_unconfirmed == 1)
            broker.heal(wire.ACTIVITY_CANCEL_ORDER)
            await forward_to(env, broker, order, BELL + timedelta(hours=1, minutes=3))
            await tell(order, broker.says(TradeEvent.CANCELED))
            assert (await outcome(order)).status is OrderStatus.CANCELED

    @pytest.mark.parametrize("ends", ["filled", "untouched"])
    async def test_what_leaves_no_rest_is_not_told(
        self, time_skipping_env: "TimeSkipper", scripted: Make, trading: str, ends: str
    ) -> None:
        """Filled while the cancel waits; or a person's cancel of an order that nothing has filled."""
        env, broker = time_skipping_env, scripted(**FIVE_BEFORE)
        async with resting(env, broker, trading) as order:
            broker.script(wire.ACTIVITY_CANCEL_ORDER, *SILENT)
            if ends == "filled":
                await tell(order, broker.fill("4"))
                await until(order, "fills")
                await forward_to(env, broker, order, BELL - timedelta(seconds=60))
                await until_true(lambda: wire.ACTIVITY_CANCEL_ORDER in broker.calls)
                await tell(order, broker.fill("6"))
            else:
                await order.cancel()
                await until_true(lambda: wire.ACTIVITY_CANCEL_ORDER in broker.calls)
            await forward_to(env, broker, order, BELL + timedelta(minutes=1))
            broker.heal(wire.ACTIVITY_CANCEL_ORDER)
            # To the cancel's next try, with which an order ends that is filled.
            await env.fast_forward(order, timedelta(minutes=2))
            if ends == "untouched":
                await tell(order, broker.says(TradeEvent.CANCELED))
            await outcome(order)
        assert broker.told_unconfirmed == 0


async def test_a_first_fill_within_the_last_two_minutes_is_cancelled_at_once(
    time_skipping_env: "TimeSkipper", scripted: Make, unique: Unique
) -> None:
    env, broker = time_skipping_env, scripted()
    async with resting(env, broker, unique("queue")) as order:
        await forward_to(env, broker, order, datetime(2026, 11, 24, 20, 59, tzinfo=UTC))
        await tell(order, broker.fill("4"))
        await until(order, "the broker's confirmation")
        assert broker.cancels_sent == 1
        await tell(order, broker.says(TradeEvent.CANCELED))
        await outcome(order)


async def test_a_fill_that_is_told_after_the_bell_has_its_rest_cancelled_at_once(
    time_skipping_env: "TimeSkipper", scripted: Make, unique: Unique
) -> None:
    """Thanksgiving and two nights lie before the next bell: the shares want their stop before that."""
    env = time_skipping_env
    broker = scripted(time_in_force=TimeInForce.GTC, market_start=datetime(2026, 11, 25, 22, tzinfo=UTC))
    async with resting(env, broker, unique("queue")) as order:
        await tell(order, broker.fill("4"))
        await until(order, "the next session")
        assert (broker.cancels_sent, broker.told_unconfirmed) == (1, 0)
        assert broker.cancel_requested_by == "end of day"
        await tell(order, broker.says(TradeEvent.PENDING_CANCEL))
        await until_true(lambda: broker.told_unconfirmed == 1)
        await tell(order, broker.says(TradeEvent.CANCELED))
        result = await outcome(order)
    assert (result.status, result.filled_quantity) == (OrderStatus.CANCELED, "4")


async def test_a_day_order_ends_when_the_broker_says_that_it_expired(
    time_skipping_env: "TimeSkipper", scripted: Make, unique: Unique
) -> None:
    env, broker = time_skipping_env, scripted()
    async with resting(env, broker, unique("queue")) as order:
        await forward_to(env, broker, order, datetime(2026, 11, 24, 21, 0, 1, tzinfo=UTC))
        await until(order, RESTS)
        await tell(order, broker.says(TradeEvent.EXPIRED))
        result = await outcome(order)
    assert (result.status, result.filled_quantity) == (OrderStatus.CANCELED, "0")
    assert result.reason == "expired"
    assert broker.cancels_sent == 0
