"""``trading orders`` and ``trading order show|cancel``."""

import getpass
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from console.addresses import Addresses
from console.common import NO_OPTIONS, Common, emit
from console.errors import EXIT_DONE, EXIT_REFUSED, DependencyDown, Refused
from console.rows import rows
from console.temporal import UPDATE_RPC_TIMEOUT, connect
from console.views import draw_orders, draw_pairs, draw_timeline, order_pairs
from schemas.orders import CancelAnswer, OrderStatus
from schemas.runs import CancelCommand, CancelReply
from schemas.wire import UPDATE_CANCEL_ORDER, Leg, order_workflow_id
from storage.events import timeline
from storage.orders import StoredOrder, find_by_any_id, list_orders, read_keyed, read_order
from storage.protection import all_legs

if TYPE_CHECKING:
    import asyncpg

LIST_DEFAULT: Final = 50
LIST_MAX: Final = 500
CANCEL_TRIES: Final = 3
"""A run may end, or begin again, between the look-up and the update."""

Limit = Annotated[int, Parameter(validator=Number(gte=1, lte=LIST_MAX), help="How many at most.")]


async def orders(
    *,
    status: Annotated[OrderStatus | None, Parameter(help="Only this state.", name="--state")] = None,
    ticker: Annotated[str | None, Parameter(help="Only this ticker.")] = None,
    strategy: Annotated[str | None, Parameter(help="Only this strategy.")] = None,
    open_only: Annotated[
        bool, Parameter(name="--open", negative="", help="Only what is not settled.")
    ] = False,
    limit: Limit = LIST_DEFAULT,
    common: Common = NO_OPTIONS,
) -> int:
    """List orders, newest first."""
    async with rows(common.addresses()) as connection:
        found = await list_orders(
            connection, status=status.value if status else None, ticker=ticker, strategy=strategy,
            open_only=open_only, limit=limit,
        )  # fmt: skip
    views = [order.view for order in found]
    emit(common, [view.model_dump(mode="json") for view in views], lambda: draw_orders(views))
    return EXIT_DONE


async def show(order_id: str, /, *, common: Common = NO_OPTIONS) -> int:
    """Show one order by its signal, internal, client or broker id."""
    async with rows(common.addresses()) as connection:
        order = await find_order(connection, order_id)
        legs = await all_legs(connection, order.signal_id)
        story = await timeline(connection, order.signal_id)

    def draw() -> None:
        draw_pairs(order_pairs(order.view))
        print()
        if legs:
            draw_orders(legs)
            print()
        draw_timeline(story)

    data = order.view.model_dump(mode="json") | {
        "legs": [leg.model_dump(mode="json") for leg in legs],
        "timeline": [entry.model_dump(mode="json") for entry in story],
    }
    emit(common, data, draw)
    return EXIT_DONE


async def find_order(connection: "asyncpg.Connection[Any]", some_id: str) -> StoredOrder:
    """The order under any of its ids.

    Raises:
        Refused: none has it.
    """
    found = await find_by_any_id(connection, some_id) if "\0" not in some_id else None
    if found is None:
        raise Refused(f"no order has the id {some_id}", do="look at `trading orders`")
    return await read_order(connection, *found)


async def cancel(
    order_id: str,
    /,
    *,
    reason: Annotated[str, Parameter(help="Why; goes into the audit log.")] = "",
    common: Common = NO_OPTIONS,
) -> int:
    """Ask for an order's cancel.

    Exit 0: the broker was asked. 1: too late, unknown to the broker, or the outcome is unknown: see `answer`.
    """
    addresses = common.addresses()
    async with rows(addresses) as connection:
        order = await find_order(connection, order_id)
        if order.leg is not Leg.ENTRY:
            raise Refused(
                f"{order_id} is the {order.leg.value} of signal {order.signal_id}: it protects shares and is not "
                "cancelled by itself",
                do="sell the shares: that takes their stop back; `trading kill` stops everything",
            )
        reply = await ask_cancel(addresses, connection, order, reason)
    data = {"signal_id": order.signal_id, **reply.model_dump(mode="json")}
    emit(common, data, lambda: print(f"{reply.answer.value}: {reply.message} (state {reply.status.value})"))
    return EXIT_DONE if reply.answer is CancelAnswer.REQUESTED else EXIT_REFUSED


async def ask_cancel(
    addresses: Addresses, connection: "asyncpg.Connection[Any]", order: StoredOrder, reason: str
) -> CancelReply:
    """Ask the order's workflow for its cancel, as the person at this terminal.

    Raises:
        Refused: the workflow refuses the command.
        DependencyDown: Temporal, every worker or this one workflow is silent, and no row knows of the cancel.
    """
    reply = _too_late(order)
    if reply is not None:
        return reply
    command = CancelCommand(actor=f"operator {getpass.getuser()}", reason=reason)
    client = await connect(addresses)
    for _ in range(CANCEL_TRIES):
        try:
            reply = await _update(client, order.signal_id, command)
        except NoAnswerYet:
            return await _unanswered(connection, order)
        reply = reply or _too_late(await read_keyed(connection, order))
        if reply is not None:
            return reply
    raise DependencyDown(
        f"no workflow runs for {order.signal_id} right now", do="the sweeper starts it within 10 s: try again"
    )


class NoAnswerYet(DependencyDown):
    """The update waits: for a worker, or for the broker's answer to one."""


async def _unanswered(connection: "asyncpg.Connection[Any]", order: StoredOrder) -> CancelReply:
    """A worker has taken the request where the row names who asked: then it is the broker that is silent.

    Raises:
        DependencyDown: no worker has.
    """
    now = await read_order(connection, order.signal_id, order.leg)
    if now.cancel_requested_by is None:
        raise DependencyDown(
            f"no worker answered within {UPDATE_RPC_TIMEOUT.seconds} s; the request stays queued",
            do="see `trading doctor`, then `trading order show`",
        )
    return _too_late(now) or CancelReply(
        answer=CancelAnswer.UNKNOWN_OUTCOME,
        status=now.status,
        message=(
            f"the broker has not answered the cancel within {UPDATE_RPC_TIMEOUT.seconds} s; it is asked again "
            "until it does: `trading order show` tells the end"
        ),
    )


def _too_late(order: StoredOrder) -> CancelReply | None:
    if not order.status.is_final:
        return None
    filled = f", filled {order.filled_quantity} of {order.quantity}"
    message = f"it ended as {order.status.value}{filled}"
    return CancelReply(answer=CancelAnswer.TOO_LATE, status=order.status, message=message)


async def _update(client: Any, signal_id: str, command: CancelCommand) -> CancelReply | None:
    """The workflow's answer; None where no run is there to give one.

    Raises:
        Refused: the workflow refuses the command.
        NoAnswerYet: it has not answered within ``UPDATE_RPC_TIMEOUT``.
        DependencyDown: Temporal is silent.
    """
    from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
    from temporalio.service import RPCError, RPCStatusCode

    handle = client.get_workflow_handle(order_workflow_id(signal_id))
    try:
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
