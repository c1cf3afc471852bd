"""Who may use the console: people, roles, sessions; and each person's own ways to sign in."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from console import person_changes
from console.person_changes import Change, ChangeRefused, Done
from console.web import factors
from console.web.access import FreshAdmin, Person, Viewer
from console.web.answers import go
from console.web.deps import ConsoleDeps, Deps
from console.web.problems import refused
from console.web.rendering import render
from schemas.people import Role
from security import one_time
from storage import people, sessions

router = APIRouter()

Name = Annotated[str, Form(max_length=64)]


@router.get("/access")
async def show_access(request: Request, deps: Deps, person: Viewer) -> Response:
    """Everybody sees their own; an Admin sees all."""
    return await _page(request, deps, person, None)


async def _page(request: Request, deps: ConsoleDeps, person: Person, done: Done | None) -> Response:
    now, is_admin = deps.now(), person.may(Role.ADMIN)
    async with deps.database.connection() as connection:
        me = await people.read_person(connection, person.person_id, now)
        everybody = await people.list_people(connection, now) if is_admin else []
        open_sessions = await sessions.list_sessions(connection, now, None if is_admin else person.person_id)
        passkeys = await people.list_passkeys(connection, person.person_id)
    link = None if done is None or done.link is None else deps.settings.origin + done.link
    return render(
        request, "access.html", person=person, me=me, everybody=everybody, sessions=open_sessions,
        passkeys=passkeys, roles=list(Role), done=done, link=link,
    )  # fmt: skip


@router.post("/access/invite")
async def invite(
    request: Request, deps: Deps, person: FreshAdmin, name: Name, role: Annotated[Role, Form()]
) -> Response:
    """Invite somebody: the link is shown this once."""
    async with deps.database.connection() as connection:
        try:
            done = await person_changes.invite(
                connection, name.strip(), role, by=person.name, now=deps.now(), secret=one_time.new_secret()
            )
        except ChangeRefused as error:
            raise refused(str(error)) from None
    return await _page(request, deps, person, done)


@router.post("/access/role")
async def set_role(deps: Deps, person: FreshAdmin, name: Name, role: Annotated[Role, Form()]) -> Response:
    """It counts at that person's next request."""
    await _change(deps, person, Change.ROLE, name, role)
    return go("/access")


@router.post("/access/disable")
async def disable(deps: Deps, person: FreshAdmin, name: Name) -> Response:
    """Out at once, everywhere."""
    await _change(deps, person, Change.DISABLE, name)
    return go("/access")


@router.post("/access/enable")
async def enable(deps: Deps, person: FreshAdmin, name: Name) -> Response:
    """May sign in again."""
    await _change(deps, person, Change.ENABLE, name)
    return go("/access")


@router.post("/access/unlock")
async def unlock(deps: Deps, person: FreshAdmin, name: Name) -> Response:
    """Forget wrong tries."""
    await _change(deps, person, Change.UNLOCK, name)
    return go("/access")


@router.post("/access/reset")
async def reset(request: Request, deps: Deps, person: FreshAdmin, name: Name) -> Response:
    """Somebody lost the way in: password and factors are gone, a link sets new ones."""
    return await _page(request, deps, person, await _change(deps, person, Change.RESET, name))


async def _change(
    deps: ConsoleDeps, person: Person, what: Change, name: str, role: Role | None = None
) -> Done:
    async with deps.database.connection() as connection:
        try:
            return await person_changes.change(
                connection, what, name, by=person.name, now=deps.now(), role=role,
                secret=one_time.new_secret() if what is Change.RESET else "",
            )  # fmt: skip
        except ChangeRefused as error:
            raise refused(str(error)) from None


@router.post("/access/session")
async def end_session(deps: Deps, person: Viewer, session_id: Annotated[UUID, Form()]) -> Response:
    """One's own sessions; an Admin anybody's."""
    of = None if person.may(Role.ADMIN) else person.person_id
    await factors.end_session(deps, session_id, of=of, by=person.name)
    return go("/access")
