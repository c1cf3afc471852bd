"""What waits for a second person: shown exactly, carried out by another, declined, taken back or taken up."""

import json
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from console.acts import approvals as acts
from console.acts.live import Granting
from console.web.access import FreshRisk, Risk, Viewer
from console.web.acting import actor_of, go_back, show, told
from console.web.deps import Deps
from schemas.two_persons import AskedKind, AskedState
from storage.two_persons import list_asked

router = APIRouter()

APPROVALS: Final = "/acts/approvals"
HASH: Final = r"^[0-9a-f]{64}$"


@router.get(APPROVALS)
async def show_approvals(request: Request, deps: Deps, person: Viewer) -> Response:
    """What waits, with every word of it, and what has ended."""
    now = deps.now()
    async with deps.database.connection() as connection:
        found = await list_asked(connection, now, everything=True)
    waits = [each for each in found if each.state is AskedState.ASKED and each.expires_at > now]
    past = [each for each in found if each not in waits]
    return show(
        request, "approvals", person, past=past,
        waits=[(each, json.loads(each.content), person.may(each.kind.needed)) for each in waits],
    )  # fmt: skip


@router.post("/acts/approvals/{approval_id}/carry-out")
async def carry_out(
    request: Request,
    deps: Deps,
    person: FreshRisk,
    approval_id: UUID,
    content_hash: Annotated[str, Form(pattern=HASH)],
) -> Response:
    """Do what another has asked for. What needs an Admin refuses everybody else inside."""
    with told():
        async with deps.database.connection() as connection:
            actor, performers = actor_of(person, deps), dict(acts.PERFORMERS)
            if deps.grant_key is not None:
                performers[AskedKind.LIVE_GRANT] = Granting(deps.grant_key, actor)
            await acts.carry_out(
                connection, approval_id, actor, content_hash=content_hash, performers=performers
            )
    return go_back(request, APPROVALS)


@router.post("/acts/approvals/{approval_id}/decline")
async def decline(request: Request, deps: Deps, person: Risk, approval_id: UUID) -> Response:
    """Say no to what another has asked for."""
    with told():
        async with deps.database.connection() as connection:
            await acts.decline(connection, approval_id, actor_of(person, deps))
    return go_back(request, APPROVALS)


@router.post("/acts/approvals/{approval_id}/withdraw")
async def withdraw(request: Request, deps: Deps, person: Viewer, approval_id: UUID) -> Response:
    """Take back what one has asked for, whatever role one has left."""
    with told():
        async with deps.database.connection() as connection:
            await acts.withdraw(connection, approval_id, actor_of(person, deps))
    return go_back(request, APPROVALS)


@router.post("/acts/approvals/{approval_id}/take-up")
async def take_up(request: Request, deps: Deps, person: FreshRisk, approval_id: UUID) -> Response:
    """Make one's own what was asked for from the command line; another person carries it out."""
    with told():
        async with deps.database.connection() as connection:
            await acts.take_up(connection, approval_id, actor_of(person, deps))
    return go_back(request, APPROVALS)
