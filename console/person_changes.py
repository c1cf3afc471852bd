"""What is done to people by an Admin in the console or by the operator of the machine: one way for both."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from uuid import UUID

from console.acts.people import COMPONENT
from schemas.alerts import Alert, AlertCode, Severity
from schemas.mode import Mode
from schemas.people import LINK_VALID_FOR, STANDING_MIN, PersonRow, Role, wrong_name
from storage import people, sessions
from storage.alerts import raise_alert
from storage.commits import committing
from storage.events import append
from storage.live import revoke_grants
from storage.switches import ACCESS
from storage.two_persons import read_rule

if TYPE_CHECKING:
    from storage.database import Connection

WELCOME: Final = "/welcome/"


class Change(StrEnum):
    """What is done to somebody who is there."""

    ROLE = "role"
    DISABLE = "disable"
    ENABLE = "enable"
    UNLOCK = "unlock"
    RESET = "reset"


LETS_IN: Final = frozenset({Change.ROLE, Change.ENABLE, Change.RESET})
"""After these somebody else than before may act as this person, or with more than before."""
DECISIONS: Final = {
    Change.ROLE: "ROLE_SET",
    Change.DISABLE: "PERSON_DISABLED",
    Change.ENABLE: "PERSON_ENABLED",
    Change.UNLOCK: "PERSON_UNLOCKED",
    Change.RESET: "PERSON_RESET",
}


class ChangeRefused(Exception):
    """Nothing was changed; the message says why."""


@dataclass(frozen=True)
class Done:
    """What it came to. ``link``: a secret that lets the person in, once."""

    name: str
    detail: str
    link: str | None = None


async def invite(
    connection: "Connection", name: str, role: Role, *, by: str, now: datetime, secret: str
) -> Done:
    """Make a person who has no password yet, and the link to set one.

    Somebody who was invited and has not come yet is invited anew, with this role.

    Raises:
        ChangeRefused: the name is none, or somebody has it.
    """
    if wrong := wrong_name(name):
        raise ChangeRefused(wrong)
    async with committing(connection, "people.invited"):
        person_id = await people.find_person(connection, name)
        if person_id is None:
            person_id = await people.insert_person(connection, name, role, None, by=by, now=now)
        else:
            known = await people.read_person(connection, person_id, now)
            if known.joined or known.disabled_at is not None:
                raise ChangeRefused(f"{known.name} is there already")
            name = known.name
            await people.set_role(connection, person_id, role)
        await people.insert_link(
            connection, secret, purpose="invite", person_id=person_id, role=role, by=by, now=now
        )
        done = Done(name, f"{name} is invited as {role}", link=WELCOME + secret)
        evidence = {"person_id": str(person_id), "name": name, "role": role.value}
        await append(connection, people.person_entry("PERSON_INVITED", by, done.detail, now, evidence))
        await _tell_of_second_person(connection, done, role, by, now)
    return done


async def change(
    connection: "Connection",
    what: Change,
    name: str,
    *,
    by: str,
    now: datetime,
    role: Role | None = None,
    secret: str = "",
    is_owner: bool = False,
) -> Done:
    """Everything but inviting. ``role`` for `Change.ROLE`, ``secret`` of the new link for `Change.RESET`.

    ``is_owner``: by whoever operates the machine, who can help the last Admin to a new way in.

    Raises:
        ChangeRefused: nobody is called so, it is so already, or it would take the last Admin away.
    """
    async with committing(connection, "people.changed"):
        person_id = await people.find_person(connection, name)
        if person_id is None:
            raise ChangeRefused(f"nobody is called {name}")
        resets = what is Change.RESET and not is_owner
        if resets or what is Change.DISABLE or (what is Change.ROLE and role is not Role.ADMIN):
            await _keep_an_admin(connection, person_id, name)
        person = await people.read_person(connection, person_id, now)
        done = await _do(connection, what, person, by, now, role, secret)
        if what in (Change.DISABLE, Change.RESET) or (what is Change.ROLE and role is not Role.ADMIN):
            done = await _end_grants(connection, done, person_id, by, now)
        evidence = {
            "person_id": str(person_id), "name": done.name, "role": (role or person.role).value,
        }  # fmt: skip
        entry = people.person_entry(DECISIONS[what], by, done.detail, now, evidence)
        await append(connection, entry)
        if what in LETS_IN:
            await _tell_of_second_person(connection, done, role or person.role, by, now)
    return done


async def _tell_of_second_person(
    connection: "Connection", done: Done, role: Role, by: str, now: datetime
) -> None:
    """In live mode others hear of it, on another way than the console, in the day before it counts."""
    _, mode = await read_rule(connection)
    if mode is not Mode.LIVE or not role.covers(Role.RISK):
        return
    text = (
        f"{done.detail}, by {by}. In live mode {done.name} counts as one of two persons "
        f"{STANDING_MIN / timedelta(hours=1):g} hours after coming in. If nobody but {by} knows of it: "
        f"`trading people disable {done.name}`, then look at {by}'s sessions"
    )
    alert = Alert(
        code=AlertCode.SECOND_PERSON_NEW, severity=Severity.HIGH, subject=done.name, text=text,
        correlation_id=ACCESS,
    )  # fmt: skip
    await raise_alert(connection, alert, component=people.COMPONENT, now=now)


async def _keep_an_admin(connection: "Connection", person_id: UUID, name: str) -> None:
    try:
        await people.require_another_admin(connection, person_id)
    except people.LastAdmin:
        raise ChangeRefused(f"{name} is the last Admin: make another one first") from None


async def _end_grants(connection: "Connection", done: Done, person_id: UUID, by: str, now: datetime) -> Done:
    """Live trading is granted by two Admins: it ends with either. After the change, which waits for a grant."""
    ended = await revoke_grants(
        connection, by=by, reason=done.detail, component=COMPONENT, now=now, of_person=person_id
    )
    return replace(done, detail=f"{done.detail}; live trading is granted no more") if ended else done


async def _do(
    connection: "Connection", what: Change, person: PersonRow, by: str, now: datetime, role: Role | None,
    secret: str,
) -> Done:  # fmt: skip
    name, who = person.name, person.person_id
    match what:
        case Change.ROLE:
            if role is None or not await people.set_role(connection, who, role):
                raise ChangeRefused(f"{name} is {person.role} already")
            return Done(name, f"{name} is {role} now, and was {person.role}")
        case Change.DISABLE:
            if not await people.set_disabled(connection, who, now):
                raise ChangeRefused(f"{name} is disabled already")
            await sessions.end_sessions_of(connection, who, by=by, now=now)
            await people.end_links(connection, who, now)
            return Done(name, f"{name} is disabled and signed out everywhere")
        case Change.ENABLE:
            if not await people.set_disabled(connection, who, None):
                raise ChangeRefused(f"{name} is not disabled")
            return Done(name, f"{name} may sign in again")
        case Change.UNLOCK:
            if not await sessions.forget_tries(connection, sessions.of_person(who)):
                raise ChangeRefused(f"{name} has no wrong tries to forget")
            return Done(name, f"{name} may try to sign in again at once")
        case Change.RESET:
            await people.forget_all_secrets(connection, who)
            await sessions.end_sessions_of(connection, who, by=by, now=now)
            await sessions.forget_tries(connection, sessions.of_person(who))
            await people.insert_link(
                connection, secret, purpose="reset", person_id=who, role=person.role, by=by, now=now
            )
            return Done(
                name,
                f"{name}'s password, codes and passkeys are gone: the link sets new ones",
                WELCOME + secret,
            )


async def first_admin_link(
    connection: "Connection",
    *,
    by: str,
    now: datetime,
    secret: str,
    again: bool = False,
    valid_for: timedelta = LINK_VALID_FOR,
) -> Done | None:
    """The link by which the first Admin comes in; None: there is an Admin, or the link was made before.

    ``again``: make another one though one was made; the older one ends.
    """
    async with committing(connection, "people.first_admin"):
        await people.lock_first_admin(connection)
        state = await people.first_admin(connection)
        if state.there_is_one or (state.link_was_made and not again):
            return None
        await people.insert_link(
            connection, secret, purpose="first admin", person_id=None, role=Role.ADMIN, by=by, now=now,
            valid_for=valid_for,
        )  # fmt: skip
        done = Done("", "a link lets the first Admin in, once", link=WELCOME + secret)
        entry = people.person_entry("FIRST_ADMIN_LINK_MADE", by, done.detail, now, {})
        await append(connection, entry)
    return done
