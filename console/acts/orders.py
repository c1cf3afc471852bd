"""An order's cancel as an act of a person: asked of the order's own workflow, which knows what may be out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from console.errors import DependencyDown, Refused
from console.temporal import UPDATE_RPC_TIMEOUT, reading_answer
from schemas.orders import CancelAnswer, OrderFlag
from schemas.runs import CancelCommand, CancelReply
from schemas.wire import UPDATE_CANCEL_ORDER, Leg, order_workflow_id
from storage.events import times_told
from storage.orders import StoredOrder, find_by_any_id, list_orders, read_keyed, read_order

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from temporalio.client import Client

    from storage.database import Connection

    Rows = Callable[[], AbstractAsyncContextManager[Connection]]
    """A connection for one look: none is kept from others while a workflow or its broker is waited for."""

CANCEL_TRIES: Final = 3
"""A run may end, or begin again, between the look-up and the update."""
CANCEL_ASKED: Final = "CANCEL_ASKED"
"""What a worker writes into the order's story as soon as it has taken the request."""
CANCEL_ALL_MAX: Final = 200
"""Orders of one ticker that are cancelled by one act; `trading kill` cancels everything."""


async def find_order(connection: Connection, some_id: str) -> StoredOrder:
    """The order under any of its ids.

    Raises:
        Refused: none has it.
    """
    found = await find_by_any_id(connection, some_id) if "\0" not in some_id else None
    if found is None:
        raise Refused(f"no order has the id {some_id}", do="look at `trading orders`")
    return await read_order(connection, *found)


async def cancel_order(
    client: Client, rows: Rows, order: StoredOrder, *, name: str, reason: str
) -> CancelReply:
    """Ask the order's workflow for its cancel, in the name of a person. Again is harmless.

    Raises:
        Refused: it is a protective leg, or the workflow refuses the command.
        DependencyDown: Temporal, every worker or this one workflow is silent, and no row knows of the cancel.
    """
    if order.leg is not Leg.ENTRY:
        raise Refused(
            f"{order.client_order_id} is the {order.leg.value} of signal {order.signal_id}: it protects shares and "
            "is not cancelled by itself",
            do="sell the shares: that takes their stop back; `trading kill` stops everything",
        )
    reply = already_ended(order)
    if reply is not None:
        return reply
    command = CancelCommand(actor=name, reason=reason)
    async with rows() as connection:
        taken = await times_told(connection, order.signal_id, decision=CANCEL_ASKED, actor=name)
    for _ in range(CANCEL_TRIES):
        try:
            reply = await _update(client, order.signal_id, command)
        except NoAnswerYet:
            return await _unanswered(rows, order, name=name, taken_before=taken)
        if reply is None:
            async with rows() as connection:
                reply = already_ended(await read_keyed(connection, order))
        if reply is not None:
            return reply
    raise DependencyDown(
        f"no workflow runs for {order.signal_id} right now", do="the sweeper starts it within 10 s: try again"
    )


async def open_entries(connection: Connection, ticker: str) -> tuple[list[StoredOrder], bool]:
    """Orders of a ticker that may still execute and can be cancelled; protective legs are not among them.

    And whether there may be more than these, which are ``CANCEL_ALL_MAX`` at most.
    """
    found = await list_orders(
        connection, status=None, ticker=ticker, strategy=None, open_only=True, limit=CANCEL_ALL_MAX + 1
    )
    shown = found[:CANCEL_ALL_MAX]
    return [order for order in shown if order.leg is Leg.ENTRY and not order.status.is_final], found != shown


class NoAnswerYet(DependencyDown):
    """The update waits: for a worker, or for the broker's answer to one."""


async def _unanswered(rows: Rows, order: StoredOrder, *, name: str, taken_before: int) -> CancelReply:
    """A worker has taken this request where the story tells of one more of this person: the broker is silent.

    The row names only who asked first, which may be long ago.

    Raises:
        DependencyDown: no worker has.
    """
    async with rows() as connection:
        now = await read_order(connection, order.signal_id, order.leg)
        taken = await times_told(connection, order.signal_id, decision=CANCEL_ASKED, actor=name)
    ended = already_ended(now)
    if ended is not None:
        return ended
    if taken == taken_before:
        first = now.cancel_requested_by
        earlier = "" if first is None else f", behind an earlier one of {first} that may wait for the broker"
        raise DependencyDown(
            f"no worker answered within {UPDATE_RPC_TIMEOUT.seconds} s; the request stays queued{earlier}",
            do="see `trading doctor`, then `trading order show`",
        )
    return CancelReply(
        answer=CancelAnswer.UNKNOWN_OUTCOME,
        status=now.status,
        message=(
            f"the broker has not answered the cancel within {UPDATE_RPC_TIMEOUT.seconds} s; it is asked again "
            "until it does: `trading order show` tells the end"
        ),
    )


def already_ended(order: StoredOrder) -> CancelReply | None:
    """The answer where it is too late; None where it is not."""
    if not order.status.is_final:
        return None
    filled = f"{order.filled_quantity} of {order.quantity}"
    message = f"it ended as {order.status.value}, filled {filled}"
    if OrderFlag.FILLS_MISSING in order.flags:
        message = (
            f"it ended as {order.status.value}; some of its executions are still to be told, {filled} so far"
        )
    return CancelReply(answer=CancelAnswer.TOO_LATE, status=order.status, message=message)


async def _update(client: Any, signal_id: str, command: CancelCommand) -> CancelReply | None:
    """The workflow's answer; None where no run is there to give one.

    Raises:
        Refused: the workflow refuses the command.
        NoAnswerYet: it has not answered within ``UPDATE_RPC_TIMEOUT``.
        DependencyDown: Temporal is silent, or the answer cannot be read.
    """
    from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
    from temporalio.service import RPCError, RPCStatusCode

    handle = client.get_workflow_handle(order_workflow_id(signal_id))
    try:
        with reading_answer(f"`trading order show {signal_id}` says what came of it"):
            reply: CancelReply = await handle.execute_update(
                UPDATE_CANCEL_ORDER, command, result_type=CancelReply, rpc_timeout=UPDATE_RPC_TIMEOUT
            )
    except WorkflowUpdateFailedError as error:
        raise Refused(f"the order's workflow refused: {error.cause}") from error
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        raise NoAnswerYet("no answer yet") from error
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise DependencyDown(f"Temporal does not answer: {error}", do="see `trading doctor`") from error
    return reply
