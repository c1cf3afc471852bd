"""The HTTP door for strategies, put together."""

from importlib.metadata import version
from typing import Final

import asyncpg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import documents, events, health, orders, problems, signals, wake
from gateway.deps import GatewayDeps
from gateway.problems import ApiError, Code, FieldProblem
from observability.logging import get_logger
from storage.database import DATABASE_ERRORS
from storage.event_feed import EventFeed

_log = get_logger(__name__)

_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


def build_app(deps: GatewayDeps) -> FastAPI:
    """The application. Serve it with ``gateway.server``, which ends its open streams before it leaves."""
    app = FastAPI(
        title="trading-interface",
        version=version("trading-interface"),
        description=documents.DESCRIPTION,
        # The interactive pages load scripts from a CDN.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # One span source: the route that takes a signal opens its own.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.deps = deps
    app.state.feed = EventFeed(deps.database, deps.dsn)
    app.state.pushes = wake.Pushes()
    app.state.mode = health.KnownMode()
    for router in (signals.router, orders.router, events.router, wake.router, health.router):
        app.include_router(router)
    app.openapi = lambda: documents.describe(app)  # type: ignore[method-assign]
    _add_handlers(app)
    app.add_middleware(_SecurityHeaders)
    return app


def _add_handlers(app: FastAPI) -> None:
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RequestValidationError, _bad_parameter)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _gone)
    # One that has become a reader is away too: what came is to be sent again.
    for kind in (*DATABASE_ERRORS, asyncpg.ReadOnlySQLTransactionError):
        app.add_exception_handler(kind, _database_away)
    app.add_exception_handler(Exception, _internal)


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return problems.response(error)


async def _bad_parameter(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fields = [FieldProblem(field=_name(item["loc"]), message=item["msg"]) for item in error.errors()]
    return problems.response(
        ApiError(422, Code.INVALID_REQUEST, "a parameter is wrong; see fields", fields=fields)
    )


def _name(place: tuple[int | str, ...]) -> str:
    """The parameter's name; of a repeated one's second value too."""
    return next(str(part) for part in reversed(place) if isinstance(part, str))


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {404: Code.NOT_FOUND, 405: Code.METHOD_NOT_ALLOWED}
    code = codes.get(error.status_code, Code.INVALID_REQUEST)
    return problems.response(ApiError(error.status_code, code, str(error.detail), headers=error.headers))


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=400)  # Nobody is left to read it.


async def _database_away(_: Request, error: Exception) -> Response:
    _log.error("database does not answer", error=type(error).__name__)
    return problems.response(
        problems.unavailable("the database does not answer; send the same request again, it is taken once")
    )


async def _internal(_: Request, error: Exception) -> Response:
    _log.error("unexpected error", exc_info=error)
    return problems.response(
        ApiError(500, Code.INTERNAL, "a fault of ours; sending the same request again is safe")
    )


class _SecurityHeaders:
    """Adds the headers that belong on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)
