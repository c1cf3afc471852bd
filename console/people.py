"""``trading people``: who may use the operator console, by whoever operates the machine."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from console.common import NO_OPTIONS, Common, ago, clean, console, emit, table, utc_now
from console.errors import EXIT_DONE, Refused
from console.rows import rows
from schemas.people import Role

if TYPE_CHECKING:
    from console.person_changes import Change, Done
    from schemas.people import PersonRow

_LOOK = "look with `trading people list`"
Name = Annotated[str, Parameter(help="The person's name, as the audit log shows it.")]


async def list_people(*, common: Common = NO_OPTIONS) -> int:
    """List who may use the console: role, second factors, whether disabled or locked, last seen."""
    from storage.people import list_people as read

    now = utc_now()
    async with rows(common.addresses()) as connection:
        found = await read(connection, now)
    emit(common, [each.model_dump(mode="json") for each in found], lambda: _draw(found))
    return EXIT_DONE


async def invite(name: Name, /, *, role: Role, common: Common = NO_OPTIONS) -> int:
    """Invite somebody, and print the link that lets this person set a password: for an hour, once."""
    from console.kill_steps import operator
    from console.person_changes import ChangeRefused
    from console.person_changes import invite as do
    from security.one_time import new_secret

    addresses = common.addresses()
    async with rows(addresses) as connection:
        try:
            done = await do(connection, name, role, by=operator(), now=utc_now(), secret=new_secret())
        except ChangeRefused as error:
            raise Refused(str(error), do=_LOOK) from error
    _tell(common, done, addresses.get("console_url"))
    return EXIT_DONE


async def first_admin(*, common: Common = NO_OPTIONS) -> int:
    """Print a link for the first Admin once more; the older one ends. Exit 1: there is an Admin already."""
    from console.kill_steps import operator
    from console.person_changes import first_admin_link
    from security.one_time import new_secret

    addresses = common.addresses()
    async with rows(addresses) as connection:
        done = await first_admin_link(
            connection, by=operator(), now=utc_now(), secret=new_secret(), again=True
        )
    if done is None:
        raise Refused("there is an Admin, who can invite others", do=_LOOK)
    _tell(common, done, addresses.get("console_url"))
    return EXIT_DONE


async def role(name: Name, role: Role, /, *, common: Common = NO_OPTIONS) -> int:
    """Give somebody another role; it counts at the next request."""
    from console.person_changes import Change

    return await _change(common, Change.ROLE, name, role)


async def disable(name: Name, /, *, common: Common = NO_OPTIONS) -> int:
    """Let somebody in no more, and sign this person out everywhere. Never the last Admin."""
    from console.person_changes import Change

    return await _change(common, Change.DISABLE, name)


async def enable(name: Name, /, *, common: Common = NO_OPTIONS) -> int:
    """Let a disabled person sign in again."""
    from console.person_changes import Change

    return await _change(common, Change.ENABLE, name)


async def unlock(name: Name, /, *, common: Common = NO_OPTIONS) -> int:
    """Forget wrong tries to sign in."""
    from console.person_changes import Change

    return await _change(common, Change.UNLOCK, name)


async def reset(name: Name, /, *, common: Common = NO_OPTIONS) -> int:
    """Somebody lost the way in: password and second factors are gone; prints the link that sets new ones."""
    from console.person_changes import Change

    return await _change(common, Change.RESET, name)


async def _change(common: Common, what: "Change", name: str, role: Role | None = None) -> int:
    from console.kill_steps import operator
    from console.person_changes import ChangeRefused, change
    from security.one_time import new_secret

    addresses = common.addresses()
    async with rows(addresses) as connection:
        try:
            done = await change(
                connection, what, name, by=operator(), now=utc_now(), role=role, secret=new_secret(),
                is_owner=True,
            )  # fmt: skip
        except ChangeRefused as error:
            raise Refused(str(error), do=_LOOK) from error
    _tell(common, done, addresses.get("console_url"))
    return EXIT_DONE


def _tell(common: Common, done: "Done", console_url: str | None) -> None:
    link = None if done.link is None else f"{console_url or ''}{done.link}"

    def draw() -> None:
        print(clean(done.detail))
        if link is not None:
            print(f"  {link}\n  works once, within an hour; whoever has it comes in")

    emit(common, {"name": done.name, "message": done.detail, "link": link}, draw)


def _draw(found: "list[PersonRow]") -> None:
    if not found:
        print("nobody yet: `trading people first-admin` prints the first Admin's link")
        return
    now = utc_now()
    lines = [
        (
            each.name,
            each.role,
            _factors(each),
            _state(each),
            ago(each.last_seen_at, now),
        )
        for each in found
    ]
    console().print(table(("name", "role", "second factors", "state", "last seen"), lines))


def _factors(person: "PersonRow") -> str:
    words = (["codes"] if person.totp else []) + ([f"{person.passkeys} passkeys"] if person.passkeys else [])
    return ", ".join(words) or "none"


def _state(person: "PersonRow") -> str:
    if person.disabled_at is not None:
        return "disabled"
    if not person.joined:
        return "invited"
    return "locked" if person.locked_until is not None else "ok"
