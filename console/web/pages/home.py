"""The first page."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from console.web.access import Viewer
from console.web.rendering import render

router = APIRouter()


@router.get("/")
async def home(request: Request, person: Viewer) -> Response:
    """Where everybody arrives."""
    return render(request, "home.html", person=person)
