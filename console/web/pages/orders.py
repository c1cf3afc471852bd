"""The blotter: every order with its state, age, fill, price and slippage."""

import re
from decimal import Decimal
from typing import Final
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from console.web.access import Viewer
from console.web.deps import Deps
from console.web.paging import Before, Typed, given, mark
from console.web.problems import invalid
from console.web.rendering import render
from console.web.routes import page
from console.web.searching import searching
from console.web.text import query
from schemas.orders import OrderStatus, Side
from schemas.signals import TICKER_PATTERN
from storage.blotter import PAGE, BlotterRow, Mark, OrderFilter, count_open, orders_page, recent_strategies
from storage.orders import StoredOrder

router: Final = APIRouter()

OPEN: Final = "open"
UNKNOWN: Final = "unknown"
STATES: Final = frozenset({OPEN, UNKNOWN, *(each.value for each in OrderStatus)})
TEN_THOUSAND: Final = Decimal(10_000)
TENTH: Final = Decimal("0.1")


def slippage(order: StoredOrder, arrival: Decimal | None) -> Decimal | None:
    """Basis points by which the average price is worse than where the order set out from; negative: better.

    That is the middle of the quote that risk decided by, for a stop its stop price.
    """
    before = order.stop_price or arrival
    if order.average_price is None or not before:
        return None
    worse = order.average_price - before if order.action.side is Side.BUY else before - order.average_price
    return (worse / before * TEN_THOUSAND).quantize(TENTH)


@page(router, "/orders")
async def orders(
    request: Request, person: Viewer, deps: Deps, state: Typed = None, ticker: Typed = None,
    strategy: Typed = None, text: Typed = None, before: Before = None,
) -> HTMLResponse:  # fmt: skip
    """A page of orders, newest first."""
    wanted = _wanted(state, ticker, strategy, text)
    async with searching(deps) as connection:
        found = await orders_page(connection, wanted, before=_mark(before), limit=PAGE + 1)
        counts, unknown = await count_open(connection)
        strategies = await recent_strategies(connection)
    shown = found[:PAGE]
    kept = {"state": wanted.state, "ticker": wanted.ticker, "strategy": wanted.strategy, "text": wanted.text}
    return render(
        request, "orders.html", person=person, rows=shown, wanted=wanted, counts=counts, unknown=unknown,
        strategies=strategies, slippage=slippage, kept=kept,
        cancels_all=person.may_act and re.fullmatch(TICKER_PATTERN, wanted.ticker or "") is not None,
        first=query("/orders", **kept) if before else None,
        older=query("/orders", **kept, before=_end(shown).text) if len(found) > PAGE else None,
    )  # fmt: skip


def _wanted(state: str | None, ticker: str | None, strategy: str | None, text: str | None) -> OrderFilter:
    chosen = given(state)
    if chosen is not None and chosen not in STATES:
        raise invalid("there is no such state of an order")
    symbol = given(ticker)
    return OrderFilter(chosen, symbol.upper() if symbol else None, given(strategy), given(text))


def _mark(before: str | None) -> Mark | None:
    found = mark(before)
    if found is not None:
        try:
            UUID(found.key)
        except ValueError as error:
            raise invalid("`before` does not come from this page") from error
    return found


def _end(rows: list[BlotterRow]) -> Mark:
    last = rows[-1].order
    return Mark(last.created_at, str(last.internal_order_id))
