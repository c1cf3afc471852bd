"""Is the process alive, can it take signals, what has it counted."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, Literal, cast

import asyncpg
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict

from activities.starter import TemporalUnavailable
from gateway.deps import Deps, GatewayDeps
from schemas.mode import Mode
from storage import migrate
from storage.database import DATABASE_ERRORS, Database
from storage.limits import LimitsMissing, current_limits
from storage.switches import read_installation

MODE_SECONDS_MAX: Final = 1.0
METRICS_CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

router = APIRouter(tags=["operation"])


class Alive(BaseModel):
    """The process answers; nothing is said of what it needs."""

    model_config = ConfigDict(frozen=True)

    status: str = "alive"
    mode: Literal["paper", "live", "unknown"]
    """What the installation is bound to. ``unknown``: to nothing yet, or the database was never heard of."""


class Readiness(BaseModel):
    """``checks`` names each dependency with ``ok`` or what is wrong."""

    model_config = ConfigDict(frozen=True)

    ready: bool
    checks: dict[str, str]


class KnownMode:
    """What the installation is bound to, which never changes: asked until it is known, and then no more."""

    def __init__(self) -> None:
        self._known: Mode | None = None

    async def read(self, database: Database) -> Mode | None:
        """None: nobody can say. It takes at most ``MODE_SECONDS_MAX``."""
        if self._known is None:
            with suppress(*DATABASE_ERRORS, asyncpg.PostgresError):
                async with asyncio.timeout(MODE_SECONDS_MAX), database.connection() as connection:
                    found = (await read_installation(connection)).mode
                    self._known = None if found is None else Mode.read(found)
        return self._known


@router.get("/healthz", summary="Does the process live?")
async def healthz(request: Request, deps: Deps) -> Alive:
    """200 as long as the process answers at all."""
    mode = await cast(KnownMode, request.app.state.mode).read(deps.database)
    return Alive(mode="unknown" if mode is None else mode.value)


@router.get(
    "/readyz",
    summary="Can signals be taken and carried out?",
    responses={503: {"model": Readiness, "description": "Not ready; `checks` says why."}},
)
async def readyz(deps: Deps, response: Response) -> Readiness:
    """Database, schema version, limits, Temporal, our clock. Signals sent while only Temporal is down are kept."""
    checks = {
        "database": await _said(_database(deps)),
        "schema": await _said(migrate.check(deps.dsn)),
        "limits": await _said(_limits(deps)),
        "temporal": await _said(deps.starter.check()),
        "clock": deps.clock_fault() or "ok",
    }
    ready = all(answer == "ok" for answer in checks.values())
    if not ready:
        response.status_code = 503
    return Readiness(ready=ready, checks=checks)


@router.get("/metrics", summary="Prometheus metrics", response_class=Response, responses={
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Text format 0.0.4."}
})  # fmt: skip
async def metrics(deps: Deps) -> Response:
    """The counters of this process."""
    return Response(await asyncio.to_thread(deps.render_metrics), media_type=METRICS_CONTENT_TYPE)


async def _said(check: Awaitable[object]) -> str:
    try:
        await check
    except DATABASE_ERRORS as error:
        return f"PostgreSQL does not answer: {type(error).__name__}"
    except asyncpg.PostgresError as error:
        return f"PostgreSQL refuses: {type(error).__name__}"
    except (migrate.MigrationError, LimitsMissing, TemporalUnavailable) as error:
        return str(error)
    return "ok"


async def _database(deps: GatewayDeps) -> None:
    async with deps.database.connection() as connection:
        await read_installation(connection)


async def _limits(deps: GatewayDeps) -> None:
    async with deps.database.connection() as connection:
        await current_limits(connection, datetime.now(UTC))
