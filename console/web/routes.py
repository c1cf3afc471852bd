"""A page under its own address, and under ``/live/`` where a page that is open fetches its live part again.

What is fetched so does not keep a session from going idle: see `console.web.access`.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

LIVE: Final = "/live"

_F = TypeVar("_F", bound=Callable[..., Any])


def page(router: APIRouter, path: str) -> Callable[[_F], _F]:
    """Serve a page at ``path`` and at ``/live`` + ``path``."""

    def under_both(handler: _F) -> _F:
        router.get(path, response_class=HTMLResponse)(handler)
        router.get(LIVE + path, response_class=HTMLResponse, include_in_schema=False)(handler)
        return handler

    return under_both


def place_of(request: Request) -> str:
    """The page's own path, also where its live part is asked for."""
    path = request.url.path
    return path.removeprefix(LIVE) or "/" if path.startswith(f"{LIVE}/") else path


def live_path_of(request: Request) -> str:
    """Where the page's live part is fetched again, with what the page was asked for."""
    query = request.url.query
    return f"{LIVE}{place_of(request)}{'?' + query if query else ''}"
