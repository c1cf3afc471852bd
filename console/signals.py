"""``trading signal show|list``."""

from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from console.common import NO_OPTIONS, Common, console, emit, table
from console.errors import EXIT_DONE, Refused
from console.orders import LIST_DEFAULT, Limit
from console.rows import rows
from console.views import (
    clock,
    draw_decision,
    draw_orders,
    draw_pairs,
    draw_timeline,
    money,
    order_pairs,
    prices,
    shares,
)
from schemas.signals import SignalView
from storage.events import timeline
from storage.orders import read_order
from storage.protection import all_legs
from storage.risk import read_decision
from storage.signals import SignalNotFound, read_signal
from storage.signals import list_signals as stored_signals

if TYPE_CHECKING:
    import asyncpg

COLUMNS: Final = ("received", "signal", "strategy", "asked", "risk", "order", "filled", "average", "reason")


async def show(signal_id: str, /, *, common: Common = NO_OPTIONS) -> int:
    """Show one signal: what was asked, risk's arithmetic, the order, the story."""
    async with rows(common.addresses()) as connection:
        view = await signal_view(connection, signal_id)
        story = await timeline(connection, signal_id)

    def draw() -> None:
        draw_pairs(
            [("received", view.received_at.isoformat()), ("valid until", view.valid_until.isoformat())]
        )
        draw_pairs(order_pairs(view.order))
        print()
        if view.legs:
            draw_orders(view.legs)
            print()
        draw_decision(view.decision)
        print()
        draw_timeline(story)

    data = view.model_dump(mode="json") | {"timeline": [entry.model_dump(mode="json") for entry in story]}
    emit(common, data, draw)
    return EXIT_DONE


async def signal_view(connection: "asyncpg.Connection[Any]", signal_id: str) -> SignalView:
    """A signal with all that became of it.

    Raises:
        Refused: no signal has this id.
    """
    try:
        row = await read_signal(connection, signal_id.replace("\0", ""))
    except SignalNotFound as error:
        raise Refused(f"no signal has the id {signal_id}", do="look at `trading signal list`") from error
    return SignalView(
        signal_id=signal_id,
        strategy=row.proposal.strategy,
        created_at=row.proposal.created_at,
        received_at=row.received_at,
        valid_until=row.proposal.valid_until,
        order=(await read_order(connection, signal_id)).view,
        decision=await read_decision(connection, signal_id),
        legs=await all_legs(connection, signal_id),
    )


async def list_signals(
    *,
    strategy: Annotated[str | None, Parameter(help="Only this strategy.")] = None,
    limit: Limit = LIST_DEFAULT,
    common: Common = NO_OPTIONS,
) -> int:
    """List signals, newest first."""
    async with rows(common.addresses()) as connection:
        ids = await stored_signals(connection, strategy=strategy, limit=limit)
        views = [await signal_view(connection, signal_id) for signal_id in ids]

    def draw() -> None:
        lines = [signal_row(view) for view in views]
        print("no signals") if not lines else console().print(
            table(COLUMNS, lines, right=("filled", "average"))
        )

    emit(common, [view.model_dump(mode="json") for view in views], draw)
    return EXIT_DONE


def signal_row(view: SignalView) -> tuple[str, ...]:
    """One signal as a row of ``COLUMNS``."""
    order = view.order
    asked = f"{order.action.words} {shares(order.quantity)} {order.ticker} {prices(order)}"
    risk = "" if view.decision is None else "approved" if view.decision.approved else "rejected"
    return (
        clock(view.received_at), view.signal_id, view.strategy, asked, risk, order.status.value,
        shares(order.filled_quantity), money(order.average_price), order.reason or "",
    )  # fmt: skip
