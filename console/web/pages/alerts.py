"""Alerts: what is wrong and lasts, what is over, and who was told of it where and when."""

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from console.deliveries import read_post
from console.web.access import Viewer
from console.web.deps import Deps
from console.web.rendering import render
from console.web.routes import page
from schemas.alerts import Delivery
from storage.alerts import list_alerts
from storage.deliveries import deliveries_of

router: Final = APIRouter()
OVER: Final = 100


@page(router, "/alerts")
async def alerts(request: Request, person: Viewer, deps: Deps) -> HTMLResponse:
    """Those that last first, then those that are over."""
    async with deps.database.connection() as connection:
        found = await list_alerts(connection, everything=True, limit=OVER)
        told = await deliveries_of(connection, [each.alert_id for each in found])
        post = await read_post(connection)
    by_alert: dict[str, list[Delivery]] = {}
    for each in told:
        by_alert.setdefault(each.alert_id, []).append(each)
    return render(
        request, "alerts.html", person=person, firing=[each for each in found if each.cleared_at is None],
        over=[each for each in found if each.cleared_at is not None], told=by_alert, post=post,
    )  # fmt: skip
