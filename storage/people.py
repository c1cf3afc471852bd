"""Who may use the console: people, their ways to show that it is they, and the links that let them in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

from schemas.audit import AuditEntry
from schemas.people import LINK_VALID_FOR, PasskeyRow, PersonRow, Role
from storage.statements import load
from storage.switches import access_entry

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("people")

COMPONENT: Final = "Console"
FIRST_ADMIN_LOCK_KEY: Final = 0x7469_6661
"""First half of the advisory lock around the first Admin's link."""
SOMEBODY: Final = "somebody"
"""The actor where nobody knows who it was."""


class NoSuchPerson(Exception):
    """Nobody is called so."""


class NameTaken(Exception):
    """Somebody is called so already."""


class LastAdmin(Exception):
    """Nobody could let anybody in any more: this is the last Admin who can sign in."""


@dataclass(frozen=True)
class Secrets:
    """What a person is known by. Never shown."""

    person_id: UUID
    name: str
    password_hash: str | None
    totp_secret: bytes | None
    totp_step: int
    totp_offered: bytes | None
    totp_offered_at: datetime | None
    disabled_at: datetime | None

    def __repr__(self) -> str:
        return f"Secrets of {self.name}"


@dataclass(frozen=True)
class Link:
    """A one-time link that can still be used. ``name`` None: the first Admin chooses one."""

    purpose: str
    person_id: UUID | None
    role: Role
    name: str | None


def secret_hash(secret: str) -> bytes:
    """sha256 of a random secret of 80 bits or more, for which a slow hash would add nothing."""
    return hashlib.sha256(secret.encode()).digest()


def person_entry(
    decision: str, actor: str, detail: str, now: datetime, evidence: Mapping[str, Any]
) -> AuditEntry:
    """A line of the story of who may do what, told by the console."""
    return access_entry(decision, COMPONENT, detail, evidence, now, actor=actor)


async def list_people(connection: Connection, now: datetime) -> list[PersonRow]:
    """Everybody, by name."""
    rows = await connection.fetch(_SQL["list_people"], now, None)
    return [PersonRow.model_validate(dict(row)) for row in rows]


async def read_person(connection: Connection, person_id: UUID, now: datetime) -> PersonRow:
    """Raises NoSuchPerson."""
    row = await connection.fetchrow(_SQL["list_people"], now, person_id)
    if row is None:
        raise NoSuchPerson
    return PersonRow.model_validate(dict(row))


async def find_person(connection: Connection, name: str) -> UUID | None:
    """By name, in any case."""
    found: UUID | None = await connection.fetchval(_SQL["find_person"], name)
    return found


async def read_secrets(connection: Connection, person_id: UUID) -> Secrets:
    """Raises NoSuchPerson."""
    row = await connection.fetchrow(_SQL["read_secrets"], person_id)
    if row is None:
        raise NoSuchPerson
    return Secrets(**dict(row))


async def hold(connection: Connection, person_id: UUID) -> Secrets:
    """As this person is now; no way in changes before this transaction ends. Taken before other locks."""
    row = await connection.fetchrow(_SQL["hold"], person_id)
    assert row is not None, "people are never deleted"
    return Secrets(**dict(row))


async def insert_person(
    connection: Connection, name: str, role: Role, password_hash: str | None, *, by: str, now: datetime
) -> UUID:
    """Raises NameTaken."""
    person_id: UUID | None = await connection.fetchval(
        _SQL["insert_person"], uuid4(), name, role.value, password_hash, now, by
    )
    if person_id is None:
        raise NameTaken
    return person_id


async def require_another_admin(connection: Connection, person_id: UUID) -> None:
    """Return if somebody else is an Admin who can sign in, and stays so until this transaction ends.

    Raises:
        LastAdmin: this person is the last.
    """
    admins = {row["person_id"] for row in await connection.fetch(_SQL["lock_admins"])}
    if person_id in admins and len(admins) == 1:
        raise LastAdmin


async def set_role(connection: Connection, person_id: UUID, role: Role) -> bool:
    """False: it was this role already."""
    return await connection.fetchval(_SQL["set_role"], person_id, role.value) is not None


async def set_disabled(connection: Connection, person_id: UUID, at: datetime | None) -> bool:
    """False: it was so already."""
    return await connection.fetchval(_SQL["set_disabled"], person_id, at) is not None


async def set_password(connection: Connection, person_id: UUID, password_hash: str) -> None:
    await connection.execute(_SQL["set_password"], person_id, password_hash)


async def forget_all_secrets(connection: Connection, person_id: UUID) -> None:
    """Password, TOTP, passkeys and recovery codes are gone: only a link lets this person in."""
    await connection.execute(_SQL["forget_factors"], person_id)
    await connection.execute(_SQL["forget_passkeys"], person_id)
    await connection.execute(_SQL["forget_recovery_codes"], person_id)


