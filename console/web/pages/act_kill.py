"""Stop everything, watch it stop, and let it go on."""

import asyncio
from typing import Annotated, Final
from uuid import uuid4

import asyncpg
from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from console.acts.kill import engage_row, kill_command, release_switch, signal_kill
from console.acts.people import why
from console.web.access import Admin, FreshAdmin, Operator, Person, Viewer, standing_anew
from console.web.acting import Reason, show, temporal_of, told
from console.web.answers import go
from console.web.deps import ConsoleDeps, Deps
from console.web.problems import KILL, KILL_DIRECT, Code, WebError, refused
from console.web.rendering import render
from schemas.base import storable
from schemas.kill import KillCommand, KillScope
from security.grants import make_grant
from storage.database import DATABASE_ERRORS
from storage.fence import Fence, try_fence
from storage.switches import read_installation, read_state, unknown_orders

router = APIRouter()

PROGRESS: Final = "/acts/kill/progress"
SIGNAL_SECONDS: Final = 6.0
ID_CHARACTERS_MAX: Final = 64


@router.get(KILL)
async def ask_kill(request: Request, deps: Deps, person: Operator) -> Response:
    """The form. It is no step that one must take: `POST` engages at once."""
    async with deps.entry.connection() as connection:
        state = await read_state(connection)
    return show(request, "kill", person, state=state, scopes=list(KillScope), request_id=uuid4())


@router.post(KILL)
async def kill(
    deps: Deps,
    person: Operator,
    scope: Annotated[KillScope, Form()] = KillScope.ALL,
    reason: Reason = "no reason given",
    request_id: Annotated[str, Form(max_length=ID_CHARACTERS_MAX, pattern=r"^[A-Za-z0-9-]*$")] = "",
) -> Response:
    """Engage the kill switch: the row first, the workflow second. Sent twice it is one activation."""
    command = kill_command(storable(reason) or "no reason given", scope, person.name, request_id or None)
    try:
        async with deps.entry.connection() as connection:
            await engage_row(connection, command)
    except (*DATABASE_ERRORS, asyncpg.PostgresError) as error:
        signalled = await _signal(deps, command)
        raise WebError(503, Code.UNAVAILABLE, _not_confirmed(signalled=signalled)) from error
    await _signal(deps, command)
    return go(PROGRESS)


async def _signal(deps: ConsoleDeps, command: KillCommand) -> bool:
    """Wake the workflow; without it the workers' own watchers sweep within seconds."""
    if deps.client is None:
        return False
    try:
        return await asyncio.wait_for(signal_kill(deps.client, command), SIGNAL_SECONDS)
    except (TimeoutError, RuntimeError):
        return False


def _not_confirmed(*, signalled: bool) -> str:
    first = (
        "NOT CONFIRMED: the signal was sent, the database did not take it"
        if signalled
        else "NOT ENGAGED, as far as is known: neither the database nor Temporal took it"
    )
    return f"{first}. {KILL_DIRECT}"


@router.get(PROGRESS)
async def progress(request: Request, deps: Deps, person: Viewer) -> Response:
    """How the sweep goes, live."""
    return await _progress(request, deps, person, "acts/kill_progress.html")


@router.get("/live/acts/kill")
async def live_progress(request: Request, deps: Deps, person: Viewer) -> Response:
    """The moving part of the same page."""
    return await _progress(request, deps, person, "acts/_sweep.html")


async def _progress(request: Request, deps: ConsoleDeps, person: Person, template: str) -> Response:
    async with deps.database.connection() as connection:
        state = await read_state(connection)
        # A look takes the fence alone for a moment: never while orders may leave.
        fence = await try_fence(connection) if state.engaged else Fence(free=True)
    moves = state.engaged and not (state.sweep_confirmed and state.swept_at and fence.free)
    return render(request, template, person=person, state=state, fence=fence, moves=moves)


@router.get("/acts/release")
async def ask_release(request: Request, deps: Deps, person: Admin) -> Response:
    """What one says yes to: this activation, and each outcome that nobody knows."""
    async with deps.database.connection() as connection:
        state = await read_state(connection)
        unknown = await unknown_orders(connection)
    return show(request, "release", person, state=state, unknown=unknown)


@router.post("/acts/release")
async def release(
    request: Request,
    deps: Deps,
    person: FreshAdmin,
    epoch: Annotated[int, Form(ge=0)],
    reason: Reason,
    accept: Annotated[list[str] | None, Form()] = None,
) -> Response:
    """Release the switch by a grant that the console signs in the Admin's name."""
    with told():
        text = why(reason, "a release needs a reason")
    if deps.grant_key is None:
        raise refused("this console has no grant key: release with `trading release` on the machine")
    async with deps.database.connection() as connection:
        state = await read_state(connection)
        account = (await read_installation(connection)).account or ""
    if not state.engaged:
        return go(PROGRESS)
    if state.epoch != epoch:
        raise refused("it was engaged again since this page was shown: look why, then release")
    grant = make_grant(
        deps.grant_key, account=account, epoch=epoch, reason=text, now=deps.now(), person=person.name,
        unknown_orders=tuple(accept or ()),
    )  # fmt: skip
    with told():
        answer = await release_switch(temporal_of(deps), grant)
    await standing_anew(request, deps)
    return show(request, "done", person, title="Released", lines=[answer.message], back=PROGRESS)
