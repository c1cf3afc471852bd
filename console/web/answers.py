"""How a no is answered: a page for a browser, a fragment for htmx, JSON for a script; never more than was asked."""

from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from console.web.access import inside, person_of
from console.web.problems import Code, Elsewhere, WebError
from console.web.rendering import render
from storage.sessions import Session

CODE_HEADER: Final = "X-Error-Code"
DOCUMENTED: Final[dict[int | str, dict[str, Any]]] = {
    303: {"description": "Done, or somewhere else first: go on there."},
    400: {"description": "What came is no request."},
    401: {"description": "Nobody is signed in, or not let in."},
    403: {"description": "The role is too low, a second factor is to be shown, or another site sent it."},
    404: {"description": "There is no such thing."},
    409: {"description": "It cannot be done as things are."},
    413: {"description": "The body is too long."},
    421: {"description": "The console has another name."},
    422: {"description": "What was sent cannot be meant."},
    429: {"description": "As many pages are live as may be."},
    503: {"description": "What it takes does not answer: the page says whether anything was done."},
}
"""What any request may be answered with beside its own: no 500, which is a fault of ours."""


def wants_json(request: Request) -> bool:
    """A script of a page asks for JSON; everybody else is a person."""
    return "application/json" in request.headers.get("accept", "")


def is_htmx(request: Request) -> bool:
    return request.headers.get("hx-request") == "true"


async def problem(request: Request, error: WebError) -> Response:
    """A refusal, with its code in a header too."""
    session: Session | None = getattr(request.state, "session", None)
    person = None if session is None or session.mfa_at is None else person_of(session)
    response: Response
    if wants_json(request):
        body = {"error": {"code": error.code, "message": error.message}}
        response = JSONResponse(body, status_code=error.status)
    elif error.code is Code.STEP_UP_REQUIRED and session is not None:
        response = render(
            request, "step_up.html", person=person, status=error.status, message=error.message,
            session=session, next=came_from(request), fragment=is_htmx(request),
        )  # fmt: skip
    else:
        template = "problem_fragment.html" if is_htmx(request) else "problem.html"
        response = render(request, template, person=person, status=error.status, error=error, location="/")
    response.headers[CODE_HEADER] = error.code
    return response


def elsewhere(request: Request, error: Elsewhere) -> Response:
    """Send a browser on; tell a script where."""
    response: Response
    if is_htmx(request):
        response = Response(status_code=401, headers={"HX-Redirect": error.location})
    elif wants_json(request):
        body = {"error": {"code": error.code, "message": error.message, "location": error.location}}
        response = JSONResponse(body, status_code=401)
    elif request.method not in ("GET", "HEAD"):
        told = WebError(401, error.code, f"{error.message}: nothing was done")
        response = render(request, "problem.html", status=401, error=told, location=error.location)
    else:
        response = RedirectResponse(error.location, status_code=303)
    response.headers[CODE_HEADER] = error.code
    return response


def came_from(request: Request) -> str:
    """The page that somebody was on, with what it was asked for: where to go back to after the second factor."""
    if request.method == "GET":
        return inside(request.url.path)
    page = urlsplit(request.headers.get("referer", ""))
    return inside(f"{page.path}?{page.query}" if page.query else page.path)


def go(path: str) -> RedirectResponse:
    """On to a page after something was done there."""
    return RedirectResponse(path, status_code=303)
