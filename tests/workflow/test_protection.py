"""A protection over time: what wakes it, what it does again, and that nothing but closed shares ends it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from market.calendar import TradingCalendar
from schemas import wire
from schemas.broker import TradeEvent
from schemas.orders import Action, OrderStatus
from schemas.risk import AssessmentKind
from tests.workflow.book import proposal
from tests.workflow.protected import (
    QUOTED,
    ProtectedBroker,
    Protecting,
    at_rest,
    ended,
    protection_of,
    tell_leg,
    until_true,
)
from tests.workflow.running import outcome, resting, start, tell, workers
from workflows.protection import ProtectionWorkflow

if TYPE_CHECKING:
    from temporalio.testing import TimeSkipper

Unique = Callable[[str], str]


@pytest.fixture
def protected(calendar: TradingCalendar, unique: Unique) -> ProtectedBroker:
    """Give an entry with a hard stop loss."""
    return ProtectedBroker(proposal(unique("s")), calendar)


@asynccontextmanager
async def covered(env: "TimeSkipper", broker: ProtectedBroker, queue: str) -> AsyncIterator[Protecting]:
    """An entry that is filled, and its stop that stands."""
    async with resting(env, broker, queue) as order:
        await tell(order, broker.fill("10"))
        await until_true(broker.is_live)
        yield protection_of(env.client, broker)


async def test_it_outlives_its_entry_and_ends_with_the_last_share(
    time_skipping_env: "TimeSkipper", protected: ProtectedBroker, queue: str
) -> None:
    async with covered(time_skipping_env, protected, queue) as protection:
        story = (await protection.query(ProtectionWorkflow.timeline)).timeline
        assert [entry.decision for entry in story][:2] == ["CREATED", "APPROVED"], (
            "the entry's story comes first"
        )
        await tell_leg(protection, protected.told(status=OrderStatus.FILLED, filled_quantity=Decimal(10)))
        result = await ended(protection)
    assert (result.filled, result.exited) == (Decimal(10), Decimal(10))


async def test_it_looks_once_at_each_open_and_costs_nothing_between(
    time_skipping_env: "TimeSkipper", protected: ProtectedBroker, trading: str
) -> None:
    env = time_skipping_env
    async with covered(env, protected, trading) as protection:
        before = protected.reviews
        assert await env.fast_forward(protection, timedelta(days=7))
        # After each close and at each open: Tuesday, Wednesday, Friday, Monday.
        assert 6 <= protected.reviews - before <= 10
        assert protected.calls.count(wire.ACTIVITY_PLACE_ORDER) == 2, "entry and stop"
        await tell_leg(protection, protected.told(status=OrderStatus.FILLED, filled_quantity=Decimal(10)))
        await ended(protection)


async def test_a_stop_that_is_gone_is_placed_anew_and_a_cancel_of_the_workflow_is_none(
    time_skipping_env: "TimeSkipper", protected: ProtectedBroker, trading: str
) -> None:
    async with covered(time_skipping_env, protected, trading) as protection:
        await protection.cancel()
        await tell_leg(protection, protected.told(status=OrderStatus.CANCELED))
        await until_true(lambda: protected.stop.generation == 1 and protected.is_live())
        await tell_leg(protection, protected.told(status=OrderStatus.FILLED, filled_quantity=Decimal(10)))
        assert (await ended(protection)).exited == Decimal(10)


async def test_steps_that_fail_are_tried_at_the_next_look(
    time_skipping_env: "TimeSkipper", protected: ProtectedBroker, trading: str
) -> None:
    protected.script(wire.ACTIVITY_PLACE_ORDER, "", "!ERR_NETWORK", "!ERR_NETWORK", "!ERR_NETWORK", "RECHECK")
    async with covered(time_skipping_env, protected, trading) as protection:
        assert protected.stop.generation == 0, "the same order each time"
        story = (await protection.query(ProtectionWorkflow.status)).timeline
        assert "PLACE_FAILED" in [entry.decision for entry in story]
        await tell_leg(protection, protected.told(status=OrderStatus.FILLED, filled_quantity=Decimal(10)))
        await ended(protection)


async def test_an_exit_without_a_quote_has_one_fetched(
    time_skipping_env: "TimeSkipper", protected: ProtectedBroker, trading: str
) -> None:
    protected.exiting = True
    async with covered(time_skipping_env, protected, trading) as protection:
        assert protected.calls.count(wire.ACTIVITY_REFRESH_MARKET) == 1
        assert protected.stop.limit_price == QUOTED.bid
        await tell_leg(protection, protected.told(status=OrderStatus.FILLED, filled_quantity=Decimal(10)))
        assert (await ended(protection)).exited == Decimal(10)


async def test_an_unconfirmed_cancel_is_asked_again(
    time_skipping_env: "TimeSkipper", protected: ProtectedBroker, trading: str
) -> None:
    env = time_skipping_env
    async with covered(env, protected, trading) as protection:
        protected.lent = Decimal(10)
        await protection.signal(wire.SIGNAL_LOOK_AGAIN, "a closing order wants them")
        await until_true(lambda: protected.cancels_sent == 1)
        assert await env.fast_forward(protection, timedelta(seconds=65))
        assert 3 <= protected.cancels_sent <= 5, "every 20 s"
        protected.sold, protected.lent = Decimal(10), Decimal(0)
        await tell_leg(protection, protected.told(status=OrderStatus.CANCELED))
        assert (await ended(protection)).given_up == Decimal(10)


async def test_a_closing_order_that_is_refused_gives_the_shares_back_it_asked_for(
    time_skipping_env: "TimeSkipper", calendar: TradingCalendar, unique: Unique, queue: str
) -> None:
    broker = ProtectedBroker(proposal(unique("s"), action=Action.SELL_TO_CLOSE), calendar)
    broker.hard_stop = None
    broker.script(wire.ACTIVITY_CHECK_PRE_TRADE, "REFUSE")
    async with workers(time_skipping_env.client, broker, queue):
        result = await outcome(await start(time_skipping_env.client, broker, queue))
    assert result.status is OrderStatus.REJECTED
    assert broker.calls.count(wire.ACTIVITY_FIND_PROTECTIONS) == 2, "before and after"


async def test_a_closing_order_that_risk_refuses_wakes_nobody(
    time_skipping_env: "TimeSkipper", calendar: TradingCalendar, unique: Unique, queue: str
) -> None:
    broker = ProtectedBroker(proposal(unique("s"), action=Action.SELL_TO_CLOSE), calendar)
    broker.hard_stop = None
    broker.script(wire.ACTIVITY_ASSESS_RISK, AssessmentKind.REJECTED)
    async with workers(time_skipping_env.client, broker, queue):
        await outcome(await start(time_skipping_env.client, broker, queue))
    assert wire.ACTIVITY_FIND_PROTECTIONS not in broker.calls


async def test_an_entry_that_fills_more_after_its_end_wakes_the_protection_that_runs(
    time_skipping_env: "TimeSkipper", protected: ProtectedBroker, trading: str
) -> None:
    env = time_skipping_env
    async with resting(env, protected, trading) as order:
        protected.fill("4")
        await tell(order, protected.says(TradeEvent.CANCELED))
        await until_true(protected.is_live)
        with env.with_time_skipping_disabled():
            await outcome(order)
            protection = protection_of(env.client, protected)
            await at_rest(protection)
            protected.fill("6")
            protected.settled = False
            await start(env.client, protected, trading, again=True)
            await until_true(lambda: protected.cancels_sent == 1)
        await tell_leg(protection, protected.told(status=OrderStatus.CANCELED))
        await until_true(lambda: protected.is_live() and protected.stop.quantity == Decimal(10))
        await tell_leg(protection, protected.told(status=OrderStatus.FILLED, filled_quantity=Decimal(10)))
        assert (await ended(protection)).exited == Decimal(10)
