"""The kill switch: how it stands, what its last sweep found, and its history; and who may not trade."""

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from console.web.access import Viewer
from console.web.deps import Deps
from console.web.rendering import render
from console.web.routes import page
from schemas.wire import ID_KILL_SWITCH
from storage.blotter import AuditFilter, search_audit
from storage.conduct import list_stops
from storage.locks import holding_locks
from storage.switches import read_state

router: Final = APIRouter()
HISTORY: Final = 40


@page(router, "/controls")
async def controls(request: Request, person: Viewer, deps: Deps) -> HTMLResponse:
    """Kill switch and disabled strategies."""
    async with deps.database.connection() as connection:
        kill = await read_state(connection)
        stops = await list_stops(connection, everything=True)
        history = await search_audit(connection, AuditFilter(correlation_id=ID_KILL_SWITCH), limit=HISTORY)
        locks = await holding_locks(connection, deps.now())
    return render(
        request, "controls.html", person=person, kill=kill, stops=stops, history=history, locks=locks
    )
