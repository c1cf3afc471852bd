"""Coming in by a one-time link: a person sets a password, and enrols a first factor next."""

from typing import TYPE_CHECKING

from console.web.deps import ConsoleDeps
from console.web.problems import Code, WebError, invalid, refused
from console.web.sign_in import Visitor, hashed
from schemas.people import Role, wrong_name, wrong_password
from security import one_time
from storage import people, sessions
from storage.events import append
from storage.people import Link, person_entry

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from storage.database import Connection


async def link_of(deps: ConsoleDeps, secret: str) -> Link:
    """The link, if it can still be used.

    Raises:
        WebError: 404, in the same words whatever is wrong with it.
    """
    async with deps.database.connection() as connection:
        link = await people.read_link(connection, secret, deps.now())
    if link is None:
        raise no_link()
    return link


def no_link() -> WebError:
    return WebError(404, Code.NOT_FOUND, "this link was used, is too old, or never was one: ask for another")


async def come_in(deps: ConsoleDeps, secret: str, name: str | None, password: str, visitor: Visitor) -> str:
    """Use a link: set the password, and begin a session whose first factor is to be enrolled. Its secret.

    Raises:
        WebError: 404 the link is none any more, 409 the name is taken, 422 name or password may not be, 503 busy.
    """
    link = await link_of(deps, secret)
    called = link.name or (name or "").strip()
    if wrong := wrong_name(called) or wrong_password(password, called):
        raise invalid(wrong)
    password_hash = await hashed(deps, password)
    now, session_secret = deps.now(), one_time.new_secret()
    async with deps.database.transaction("people.link_used") as connection:
        await people.lock_first_admin(connection)
        if link.person_id is not None:
            await people.hold(connection, link.person_id)
        if not await people.use_link(connection, secret, now):
            raise no_link()
        if link.person_id is None and (await people.first_admin(connection)).there_is_one:
            raise refused("there is an Admin: ask that one for an invitation")
        person_id = await _person_of(connection, link, called, password_hash, now)
        if (await people.first_admin(connection)).there_is_one:
            await people.end_links(connection, None, now)
        session_id = await sessions.begin_session(
            connection, session_secret, person_id, address=visitor.address, agent=visitor.agent, now=now
        )
        detail = f"{called} came in by a link ({link.purpose}) and set a password"
        evidence = {
            "person_id": str(person_id), "name": called, "role": link.role.value, "purpose": link.purpose,
            "session_id": str(session_id), "address": visitor.address,
        }  # fmt: skip
        await append(connection, person_entry("PERSON_CAME_IN", called, detail, now, evidence))
    return session_secret


async def _person_of(
    connection: "Connection", link: Link, name: str, password_hash: str, now: "datetime"
) -> "UUID":
    if link.person_id is not None:
        # Whatever was begun with another password ends with it.
        await sessions.end_sessions_of(connection, link.person_id, by=name, now=now)
        await people.set_password(connection, link.person_id, password_hash)
        return link.person_id
    try:
        return await people.insert_person(
            connection, name, Role.ADMIN, password_hash, by="first admin link", now=now
        )
    except people.NameTaken:
        raise refused(f"somebody is called {name} already: choose another name") from None
