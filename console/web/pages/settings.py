"""Settings in force, each with where it comes from; secrets are masked before they come here."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from console.web.access import Admin
from console.web.deps import Deps
from console.web.rendering import render

router = APIRouter()


@router.get("/settings")
async def show_settings(request: Request, deps: Deps, person: Admin) -> Response:
    """Of this process: each process knows its own alone."""
    return render(request, "settings.html", person=person, settings=deps.settings.settings)
