"""Does the process live, can people sign in, what has it counted."""

import asyncio
import math
import time
from typing import Final

import asyncpg
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from console.web.deps import ConsoleDeps, Deps
from storage import migrate
from storage.database import DATABASE_ERRORS
from storage.sessions import read_standing

ASKED_FOR_SECONDS: Final = 2.0
"""How long an answer counts."""
METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

router = APIRouter()


@router.get("/healthz")
async def healthz() -> JSONResponse:
    """200 as long as the process answers at all."""
    return JSONResponse({"status": "alive"})


class Readiness:
    """What the database said last: anybody may ask, so it is asked once in a while, and once at a time."""

    def __init__(self) -> None:
        self._said = ""
        self._asked_at = -math.inf
        self._asking = asyncio.Lock()

    async def of(self, deps: ConsoleDeps) -> str:
        """``ok``, or what is wrong."""
        async with self._asking:
            if time.monotonic() - self._asked_at >= ASKED_FOR_SECONDS:
                self._said = await _asked(deps)
                self._asked_at = time.monotonic()
            return self._said


async def _asked(deps: ConsoleDeps) -> str:
    try:
        async with deps.entry.connection() as connection:
            await read_standing(connection)
            await migrate.check_on(connection)
    except (*DATABASE_ERRORS, asyncpg.PostgresError) as error:
        return f"does not answer: {type(error).__name__}"
    except migrate.MigrationError as error:
        return str(error)
    return "ok"


@router.get("/readyz")
async def readyz(request: Request, deps: Deps) -> JSONResponse:
    """The database and its schema. Temporal is not needed to look at rows, nor to engage the kill switch."""
    readiness: Readiness = request.app.state.readiness
    said = await readiness.of(deps)
    ready = said == "ok"
    return JSONResponse({"ready": ready, "checks": {"database": said}}, status_code=200 if ready else 503)


@router.get("/metrics")
async def metrics(deps: Deps) -> Response:
    """The counters of this process."""
    return Response(await asyncio.to_thread(deps.render_metrics), media_type=METRICS_CONTENT_TYPE)
