"""``trading orders`` and ``trading order show|cancel``."""

from functools import partial
from typing import Annotated, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from console.acts.orders import already_ended, cancel_order, find_order
from console.addresses import Addresses
from console.common import NO_OPTIONS, Common, emit
from console.errors import EXIT_DONE, EXIT_REFUSED
from console.kill_steps import operator
from console.rows import rows
from console.temporal import connect
from console.views import draw_orders, draw_pairs, draw_timeline, order_pairs
from schemas.orders import CancelAnswer, OrderStatus
from schemas.runs import CancelReply
from storage.events import timeline
from storage.orders import StoredOrder, list_orders
from storage.protection import all_legs

LIST_DEFAULT: Final = 50
LIST_MAX: Final = 500

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
    reply = await ask_cancel(addresses, order, reason)
    data = {"signal_id": order.signal_id, **reply.model_dump(mode="json")}
    emit(common, data, lambda: print(f"{reply.answer.value}: {reply.message} (state {reply.status.value})"))
    return EXIT_DONE if reply.answer is CancelAnswer.REQUESTED else EXIT_REFUSED


async def ask_cancel(addresses: Addresses, order: StoredOrder, reason: str) -> CancelReply:
    """Ask for an order's cancel as the person at this terminal. Raises as `console.acts.orders.cancel_order`."""
    return already_ended(order) or await cancel_order(
        await connect(addresses), partial(rows, addresses), order, name=operator(), reason=reason
    )
