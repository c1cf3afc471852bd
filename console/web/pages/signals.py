"""Signals and what became of them: by reason, by strategy, over time."""

from datetime import timedelta
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from console.web.access import Viewer
from console.web.deps import Deps
from console.web.paging import Before, Typed, given, mark
from console.web.rendering import render
from console.web.routes import page
from console.web.searching import searching
from console.web.text import query
from storage.blotter import PAGE, Mark, count_rejections, recent_strategies, signals_page

router: Final = APIRouter()

Window = Literal["1h", "24h", "7d", "30d"]
WINDOWS: Final[dict[str, tuple[timedelta, timedelta]]] = {
    "1h": (timedelta(hours=1), timedelta(minutes=1)),
    "24h": (timedelta(hours=24), timedelta(minutes=30)),
    "7d": (timedelta(days=7), timedelta(hours=4)),
    "30d": (timedelta(days=30), timedelta(days=1)),
}
"""How far back, and the span of one bar."""
ANY: Final = "any"

WindowChosen = Annotated[Window, Query()]


@page(router, "/signals")
async def signals(
    request: Request, person: Viewer, deps: Deps, strategy: Typed = None, ticker: Typed = None,
    reason: Typed = None, before: Before = None, window: WindowChosen = "24h",
) -> HTMLResponse:  # fmt: skip
    """A page of signals, newest first, and the counts of the window."""
    whose, symbol, why = given(strategy), given(ticker), given(reason)
    back, span = WINDOWS[window]
    async with searching(deps) as connection:
        found = await signals_page(
            connection, strategy=whose, ticker=symbol.upper() if symbol else None, reason=why,
            before=mark(before), limit=PAGE + 1,
        )  # fmt: skip
        counts = await count_rejections(connection, deps.now() - back, span)
        strategies = await recent_strategies(connection)
    shown = found[:PAGE]
    kept = {"strategy": whose, "ticker": symbol, "reason": why, "window": window}
    last = shown[-1] if shown else None
    return render(
        request, "signals.html", person=person, rows=shown, counts=counts, kept=kept, window=window,
        windows=list(WINDOWS), strategies=strategies, wanted=kept,
        first=query("/signals", **kept) if before else None,
        older=query("/signals", **kept, before=Mark(last.received_at, last.signal_id).text)
        if last is not None and len(found) > PAGE else None,
    )  # fmt: skip
