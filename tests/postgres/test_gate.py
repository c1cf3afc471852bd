"""What a placement does without a request left, and while the broker is given up on: it ends, and says why."""

from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from broker.budget import NoToken
from broker.errors import NothingSent, RateLimited, UnknownOutcome
from risk.messages import UserMessage
from schemas.conduct import StopCause, StrategyStop
from schemas.kill import KillCommand
from schemas.orders import OrderStatus
from schemas.runs import PlaceKind
from storage import halt
from storage.conduct import enable_strategy, stop_strategy
from storage.orders import read_order
from storage.switches import engage
from tests.postgres.desk import SIGNAL, Desk


async def refused(desk: Desk) -> ApplicationError:
    """One try that is told to come again."""
    with pytest.raises(ApplicationError) as told:
        await desk.place()
    return told.value


async def stored(desk: Desk) -> Any:
    async with desk.database.connection() as connection:
        return await read_order(connection, SIGNAL)


async def test_without_a_token_nothing_is_written_and_the_order_says_why(desk: Desk) -> None:
    desk.budget.left = 0
    again = await refused(desk)
    assert again.type == NoToken.code
    assert again.next_retry_delay is not None
    order = await stored(desk)
    assert (order.status, order.post_count) == (OrderStatus.CREATED, 0)
    assert order.user_message == UserMessage.RATE_LIMITING
    version = order.row_version
    await refused(desk)
    assert (await stored(desk)).row_version == version, "said once"
    desk.budget.left = 1
    assert (await desk.place()).kind is PlaceKind.PLACED
    assert (await stored(desk)).user_message is None
    assert desk.budget.told == [None]


async def test_what_may_not_leave_any_more_ends_while_it_waits(desk: Desk) -> None:
    desk.budget.left = 0
    await refused(desk)
    async with desk.database.transaction("test") as connection:
        command = KillCommand(reason="test", triggered_by="test")
        await engage(connection, command, request_id="r", now=datetime.now(UTC), component="test")
    answer = await desk.place()
    assert (answer.kind, answer.order.reason) == (PlaceKind.ENDED, "KILL_SWITCH")
    assert answer.order.user_message is None


@pytest.mark.parametrize("enabled_again", [False, True])
async def test_what_was_approved_of_a_strategy_that_is_disabled_does_not_leave(
    desk: Desk, enabled_again: bool
) -> None:
    desk.budget.left = 0
    await refused(desk)
    name, now = (await stored(desk)).strategy, datetime.now(UTC)
    stop = StrategyStop(
        strategy=name, since=now, cause=StopCause.BY_HAND, reason="it repeats itself", stopped_by="ana"
    )
    async with desk.database.transaction("test") as connection:
        await stop_strategy(connection, stop, component="test", evidence={}, correlation_id=SIGNAL)
        if enabled_again:
            assert await enable_strategy(
                connection, name, person="ana", reason="mended", component="test", now=now
            )
    desk.budget.left = 1
    answer = await desk.place()
    assert (answer.kind, answer.order.reason) == (PlaceKind.ENDED, "STRATEGY_DISABLED")
    assert desk.broker.posts == []


async def test_while_the_broker_is_given_up_on_no_order_is_posted(desk: Desk) -> None:
    async with desk.database.transaction("test") as connection:
        await halt.note_failure(connection, "ERR_UNAUTHORIZED: 401", at_once=True, now=datetime.now(UTC))
    assert (await refused(desk)).type == "BROKER_HALT"
    assert (await stored(desk)).user_message == UserMessage.BROKER_API_DOWN
    assert (desk.broker.posts, desk.budget.taken) == ([], 0)
    async with desk.database.transaction("test") as connection:
        await halt.close_halt(connection, "it answers", now=datetime.now(UTC))
    assert (await desk.place()).kind is PlaceKind.PLACED
    assert (await stored(desk)).user_message is None


async def test_the_brokers_own_429_is_said_and_costs_its_token(desk: Desk) -> None:
    desk.broker.answer = RateLimited("429", retry_after_seconds=7)
    again = await refused(desk)
    assert again.next_retry_delay is not None
    assert again.next_retry_delay.total_seconds() == 7
    order = await stored(desk)
    assert (order.post_count, order.user_message) == (0, UserMessage.RATE_LIMITING)
    assert (desk.budget.given_back, desk.budget.told) == (0, [desk.broker.answer])
    desk.broker.answer = UnknownOutcome("504")
    assert (await desk.place()).kind is PlaceKind.UNKNOWN
    assert (await stored(desk)).user_message == UserMessage.NETWORK_TIMEOUTS


async def test_a_token_with_which_nothing_was_sent_is_given_back(desk: Desk) -> None:
    """How: the line is refused before a byte leaves; then the order needs new checks first."""
    desk.broker.answer, desk.broker.is_reachable = NothingSent("refused"), False
    assert (await refused(desk)).type == NothingSent.code
    assert (desk.budget.taken, desk.budget.given_back) == (1, 1)
    assert (await stored(desk)).post_count == 0
