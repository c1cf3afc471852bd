"""What the charts draw, as JSON: times in seconds, everything else as text, so that no number is rounded here.

An open page draws them again by itself: under ``/live/`` that is no use of its session.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from console.web.access import Viewer
from console.web.deps import Deps
from console.web.pages.positions import read_uses
from console.web.pages.signals import WINDOWS, WindowChosen
from console.web.text import share_of
from risk.arithmetic import HUNDREDTH
from schemas.base import decimal_text
from storage.blotter import count_rejections, latencies
from storage.market import equity_since
from storage.reconciliation import list_runs

router: Final = APIRouter(prefix="/live/charts")

SPANS: Final[dict[str, tuple[timedelta, timedelta]]] = {
    "1d": (timedelta(days=1), timedelta(minutes=1)),
    "1w": (timedelta(days=7), timedelta(minutes=10)),
    "1m": (timedelta(days=31), timedelta(hours=1)),
}
"""How far back, and one point in each of what."""
BARS_MAX: Final = 24
RUNS: Final = 300
DRIFT_KILLS_PCT: Final = "5"
FULL_PCT: Final = "100"


class Series(BaseModel):
    """One line, or one row of bars."""

    label: str
    values: list[str | None]
    line: bool = False
    """A bound rather than something measured."""
    colour: str | None = None
    """The style sheet's property; None: the next one."""


class Chart(BaseModel):
    """One chart. ``x``: seconds since 1970; or ``names``, where its bars are of things."""

    x: list[int] = []
    names: list[str] | None = None
    unit: str = ""
    from_zero: bool = False
    series: list[Series] = []
    empty: str = "Nothing to draw yet."


def _texts(values: Iterable[Decimal | None]) -> list[str | None]:
    return [None if value is None else decimal_text(value) for value in values]


def _seconds(at: datetime) -> int:
    return int(at.timestamp())


@router.get("/equity")
async def equity(
    person: Viewer, deps: Deps, span: Annotated[Literal["1d", "1w", "1m"], Query()] = "1d"
) -> Chart:
    """Equity over time, with the session's start and the peak."""
    back, each = SPANS[span]
    async with deps.database.connection() as connection:
        found = await equity_since(connection, deps.now() - back, each)
    return Chart(
        x=[_seconds(point.minute) for point in found],
        unit="$",
        series=[
            Series(label="equity", values=_texts(point.equity for point in found)),
            Series(label="session start", values=_texts(point.session_equity for point in found), line=True),
        ],
        empty="No reading of the account in this span.",
    )


@router.get("/exposure")
async def exposure(person: Viewer, deps: Deps) -> Chart:
    """How much of each limit is used, the most used first after the account."""
    async with deps.database.connection() as connection:
        used = (await read_uses(connection, deps.now()))[:BARS_MAX]
    shares = [share_of(each.at_risk, each.limit) for each in used]
    percents = [None if each is None else each.quantize(HUNDREDTH) for each in shares]
    return Chart(
        names=[each.name or "account" for each in used],
        unit="%",
        from_zero=True,
        series=[
            Series(label="of its limit", values=_texts(percents)),
            Series(label="limit", values=[FULL_PCT] * len(used), line=True, colour="--bad"),
        ],
        empty="No limits are set.",
    )  # fmt: skip


@router.get("/latency")
async def latency(person: Viewer, deps: Deps, window: WindowChosen = "24h") -> Chart:
    """From a signal's arrival until the broker had its order, one point each."""
    async with deps.database.connection() as connection:
        found = await latencies(connection, deps.now() - WINDOWS[window][0])
    found = sorted(found, key=lambda each: each.acknowledged_at)
    return Chart(
        x=[_seconds(each.acknowledged_at) for each in found],
        unit="ms",
        from_zero=True,
        series=[
            Series(label="signal to broker", values=_texts(each.whole_ms for each in found)),
            Series(label="risk's word to broker", values=_texts(each.broker_ms for each in found)),
        ],
        empty="No order has reached the broker in this window.",
    )


@router.get("/rejections")
async def rejections(person: Viewer, deps: Deps, window: WindowChosen = "24h") -> Chart:
    """Signals and those that were rejected, by span of time; spans in which nothing came are zero."""
    back, span = WINDOWS[window]
    since = deps.now() - back
    async with deps.database.connection() as connection:
        found = {each.at: each for each in (await count_rejections(connection, since, span)).over_time}
    spans = [since + number * span for number in range(int(back / span) + 1)]
    return Chart(
        x=[_seconds(at) for at in spans] if found else [],
        from_zero=True,
        series=[
            Series(label="signals", values=[str(found[at].signals) if at in found else "0" for at in spans]),
            Series(
                label="rejected", values=[str(found[at].rejected) if at in found else "0" for at in spans],
                colour="--bad",
            ),
        ],
        empty="No signal came in this window.",
    )  # fmt: skip


@router.get("/drift")
async def drift(person: Viewer, deps: Deps) -> Chart:
    """The drift of each of the last runs, in per cent of equity."""
    async with deps.database.connection() as connection:
        runs = list(reversed(await list_runs(connection, RUNS)))
    return Chart(
        x=[_seconds(run.finished_at) for run in runs],
        unit="%",
        from_zero=True,
        series=[
            Series(label="drift", values=_texts(run.drift_pct for run in runs)),
            Series(label="kill switch", values=[DRIFT_KILLS_PCT] * len(runs), line=True, colour="--bad"),
        ],
        empty="No run has ended yet.",
    )
