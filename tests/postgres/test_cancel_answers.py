"""What a person is told of a cancel: as much as is known, and of this request, not of an earlier one."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateRPCTimeoutOrCancelledError

from activities.evidence import take_in
from console.acts.orders import already_ended, cancel_order
from console.errors import DependencyDown
from schemas.orders import CancelAnswer, OrderFlag, OrderStatus
from schemas.runs import CancelReply, CancelStep
from storage.database import Connection
from storage.orders import StoredOrder, lock_order, read_order, request_cancel
from tests.postgres.desk import SIGNAL, Desk
from tests.postgres.scripted_broker import told

Took = Callable[[], Awaitable[None]]


async def order_of(desk: Desk) -> StoredOrder:
    async with desk.database.connection() as connection:
        return await read_order(connection, SIGNAL)


def step(actor: str) -> CancelStep:
    return CancelStep(signal_id=SIGNAL, as_of=datetime.now(UTC), actor=actor, reason="enough")


async def test_a_cancel_that_lost_to_fills_not_told_yet_says_so(desk: Desk) -> None:
    """How: the look-up after the cancel shows the order filled; neither stream nor list has told of executions."""
    await desk.place()
    (posted,) = desk.broker.posts
    desk.broker.orders[posted] = told(posted, "filled", filled=10)

    async def too_late(_: str) -> CancelAnswer:
        return CancelAnswer.TOO_LATE

    desk.broker.cancel_order = too_late  # type: ignore[method-assign, assignment]
    for _ in range(2):
        reply = await desk.end.cancel_order(step("ana"))
        assert (reply.answer, reply.status) == (CancelAnswer.TOO_LATE, OrderStatus.FILLED)
        expected = "it has ended as FILLED and some of its executions are still to be told, 0 of 10 so far"
        assert reply.message == expected
    order = await order_of(desk)
    assert order.flags == (OrderFlag.FILLS_MISSING,)
    late = already_ended(order)
    assert late is not None
    assert late.message == "it ended as FILLED; some of its executions are still to be told, 0 of 10 so far"


class SilentWorkflow:
    """A workflow whose answer does not come; ``took`` is what a worker has done by then."""

    def __init__(self, took: Took | None = None) -> None:
        self.took = took

    def get_workflow_handle(self, workflow_id: str) -> "SilentWorkflow":
        return self

    async def execute_update(self, *_: Any, **__: Any) -> CancelReply:
        if self.took is not None:
            await self.took()
        raise WorkflowUpdateRPCTimeoutOrCancelledError


async def ask(desk: Desk, workflow: SilentWorkflow, name: str = "olga") -> CancelReply:
    @asynccontextmanager
    async def rows() -> AsyncIterator[Connection]:
        async with desk.database.connection() as connection:
            yield connection

    client: Any = workflow
    return await cancel_order(client, rows, await order_of(desk), name=name, reason="")


@pytest.mark.parametrize("asked_before_by", [None, "end of day", "olga"])
async def test_a_request_that_no_worker_has_taken_is_not_laid_on_the_broker(
    desk: Desk, asked_before_by: str | None
) -> None:
    """Whoever asked before, this very person or none: then it is the broker that is silent, and only then."""
    await desk.place()
    if asked_before_by is not None:
        await desk.end._remember(step(asked_before_by))
    with pytest.raises(DependencyDown, match="no worker answered") as silent:
        await ask(desk, SilentWorkflow())
    assert ("an earlier one of" in str(silent.value)) is (asked_before_by is not None)

    async def took() -> None:
        await desk.end._remember(step("olga"))

    reply = await ask(desk, SilentWorkflow(took))
    assert reply.answer is CancelAnswer.UNKNOWN_OUTCOME
    assert "the broker has not answered the cancel" in reply.message


async def test_an_order_that_ended_while_nobody_answered_is_told_as_ended(desk: Desk) -> None:
    await desk.place()
    (posted,) = desk.broker.posts

    async def ended() -> None:
        gone = told(posted, "canceled")
        await take_in(desk.database, gone, now=datetime.now(UTC), source="test")
        async with desk.database.transaction("test") as connection:
            await request_cancel(await lock_order(connection, SIGNAL), "end of day", datetime.now(UTC))

    reply = await ask(desk, SilentWorkflow(ended))
    assert (reply.answer, reply.status) == (CancelAnswer.TOO_LATE, OrderStatus.CANCELED)
