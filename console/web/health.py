"""Does the process live, can people sign in, what has it counted."""

import asyncio

import asyncpg
from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from console.web.deps import Deps
from storage import migrate
from storage.database import DATABASE_ERRORS
from storage.sessions import read_standing

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

router = APIRouter()


@router.get("/healthz")
async def healthz() -> JSONResponse:
    """200 as long as the process answers at all."""
    return JSONResponse({"status": "alive"})


@router.get("/readyz")
async def readyz(deps: Deps) -> JSONResponse:
    """The database and its schema. Temporal is not needed to look at rows, nor to engage the kill switch."""
    said = "ok"
    try:
        async with deps.database.connection() as connection:
            await read_standing(connection)
        await migrate.check(deps.dsn)
    except (*DATABASE_ERRORS, asyncpg.PostgresError) as error:
        said = f"does not answer: {type(error).__name__}"
    except migrate.MigrationError as error:
        said = str(error)
    ready = said == "ok"
    return JSONResponse({"ready": ready, "checks": {"database": said}}, status_code=200 if ready else 503)


@router.get("/metrics")
async def metrics(deps: Deps) -> Response:
    """The counters of this process."""
    return Response(await asyncio.to_thread(deps.render_metrics), media_type=METRICS_CONTENT_TYPE)
