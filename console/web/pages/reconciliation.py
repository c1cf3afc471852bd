"""Reconciliation: the last run, what differed, what was overwritten, and how the drift went."""

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from console.web.access import Viewer
from console.web.deps import Deps
from console.web.rendering import render
from console.web.routes import page
from risk.readiness import waits_for
from schemas.reconciliation import CASH
from storage.broker_side import list_overwritten
from storage.reconciliation import list_runs, read_readiness

router: Final = APIRouter()
RUNS: Final = 100
ENTRIES: Final = 50


@page(router, "/reconciliation")
async def reconciliation(request: Request, person: Viewer, deps: Deps) -> HTMLResponse:
    """Runs, newest first, and what they have written."""
    now = deps.now()
    async with deps.database.connection() as connection:
        runs = await list_runs(connection, RUNS)
        waits = waits_for(await read_readiness(connection), now)
        entries = await list_overwritten(connection, ENTRIES)
    return render(
        request, "reconciliation.html", person=person, runs=runs, last=runs[0] if runs else None, waits=waits,
        entries=entries, cash=CASH, with_findings=[run for run in runs if run.findings][:10],
    )  # fmt: skip
