"""Pages from templates: what stands on every page comes from here."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.responses import HTMLResponse

from console.web import text
from console.web.access import Person
from console.web.deps import ConsoleDeps
from console.web.routes import live_path_of, place_of
from schemas.people import Role

HERE: Final = Path(__file__).parent
TEMPLATES: Final = HERE / "templates"
STATIC: Final = HERE / "static"
HASH_CHARACTERS: Final = 16

NAVIGATION: Final[tuple[tuple[str, str, Role], ...]] = (
    ("/", "Home", Role.VIEWER),
    ("/orders", "Orders", Role.VIEWER),
    ("/signals", "Signals", Role.VIEWER),
    ("/positions", "Positions", Role.VIEWER),
    ("/reconciliation", "Reconciliation", Role.VIEWER),
    ("/controls", "Controls", Role.VIEWER),
    ("/alerts", "Alerts", Role.VIEWER),
    ("/audit", "Audit", Role.VIEWER),
    ("/acts", "Act", Role.OPERATOR),
    ("/access", "Access", Role.VIEWER),
    ("/settings", "Settings", Role.ADMIN),
)
"""Path, title, and who sees it."""


@cache
def environment() -> Environment:
    """One for the process. Everything is escaped; a name that is not there is an error."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["static_url"] = static_url
    text.install(made)
    return made


@cache
def static_url(name: str) -> str:
    """The address of a static file, another one whenever its content is: it may be kept for ever."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()
    return f"/static/{name}?v={digest[:HASH_CHARACTERS]}"


def render(
    request: Request, template: str, *, person: Person | None = None, status: int = 200, **context: Any
) -> HTMLResponse:
    """A page. ``person``: who sees it; None: nobody who is signed in."""
    deps: ConsoleDeps = request.app.state.deps
    page = environment().get_template(template).render(**common(request, person, deps), **context)
    return HTMLResponse(page, status_code=status)


def common(request: Request, person: Person | None, deps: ConsoleDeps) -> Mapping[str, Any]:
    """What every template is given."""
    return {
        "request": request,
        "place": place_of(request),
        "live_path": live_path_of(request),
        "person": person,
        "now": deps.now(),
        # None where the database could not even be asked.
        "standing": getattr(request.state, "standing", None),
        "navigation": [
            (path, title) for path, title, role in NAVIGATION if person is not None and person.may(role)
        ],
    }
