"""The door of a process that has no gateway: does it live, can it work, what has it counted."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from activities.starter import TemporalUnavailable
from gateway.server import listening
from observability.metrics import CONTENT_TYPE, Metrics
from storage.database import DATABASE_ERRORS, Database
from storage.switches import read_state
from workers.settings import HealthSettings

Check = Callable[[], Awaitable[None]]
"""Returns when all is well."""

NOT_WELL: Final = (*DATABASE_ERRORS, TemporalUnavailable)


@asynccontextmanager
async def health_served(
    settings: HealthSettings, metrics: Metrics, checks: Mapping[str, Check]
) -> AsyncIterator[int]:
    """Serve ``/healthz``, ``/readyz`` and ``/metrics`` until the block ends; yields the port.

    Raises:
        OSError: the port is taken.
    """

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        said = {name: await _said(check) for name, check in checks.items()}
        ready = all(answer == "ok" for answer in said.values())
        return JSONResponse({"ready": ready, "checks": said}, status_code=200 if ready else 503)

    async def counted(_: Request) -> Response:
        return Response(await asyncio.to_thread(metrics.render), media_type=CONTENT_TYPE)

    app = Starlette(
        routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", counted)],
    )
    async with listening(app, host=settings.metrics_host, port=settings.metrics_port) as port:
        yield port


async def reads(database: Database) -> None:
    """The check that the database answers. Raises DATABASE_ERRORS."""
    async with database.connection() as connection:
        await read_state(connection)


async def _said(check: Check) -> str:
    try:
        await check()
    except NOT_WELL as error:
        return f"does not answer: {type(error).__name__}"
    return "ok"