async def replace_recovery_codes(connection: Connection, person_id: UUID, codes: Sequence[str]) -> None:
    """These are good from now on, once each; older ones are not."""
    await connection.execute(_SQL["forget_recovery_codes"], person_id)
    await connection.execute(_SQL["insert_recovery_codes"], person_id, [secret_hash(code) for code in codes])


async def use_recovery_code(connection: Connection, person_id: UUID, code: str, now: datetime) -> bool:
    """Whether the code was good. It is not any more."""
    used = await connection.fetchval(_SQL["use_recovery_code"], person_id, secret_hash(code), now)
    return used is not None


async def offer_totp(connection: Connection, person_id: UUID, sealed: bytes, now: datetime) -> None:
    """Keep a secret until a code of it was shown."""
    await connection.execute(_SQL["offer_totp"], person_id, sealed, now)


async def take_totp(connection: Connection, person_id: UUID, sealed: bytes, step: int) -> bool:
    """The offered secret counts from now on. False: another was offered meanwhile."""
    return await connection.fetchval(_SQL["take_totp"], person_id, sealed, step) is not None


async def remove_totp(connection: Connection, person_id: UUID) -> bool:
    """False: there was none."""
    return await connection.fetchval(_SQL["remove_totp"], person_id) is not None


async def use_totp_step(connection: Connection, person_id: UUID, step: int) -> bool:
    """Whether no code of this step or a later one was taken before."""
    return await connection.fetchval(_SQL["use_totp_step"], person_id, step) is not None


async def list_passkeys(connection: Connection, person_id: UUID) -> list[PasskeyRow]:
    """Oldest first."""
    rows = await connection.fetch(_SQL["list_passkeys"], person_id)
    return [PasskeyRow.model_validate(dict(row)) for row in rows]


async def credential_ids(connection: Connection, person_id: UUID) -> list[bytes]:
    return [row["credential_id"] for row in await connection.fetch(_SQL["credential_ids"], person_id)]


async def read_passkey(
    connection: Connection, person_id: UUID, credential_id: bytes
) -> tuple[bytes, int] | None:
    """Public key and sign counter, locked until the transaction ends; None: this person has no such passkey."""
    row = await connection.fetchrow(_SQL["read_passkey"], person_id, credential_id)
    return None if row is None else (row["public_key"], row["sign_count"])


async def add_passkey(
    connection: Connection,
    person_id: UUID,
    *,
    credential_id: bytes,
    public_key: bytes,
    sign_count: int,
    label: str,
    now: datetime,
) -> bool:
    """False: somebody has this credential already."""
    added = await connection.fetchval(
        _SQL["insert_passkey"], credential_id, person_id, public_key, sign_count, label, now
    )
    return added is not None


async def use_passkey(
    connection: Connection, person_id: UUID, credential_id: bytes, sign_count: int, now: datetime
) -> bool:
    """False: its counter has not grown."""
    used = await connection.fetchval(_SQL["use_passkey"], person_id, credential_id, sign_count, now)
    return used is not None


async def remove_passkey(connection: Connection, person_id: UUID, credential_id: bytes) -> str | None:
    """Its label; None: this person has no such passkey."""
    label: str | None = await connection.fetchval(_SQL["remove_passkey"], person_id, credential_id)
    return label


async def insert_link(
    connection: Connection,
    secret: str,
    *,
    purpose: str,
    person_id: UUID | None,
    role: Role,
    by: str,
    now: datetime,
    valid_for: timedelta = LINK_VALID_FOR,
) -> None:
    """Make a link known; earlier ones of the same person end."""
    await connection.execute(_SQL["end_links"], person_id, now)
    await connection.execute(
        _SQL["insert_link"], secret_hash(secret), purpose, person_id, role.value, by, now, now + valid_for
    )


async def end_links(connection: Connection, person_id: UUID | None, now: datetime) -> None:
    """No link made for this person opens anything any more; None: none of the first Admin."""
    await connection.execute(_SQL["end_links"], person_id, now)


async def read_link(connection: Connection, secret: str, now: datetime) -> Link | None:
    """The link, if it can still be used."""
    row = await connection.fetchrow(_SQL["read_link"], secret_hash(secret), now)
    return None if row is None else Link(row["purpose"], row["person_id"], Role(row["role"]), row["name"])


async def use_link(connection: Connection, secret: str, now: datetime) -> bool:
    """Whether it could still be used. It cannot any more."""
    return await connection.fetchrow(_SQL["use_link"], secret_hash(secret), now) is not None


@dataclass(frozen=True)
class FirstAdmin:
    """How far the installation is."""

    there_is_one: bool
    link_was_made: bool


async def lock_first_admin(connection: Connection) -> None:
    """Whoever makes or uses the first Admin's link waits for others who do. Taken before any person is held."""
    await connection.execute(_SQL["lock_first_admin"], FIRST_ADMIN_LOCK_KEY)


async def first_admin(connection: Connection) -> FirstAdmin:
    row = await connection.fetchrow(_SQL["first_admin_state"])
    assert row is not None, "it has no table that could be empty"
    return FirstAdmin(row["there_is_one"], row["link_was_made"])
