"""Live trading: what execution runs with, asked for by one Admin, granted by another, ended by one at once."""

from typing import Annotated, Final
from uuid import UUID, uuid4

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from console.acts import live as acts
from console.acts.people import why
from console.errors import BadUsage
from console.web.access import FreshAdmin, Operator, Viewer
from console.web.acting import Reason, Span, actor_of, end_of, go_back, show, told
from console.web.answers import go
from console.web.deps import Deps
from console.web.live_state import why_not_live
from schemas.mode import Mode
from schemas.people import Role
from storage.live import list_grants, read_configuration

router = APIRouter()

LIVE: Final = "/acts/live"
HASH: Final = r"^[0-9a-f]{64}$"


@router.get(LIVE)
async def show_live(request: Request, deps: Deps, person: Viewer) -> Response:
    """What a grant would be for, why nothing is permitted, and every grant that was given."""
    async with deps.database.connection() as connection:
        stored, grants = await read_configuration(connection), await list_grants(connection)
    why_not = why_not_live(stored, next(iter(grants), None), deps.now())
    to_end = any(each.revoked_at is None and each.grant.expires_at > deps.now() for each in grants)
    return show(
        request, "live", person, stored=stored, grants=grants, why_not=why_not, to_end=to_end, approval_id=uuid4(),
        may_ask=person.may(Role.ADMIN) and stored is not None and stored.mode is Mode.LIVE,
        may_end=person.may(Role.OPERATOR),
    )  # fmt: skip


@router.post("/acts/live/ask")
async def ask(
    deps: Deps,
    person: FreshAdmin,
    configuration_hash: Annotated[str, Form(pattern=HASH)],
    approval_id: Annotated[UUID, Form()],
    span: Span,
    reason: Reason,
) -> Response:
    """Ask another Admin. The form sent twice asks once."""
    with told():
        now = deps.now()
        end = end_of(span, now)
        if end is None:
            raise BadUsage("a grant has an end", do="8h")
        text = why(reason, "live trading is granted for a reason")
        async with deps.database.connection() as connection:
            await acts.ask(
                connection, actor_of(person, deps), approval_id=approval_id,
                configuration_hash=configuration_hash, valid_for=end - now, reason=text,
            )  # fmt: skip
    return go("/acts/approvals")


@router.post("/acts/live/revoke")
async def revoke(request: Request, deps: Deps, person: Operator, reason: Reason) -> Response:
    """No order leaves any more, from the next one on."""
    with told():
        text = why(reason, "live trading is ended for a reason")
        async with deps.database.connection() as connection:
            await acts.revoke(connection, actor_of(person, deps), reason=text)
    return go_back(request, LIVE)
