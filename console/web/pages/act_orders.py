"""Cancel an order, or all of a ticker, after one has said that one means it."""

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from console.acts.orders import cancel_order, find_order, open_entries
from console.errors import CommandFailed
from console.web.access import Operator
from console.web.acting import Reason, show, temporal_of, text_of, told
from console.web.deps import Deps
from console.web.problems import refused
from console.web.text import query
from schemas.signals import TICKER_PATTERN
from storage.database import DATABASE_ERRORS
from storage.orders import StoredOrder

router = APIRouter()

ASKED_TOGETHER: Final = 8
"""Workflows: each may take its time, and the broker takes cancels one by one."""
MORE: Final = "NOT ALL: more were open than one act cancels; send it again"
ID_CHARACTERS_MAX: Final = 128
OrderId = Annotated[str, Path(max_length=ID_CHARACTERS_MAX)]
Ticker = Annotated[str, Path(pattern=TICKER_PATTERN)]


@router.get("/acts/orders/{order_id}/cancel")
async def ask_cancel(request: Request, deps: Deps, person: Operator, order_id: OrderId) -> Response:
    """What would be cancelled."""
    async with deps.database.connection() as connection:
        with told():
            order = await find_order(connection, order_id)
    return show(request, "cancel", person, order=order)


@router.post("/acts/orders/{order_id}/cancel")
async def cancel(
    request: Request, deps: Deps, person: Operator, order_id: OrderId, reason: Reason = ""
) -> Response:
    """Ask the order's workflow. The answer says requested, too late, or unknown; asked again nothing is doubled."""
    client = temporal_of(deps)
    with told():
        async with deps.database.connection() as connection:
            order = await find_order(connection, order_id)
        reply = await cancel_order(client, deps.database.connection, order, name=person.name, reason=reason)
    lines = [f"{reply.answer.value}: {reply.message} (state {reply.status.value})"]
    back = f"/orders/{order.internal_order_id}"  # What becomes of it is told there.
    return show(request, "done", person, title=f"Cancel of {order.signal_id}", lines=lines, back=back)


@router.get("/acts/tickers/{ticker}/cancel")
async def ask_cancel_all(request: Request, deps: Deps, person: Operator, ticker: Ticker) -> Response:
    """Which orders would be cancelled."""
    async with deps.database.connection() as connection:
        orders, more = await open_entries(connection, ticker)
    return show(request, "cancel_all", person, ticker=ticker, orders=orders, more=more)


@router.post("/acts/tickers/{ticker}/cancel")
async def cancel_all(
    request: Request, deps: Deps, person: Operator, ticker: Ticker, reason: Reason = ""
) -> Response:
    """Ask for the cancel of every open order of a ticker. Protective stops stay; what came since is in it."""
    client, rows = temporal_of(deps), deps.database.connection
    async with rows() as connection:
        orders, more = await open_entries(connection, ticker)
    if not orders:
        raise refused(f"no order of {ticker} is open that can be cancelled")
    together = asyncio.Semaphore(ASKED_TOGETHER)

    async def one(order: StoredOrder) -> str:
        async with together:
            try:
                reply = await cancel_order(client, rows, order, name=person.name, reason=reason)
            except CommandFailed as error:
                return f"{order.signal_id}: NOT KNOWN: {text_of(error)}"
            except DATABASE_ERRORS:
                return f"{order.signal_id}: NOT KNOWN: the database does not answer"
            return f"{order.signal_id}: {reply.answer.value}: {reply.message}"

    lines = await asyncio.gather(*map(one, orders))
    lines += [MORE] if more else []
    back = query("/orders", ticker=ticker)
    return show(request, "done", person, title=f"Cancel of all of {ticker}", lines=lines, back=back)
