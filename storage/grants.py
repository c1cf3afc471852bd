"""Who may do what in the database: `grants.toml`, given whole after every migration.

On the tables of this database a role has what the file says and nothing else: rights given by hand, to it or to
everybody, are taken back. A table that the file does not name stays closed to every role, so a migration without
its section opens nothing. Memberships are not looked at: who makes a role a member of another gives it all.
"""

import base64
import hashlib
import hmac
import os
import re
import tomllib
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Final

import asyncpg

from observability.logging import get_logger
from storage import statements
from storage.commits import committing
from storage.database import PLACEMENT_SLOTS, POOL_MAX
from storage.events import append
from storage.switches import access_entry

SCRAM_ITERATIONS: Final = 4096
SCRAM_SALT_BYTES: Final = 16
NOTHING: Final = "none"

_SQL: Final = statements.load("roles")
_log = get_logger(__name__)
_NAME: Final = re.compile(r"[a-z_]+")
_RIGHT: Final = re.compile(r"delete|(?:select|insert|update)(?:\s*\([a-z_, \n]+\))?")
_BETWEEN_RIGHTS: Final = re.compile(r",\s*(?![^(]*\))")


class Role(StrEnum):
    """The database's roles. The owner, who migrates, is none of them."""

    GATEWAY = "ti_gateway"
    RISK = "ti_risk"
    EXECUTION = "ti_execution"
    OPERATIONS = "ti_operations"
    CONSOLE = "ti_console"

    @property
    def short(self) -> str:
        """Its name in `grants.toml`."""
        return self.value.removeprefix("ti_")


EXECUTION_PROCESSES: Final = 5
"""Four that share the work, and the successor of one."""

SESSIONS: Final[Mapping[Role, int]] = {Role.EXECUTION: EXECUTION_PROCESSES * (POOL_MAX + PLACEMENT_SLOTS)}
"""How many a role may have open at least, where that is more than migration 0005 gave it: twice one process'.

All roles' together must stay below the server's ``max_connections``, so that none can keep another out.
"""

LOCKS: Final[Mapping[str, tuple[Role, ...]]] = {
    # The writers of one key come one after the other. Two numbers: another space than that of the fence.
    "pg_advisory_xact_lock(integer, integer)": tuple(Role),
    # The fence: shared by placement tries, for a moment exclusive where the kill switch is swept.
    "pg_try_advisory_lock_shared(bigint)": (Role.EXECUTION,),
    "pg_try_advisory_xact_lock(bigint)": (Role.EXECUTION, Role.OPERATIONS, Role.CONSOLE),
    # The lead of the relay, and of the sealer.
    "pg_try_advisory_lock(bigint)": (Role.OPERATIONS,),
}
"""Advisory locks need no right on any table: who may take them all can keep others from the fence for ever."""

FUNCTIONS: Final[Mapping[str, tuple[Role, ...]]] = {
    # Partitions of the audit log for the months to come.
    "make_audit_partitions(timestamptz, integer)": (Role.OPERATIONS,),
    # The way to cold storage and back. Each checks for itself what its caller says.
    "plan_audit_archive(bigint, integer, bigint, timestamptz, interval)": (Role.OPERATIONS,),
    "archivable_payloads(bigint, bigint, timestamptz)": (Role.OPERATIONS,),
    "rows_without_their_hash()": (Role.OPERATIONS,),
    "held_event(bigint, bigint)": (Role.OPERATIONS,),
    "remove_archived_payloads(bigint, timestamptz)": (Role.OPERATIONS,),
    "remove_archived_events(bigint, timestamptz)": (Role.OPERATIONS,),
    "restore_archived_payloads(bigint, text[], timestamptz)": (Role.OPERATIONS,),
    "drop_audit_partition(text, text, text, text, text, timestamptz)": (Role.OPERATIONS,),
    # The check of the log, which is told of payloads only what they hash to.
    "audit_payload_hashes(bigint[])": (Role.OPERATIONS,),
    "audit_moved()": (Role.OPERATIONS, Role.CONSOLE),
    # What a strategy said of one signal, for the person who looks at it.
    "strategys_words(text)": (Role.CONSOLE,),
}
"""Functions that act with their owner's rights and are called by name; no other role may call them."""


class GrantsUnsound(Exception):
    """`grants.toml` says something that cannot be meant; the message names it."""


