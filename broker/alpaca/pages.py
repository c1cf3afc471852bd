"""Walks lists page by page; a page that cannot be trusted raises, so a part is never taken for the whole."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from broker.budget import NoToken
from broker.errors import NetworkError
from schemas.broker import CashActivity
from schemas.orders import BrokerOrder, Fill

ORDERS_PAGE_SIZE = 500
ACTIVITIES_PAGE_SIZE = 100
PAGES_MAX = 400
"""200,000 orders or 40,000 executions: more means that the walk is not getting anywhere."""
PAGE_WAIT_MAX_SECONDS = 60.0
"""For a page after the first, while our own budget has no request left: it refills within a minute."""

_STEP_BACK = timedelta(milliseconds=1)
"""``after`` is exclusive and several orders can share a time: each page starts a little earlier."""

_T = TypeVar("_T")
_At = TypeVar("_At")

OrdersPage = Callable[[datetime | None], Awaitable[Sequence[BrokerOrder]]]
"""(after) -> at most ORDERS_PAGE_SIZE orders submitted later, oldest first."""

FillsPage = Callable[[str | None], Awaitable[Sequence[Fill]]]
"""(page token) -> at most ACTIVITIES_PAGE_SIZE executions after that row, oldest first."""


ActivitiesPage = Callable[[str | None], Awaitable[Sequence[tuple[str, CashActivity | None]]]]
"""(page token) -> at most ACTIVITIES_PAGE_SIZE rows after that one, each with its id, oldest first."""


async def all_orders(page: OrdersPage, after: datetime | None) -> list[BrokerOrder]:
    """Every order, each once. A page of exactly 500 means that there may be more.

    Raises:
        NetworkError: the list cannot be walked to its end.
    """
    found: dict[str, BrokerOrder] = {}
    for _ in range(PAGES_MAX):
        rows = await _page(page, after, begun=bool(found))
        known = len(found)
        found.update((row.broker_order_id, row) for row in rows)
        if len(rows) < ORDERS_PAGE_SIZE:
            return list(found.values())
        submitted = [row.submitted_at for row in rows if row.submitted_at is not None]
        if len(found) == known or not submitted:
            break
        after = max(submitted) - _STEP_BACK
    raise NetworkError(f"the order list cannot be walked to its end: {len(found)} read so far")


async def all_activities(page: ActivitiesPage) -> list[CashActivity]:
    """Every movement of cash, each once; rows without any only lead to the next page.

    Raises:
        NetworkError: the list cannot be walked to its end.
    """
    found: dict[str, CashActivity | None] = {}
    token: str | None = None
    for _ in range(PAGES_MAX):
        rows = await _page(page, token, begun=token is not None)
        known = len(found)
        found.update(rows)
        if len(rows) < ACTIVITIES_PAGE_SIZE:
            return [activity for activity in found.values() if activity is not None]
        if len(found) == known:
            break
        token = rows[-1][0]
    raise NetworkError(f"the list of activities cannot be walked to its end: {len(found)} read so far")


async def all_fills(page: FillsPage) -> list[Fill]:
    """Every execution, each once, oldest first.

    Raises:
        NetworkError: the list cannot be walked to its end.
    """
    found: dict[str | None, Fill] = {}
    token: str | None = None
    for _ in range(PAGES_MAX):
        rows = await _page(page, token, begun=token is not None)
        known = len(found)
        found.update((row.activity_id, row) for row in rows)
        if len(rows) < ACTIVITIES_PAGE_SIZE:
            return sorted(found.values(), key=lambda fill: fill.executed_at)
        if len(found) == known:
            break
        token = rows[-1].activity_id
    raise NetworkError(f"the list of executions cannot be walked to its end: {len(found)} read so far")


async def _page(page: Callable[[_At], Awaitable[_T]], at: _At, *, begun: bool) -> _T:
    """One page. A walk that has begun waits for its requests: given up, it would ask for every page again."""
    deadline = time.monotonic() + PAGE_WAIT_MAX_SECONDS
    while True:
        try:
            return await page(at)
        except NoToken as none:
            pause = none.retry_after_seconds or 1.0
            if not begun or time.monotonic() + pause > deadline:
                raise
            await asyncio.sleep(pause)
