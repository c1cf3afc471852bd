"""The console's web application, put together."""

from importlib.metadata import version
from typing import Final

import asyncpg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from console.web import answers, health, static_files
from console.web.deps import ConsoleDeps
from console.web.guard import BodyTooLarge, Guard
from console.web.pages import ROUTERS
from console.web.problems import KILL, KILL_DIRECT, Code, Elsewhere, WebError
from observability.logging import get_logger
from storage.database import DATABASE_ERRORS
from storage.event_feed import EventFeed

_log: Final = get_logger(__name__)


def build_console(deps: ConsoleDeps) -> FastAPI:
    """The application. Serve it as any other: it keeps nothing between requests but the newest events."""
    app = FastAPI(
        title="trading-interface console",
        version=version("trading-interface"),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.deps = deps
    app.state.readiness = health.Readiness()
    app.state.feed = EventFeed(deps.database, deps.dsn)
    for router in (health.router, static_files.router, *ROUTERS):
        app.include_router(router, responses=answers.DOCUMENTED)
    _add_handlers(app)
    app.add_middleware(Guard, origin=deps.settings.origin)
    return app


def _add_handlers(app: FastAPI) -> None:
    app.add_exception_handler(WebError, _web_error)
    app.add_exception_handler(Elsewhere, _elsewhere)
    app.add_exception_handler(RequestValidationError, _bad_input)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(BodyTooLarge, _too_large)
    app.add_exception_handler(asyncpg.DataError, _not_text)
    for kind in DATABASE_ERRORS:
        app.add_exception_handler(kind, _database_away)
    app.add_exception_handler(asyncpg.ReadOnlySQLTransactionError, _database_away)
    for given_up in (asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
        app.add_exception_handler(given_up, _again)
    app.add_exception_handler(Exception, _internal)


async def _web_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, WebError)
    return await answers.problem(request, error)


async def _elsewhere(request: Request, error: Exception) -> Response:
    assert isinstance(error, Elsewhere)
    return answers.elsewhere(request, error)


async def _bad_input(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Without the values: one may be a password.
    names = ", ".join(dict.fromkeys(str(each["loc"][-1]) for each in error.errors()))
    return await answers.problem(request, WebError(422, Code.INVALID_REQUEST, f"wrong or missing: {names}"))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {404: Code.NOT_FOUND, 405: Code.METHOD_NOT_ALLOWED}
    code = codes.get(error.status_code, Code.INVALID_REQUEST)
    return await answers.problem(request, WebError(error.status_code, code, str(error.detail)))


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=400)  # Nobody is left to read it.


async def _too_large(request: Request, __: Exception) -> Response:
    return await answers.problem(request, WebError(413, Code.TOO_LARGE, "that is too much"))


async def _not_text(request: Request, _: Exception) -> Response:
    """A character that PostgreSQL takes in no text: code zero, or half of one."""
    return await answers.problem(
        request, WebError(422, Code.INVALID_REQUEST, "there is a character in it that cannot be stored")
    )


async def _database_away(request: Request, error: Exception) -> Response:
    _log.error("database does not answer", error=type(error).__name__)
    message = "the database does not answer: look again before you repeat what you did"
    if _is_kill(request):
        message = _not_engaged("the database does not answer")
    return await answers.problem(request, WebError(503, Code.UNAVAILABLE, message))


async def _again(request: Request, error: Exception) -> Response:
    """PostgreSQL gave this one up for another: nothing of it was stored."""
    _log.warning("given up by the database", error=type(error).__name__)
    message = "somebody else changed the same at the same moment, and nothing was done: send it again"
    if _is_kill(request):
        message = _not_engaged("the database gave it up")
    return await answers.problem(request, WebError(503, Code.UNAVAILABLE, message))


def _is_kill(request: Request) -> bool:
    return request.method == "POST" and request.url.path == KILL


def _not_engaged(why: str) -> str:
    """What whoever pressed the button must not miss, on whatever page it stands."""
    return f"NOT ENGAGED, as far as is known: {why}. {KILL_DIRECT}"


async def _internal(request: Request, error: Exception) -> Response:
    _log.error("unexpected error", exc_info=error)
    message = "a fault of ours; it is in the log"
    if _is_kill(request):
        message = _not_engaged(message)
    return await answers.problem(request, WebError(500, Code.INTERNAL, message))
