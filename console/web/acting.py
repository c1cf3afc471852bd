"""What every page on which somebody does something shares: who acts, how a no is told, where to go back to."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import Form, Request
from starlette.responses import RedirectResponse, Response

from console.acts.people import REASON_MAX_CHARACTERS, Actor, StepUpNeeded
from console.errors import BadUsage, CommandFailed, DependencyDown, Refused
from console.limits_change import until
from console.web.access import Person, inside
from console.web.answers import is_htmx
from console.web.deps import ConsoleDeps
from console.web.problems import Code, WebError
from console.web.rendering import render

if TYPE_CHECKING:
    from temporalio.client import Client

Reason = Annotated[str, Form(max_length=REASON_MAX_CHARACTERS)]
SPAN_CHARACTERS_MAX: Final = 40
Span = Annotated[str, Form(max_length=SPAN_CHARACTERS_MAX)]
"""``30m``, ``2h``, a time, or nothing."""


def actor_of(person: Person, deps: ConsoleDeps) -> Actor:
    """The person, as acts and the audit log know him."""
    return Actor(person.name, person.person_id, person.role, person.mfa_at, deps.now)


@contextmanager
def told() -> Iterator[None]:
    """What an act says no with, as an answer.

    Raises:
        WebError: 403 a fresh factor is needed, 409 refused, 422 not meant so, 503 something does not answer.
    """
    try:
        yield
    except StepUpNeeded as error:
        raise WebError(403, Code.STEP_UP_REQUIRED, text_of(error)) from error
    except BadUsage as error:
        raise WebError(422, Code.INVALID_REQUEST, text_of(error)) from error
    except DependencyDown as error:
        raise WebError(503, Code.UNAVAILABLE, text_of(error)) from error
    except Refused as error:
        raise WebError(409, Code.REFUSED, text_of(error)) from error


def text_of(error: CommandFailed) -> str:
    """What happened, and what to do."""
    return f"{error.what}: {error.do}" if error.do else error.what


def end_of(span: str, now: datetime) -> datetime | None:
    """When something ends; None where nothing was said. Raises BadUsage."""
    return until(span, now, option="write") if span.strip() else None


def temporal_of(deps: ConsoleDeps) -> "Client":
    """Raises:
    WebError: Temporal does not answer.
    """
    if deps.client is None:
        raise WebError(503, Code.UNAVAILABLE, "Temporal does not answer: nothing was done")
    return deps.client


def go_back(request: Request, otherwise: str) -> RedirectResponse:
    """On to the page from which something was done."""
    from_here = inside(urlsplit(request.headers.get("referer", "")).path)
    return RedirectResponse(otherwise if from_here == "/" else from_here, status_code=303)


def show(request: Request, name: str, person: Person, **context: Any) -> Response:
    """A page of an act; for htmx its content alone, for a dialog."""
    return render(request, f"acts/{name}.html", person=person, fragment=is_htmx(request), **context)
