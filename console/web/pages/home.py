"""Home: may anything trade, what is it worth, and is everything well that we rest on."""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from console.books import BooksDay, read_books_day
from console.web.access import Viewer
from console.web.deps import Deps
from console.web.lights import Light, TemporalHealth, lights, live_light
from console.web.live_state import read_why_not_live
from console.web.rendering import render
from console.web.routes import page
from risk.arithmetic import exact
from risk.clock import market_time
from risk.losses import Loss, losses
from risk.readiness import waits_for
from schemas.alerts import StoredAlert
from schemas.conduct import EquityReading, LossKind
from schemas.mode import Mode
from storage.alerts import list_alerts
from storage.blotter import BlotterRow, OrderFilter, count_open, orders_page, read_health
from storage.clock import read_clock_checks
from storage.conduct import StopRow, list_stops
from storage.database import Connection
from storage.equity import read_equity
from storage.limits import LimitsMissing, current_limits
from storage.live import read_newest_grant
from storage.market import quote_ages
from storage.reconciliation import read_readiness

router: Final = APIRouter()
NEWEST_ORDERS: Final = 8
Span = Literal["1d", "1w", "1m"]
_temporal: Final = TemporalHealth()


@dataclass(frozen=True)
class Market:
    """Open or closed, and until when, in real time."""

    is_open: bool
    changes_at: datetime
    """On our wall clock."""
    at: datetime
    """Of the bell, on the market's clock."""


@dataclass(frozen=True)
class Found:
    """All that the page shows."""

    lights: list[Light]
    market: Market | None
    reading: EquityReading
    daily: Loss | None
    drawdown: Loss | None
    day: BooksDay
    alerts: list[StoredAlert]
    waits: str | None
    stops: list[StopRow]
    open_orders: dict[str, int]
    unknown: int
    newest: list[BlotterRow]


@page(router, "/")
async def home(request: Request, person: Viewer, deps: Deps, span: Span = "1d") -> HTMLResponse:
    """The first page."""
    now = deps.now()
    async with deps.database.connection() as connection:
        found = await _read(connection, now)
        mode = request.state.standing.mode
        not_live = await read_why_not_live(connection, mode, now)
        if mode is Mode.LIVE:
            found.lights.insert(0, live_light(await read_newest_grant(connection), now))
    found.lights.insert(3, await _temporal.light(deps.client, now))
    return render(
        request,
        "home.html",
        person=person,
        found=found,
        span=span,
        waits=found.waits or not_live or _stop(found.lights),
    )


async def _read(connection: Connection, now: datetime) -> Found:
    began = time.monotonic()
    row = await read_health(connection, now)
    database_ms = round((time.monotonic() - began) * 1000)
    reading = await read_equity(connection)
    daily, drawdown = await _losses(connection, reading, now)
    open_orders, unknown = await count_open(connection)
    return Found(
        lights=lights(
            row,
            await quote_ages(connection),
            await read_clock_checks(connection),
            now,
            database_ms=database_ms,
        ),
        market=_market(row, now),
        reading=reading,
        daily=daily,
        drawdown=drawdown,
        day=await read_books_day(connection),
        alerts=await list_alerts(connection),
        waits=waits_for(await read_readiness(connection), now),
        stops=await list_stops(connection, everything=False),
        open_orders=open_orders,
        unknown=unknown,
        newest=await orders_page(connection, OrderFilter(), before=None, limit=NEWEST_ORDERS),
    )


async def _losses(
    connection: Connection, reading: EquityReading, now: datetime
) -> tuple[Loss | None, Loss | None]:
    try:
        limits = (await current_limits(connection, now)).limits
    except LimitsMissing:
        return None, None
    with exact():
        found = losses(reading, limits)
    return found.get(LossKind.DAILY_LOSS), found.get(LossKind.DRAWDOWN)


def _market(row: dict[str, Any], now: datetime) -> Market | None:
    if row["read_at"] is None:
        return None
    at: datetime = row["next_close"] if row["is_open"] else row["next_open"]
    market_now = market_time(now, broker_at=row["broker_at"], read_at=row["read_at"], speed=row["speed"])
    return Market(row["is_open"], now + (at - market_now) / row["speed"], at)


STOPPING: Final = ("broker", "clock", "hours", "Temporal")
"""Without any of these no new order leaves."""


def _stop(found: list[Light]) -> str | None:
    light = next((each for each in found if each.name in STOPPING and each.kind == "bad"), None)
    return None if light is None else f"{light.name}: {light.text}"
