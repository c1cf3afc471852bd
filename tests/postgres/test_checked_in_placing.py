"""The first pre-trade check is made by the step that places: once, in bounded time, never instead of another."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from activities import gate
from activities.placement import PlacementActivities
from broker import lifecycle
from observability.metrics import Metrics
from schemas.orders import OrderStatus
from schemas.runs import OrderQuestion, PlaceAnswer, PlaceKind, PlaceQuestion, PreTradeAnswer
from storage.orders import lock_order
from storage.placement import read_due, write_pre_trade
from storage.switches import read_installation
from storage.transitions import Step, refuse
from tests.postgres.books import market_clock
from tests.postgres.desk import SIGNAL, Desk
from tests.servers.approvals import KEYS

Check = Callable[[OrderQuestion], Awaitable[PreTradeAnswer]]


async def place(desk: Desk, check: Check, *, check_first: bool = True) -> PlaceAnswer:
    """One try whose check is this one."""
    async with desk.database.connection() as connection:
        installation = await read_installation(connection)
    async with market_clock() as clock:
        execution = PlacementActivities(
            desk.database, desk.broker, clock, installation, Metrics(), desk.budget, KEYS, check_first=check  # type: ignore[arg-type]
        )  # fmt: skip
        return await execution.place_order(
            PlaceQuestion(signal_id=SIGNAL, as_of=datetime.now(UTC), check_first=check_first)
        )


def passing(desk: Desk, asked: list[str]) -> Check:
    async def check(question: OrderQuestion) -> PreTradeAnswer:
        asked.append(question.signal_id)
        async with desk.database.transaction("test") as connection:
            order, _ = await read_due(connection, question.signal_id)
            passed = await write_pre_trade(connection, order, datetime.now(UTC))
        assert passed is not None
        return PreTradeAnswer(passed=True, order=passed.view)

    return check


async def test_what_passes_is_placed_in_the_same_try(desk: Desk) -> None:
    asked: list[str] = []
    assert (await place(desk, passing(desk, asked))).kind is PlaceKind.PLACED
    assert (asked, len(desk.broker.posts)) == ([SIGNAL], 1)


async def test_an_order_of_the_release_before_is_told_to_check_in_a_step_of_its_own(desk: Desk) -> None:
    asked: list[str] = []
    answer = await place(desk, passing(desk, asked), check_first=False)
    assert (answer.kind, asked, desk.broker.posts) == (PlaceKind.RECHECK, [], [])
    assert desk.budget.given_back == desk.budget.taken


async def test_what_is_refused_ends_unsent_and_takes_no_token(desk: Desk) -> None:
    async def check(question: OrderQuestion) -> PreTradeAnswer:
        async with desk.database.transaction("test") as connection:
            locked = await lock_order(connection, question.signal_id)
            step = Step(now=datetime.now(UTC), component="ExecutionAgent", decision="PRE_TRADE_REFUSED")
            ended = lifecycle.apply(locked.state, lifecycle.Refused("NEAR_CLOSE"))
            after = await refuse(locked, ended, step)
        return PreTradeAnswer(passed=False, order=after.view)

    answer = await place(desk, check)
    assert (answer.kind, answer.order.status) == (PlaceKind.ENDED, OrderStatus.REJECTED)
    assert (answer.order.reason, desk.broker.posts, desk.budget.taken) == ("NEAR_CLOSE", [], 0)


async def test_a_check_that_takes_too_long_gets_a_step_of_its_own(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "CHECK_SECONDS_MAX", 0.05)

    async def check(_: OrderQuestion) -> PreTradeAnswer:
        await asyncio.Event().wait()
        raise AssertionError("never")

    answer = await place(desk, check)
    assert (answer.kind, desk.broker.posts) == (PlaceKind.RECHECK, [])