@cache
def load() -> Mapping[str, Mapping[Role, str]]:
    """The rights by table and role; a role without rights is not among them.

    Raises:
        GrantsUnsound: a role is missing or unknown, or a right is none that a process may have.
    """
    text = (resources.files("storage") / "grants.toml").read_text("utf-8")
    return parse(text)


def parse(text: str) -> dict[str, dict[Role, str]]:
    """As `load`, for any text."""
    found: dict[str, dict[Role, str]] = {}
    for table, rights in tomllib.loads(text).items():
        if not _NAME.fullmatch(table):
            raise GrantsUnsound(f"{table}: not the name of a table")
        if set(rights) != {role.short for role in Role}:
            raise GrantsUnsound(f"{table}: name every role once, with {NOTHING!r} where it may do nothing")
        found[table] = {
            role: rights[role.short] for role in Role if _sound(table, role, rights[role.short]) != NOTHING
        }
    return found


def _sound(table: str, role: Role, rights: str) -> str:
    if rights != NOTHING and not all(_RIGHT.fullmatch(each) for each in _BETWEEN_RIGHTS.split(rights)):
        raise GrantsUnsound(f"{table}: {role.short} may have select, insert, update, delete, not {rights!r}")
    return rights


async def apply(connection: asyncpg.Connection) -> None:
    """Bring every role's rights in this database to what the file says. One transaction; again is harmless."""
    async with committing(connection, "start.granted"):
        present = {row["name"] for row in await connection.fetch(_SQL["tables"])}
        commands = [row[0] for row in await connection.fetch(_SQL["let_in_only_roles"])]
        for role in Role:
            for text in (_SQL["revoke_all"], _SQL["let_in"]):
                commands += [row[0] for row in await connection.fetch(text, role.value)]
        for table, rights in load().items():
            if table in present:
                commands += [f"grant {right} on {table} to {role}" for role, right in rights.items()]
        commands += await _functions(connection)
        commands += await _locks(connection)
        await connection.execute(";\n".join(commands))


async def _functions(connection: asyncpg.Connection) -> list[str]:
    commands = []
    for name, roles in FUNCTIONS.items():
        if await connection.fetchval(_SQL["has_function"], name):
            commands.append(f"revoke all on function {name} from public, {', '.join(Role)}")
            commands.append(f"grant execute on function {name} to {', '.join(roles)}")
    return commands


async def _locks(connection: asyncpg.Connection) -> list[str]:
    """The functions of advisory locks belong to PostgreSQL's superuser; another owner cannot close them."""
    if not await connection.fetchval(_SQL["owns_locks"]):
        _log.warning("advisory locks stay open to every role: only a superuser can close them")
        return []
    closed = [row[0] for row in await connection.fetch(_SQL["close_locks"], [role.value for role in Role])]
    given = [f"grant execute on function {name} to {', '.join(roles)}" for name, roles in LOCKS.items()]
    return closed + given


async def can_log_in(connection: asyncpg.Connection, role: Role) -> bool:
    """Whether a role was let in before."""
    return bool(await connection.fetchval(_SQL["can_log_in"], role.value))


async def set_passwords(connection: asyncpg.Connection, passwords: Mapping[Role, str], now: datetime) -> None:
    """Let roles log in, each with its sessions, and with the audit row of it.

    The server is told a verifier, never the password, which its log might keep.
    """
    async with committing(connection, "start.passwords"):
        for role, password in passwords.items():
            command = await connection.fetchval(
                _SQL["set_password"], role.value, verifier(password), SESSIONS.get(role, 0)
            )
            await connection.execute(command)
        names = ", ".join(role.value for role in passwords)
        detail = f"may log in with a password set now: {names}"
        await append(
            connection, access_entry("ROLES_LET_IN", "Setup", detail, {"roles": list(passwords)}, now)
        )


def verifier(password: str, salt: bytes | None = None) -> str:
    """The SCRAM-SHA-256 verifier that PostgreSQL stores for a password of printable ASCII (RFC 5802)."""
    if not (password.isascii() and password.isprintable() and password):
        raise ValueError("a role's password is printable ASCII")
    salt = salt or os.urandom(SCRAM_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, SCRAM_ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    stored, server, told = (
        base64.b64encode(each).decode() for each in (hashlib.sha256(client_key).digest(), server_key, salt)
    )
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{told}${stored}:{server}"
