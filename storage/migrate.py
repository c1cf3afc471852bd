"""Bring a database to the version this code needs.

Migrations are files in dbmate's format (``-- migrate:up`` / ``-- migrate:down``, ``transaction:false``), so a
DBA may also run them with dbmate. What this runner adds: one migrator at a time, and a checksum of every
applied file, so that an edited old migration stops the start instead of passing unseen.
"""

import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Final

import asyncpg

from storage import grants, statements
from storage.commits import committing

if TYPE_CHECKING:
    from storage.database import Connection

LOCK_KEY: Final = 0x7469_6D69
"""Advisory lock of the one migrator."""

LOCK_TIMEOUT_SECONDS: Final = 30
"""How long a migration waits for a table lock before it gives up and leaves the old schema."""

_SQL: Final = statements.load("migrations")


class MigrationError(Exception):
    """The database and the migrations of this release do not fit together."""


@dataclass(frozen=True)
class Migration:
    version: str
    name: str
    sha256: str
    up: str
    in_transaction: bool


def load() -> list[Migration]:
    """The migrations of this release, oldest first."""
    found = []
    for entry in (resources.files("storage") / "migrations").iterdir():
        if not entry.name.endswith(".sql"):
            continue
        found.append(_parse(entry.name, entry.read_text("utf-8")))
    return sorted(found, key=lambda migration: migration.version)


def _parse(name: str, text: str) -> Migration:
    version, _, _ = name.partition("_")
    match = re.fullmatch(r"\s*-- migrate:up([^\n]*)\n(.*?)\n-- migrate:down[^\n]*\n.*", text, re.DOTALL)
    if not match or not version.isdigit():
        raise MigrationError(f"{name}: needs a number and the sections migrate:up and migrate:down")
    return Migration(
        version=version,
        name=name,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        up=match.group(2),
        in_transaction="transaction:false" not in match.group(1),
    )


async def migrate(dsn: str) -> list[str]:
    """Apply what is missing, give every role its rights, and return the names applied, oldest first.

    Raises:
        MigrationError: an applied migration was edited or is unknown to this release. Nothing was changed.
    """
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute(_SQL["take_lock"], LOCK_KEY)
        await connection.execute(_SQL["create_record"])
        pending = _pending(load(), await _applied(connection))
        for migration in pending:
            await _apply(connection, migration)
        await grants.apply(connection)
        return [migration.name for migration in pending]
    finally:
        await connection.close()


async def check(dsn: str) -> None:
    """Raise MigrationError unless the database is exactly at this release's version."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await check_on(connection)
    finally:
        await connection.close()


async def check_on(connection: "Connection") -> None:
    """The same on a connection that is there."""
    if await connection.fetchval(_SQL["has_record"]) is None:
        raise MigrationError("the database is empty: run `trading migrate`")
    missing = _pending(load(), await _applied(connection))
    if missing:
        raise MigrationError(f"{missing[0].name} is not applied: run `trading migrate`")


async def _applied(connection: "Connection") -> dict[str, str]:
    rows = await connection.fetch(_SQL["read_applied"])
    return {row["version"]: row["sha256"] for row in rows}


def _pending(known: list[Migration], applied: dict[str, str]) -> list[Migration]:
    by_version = {migration.version: migration for migration in known}
    for version, sha256 in applied.items():
        if version not in by_version:
            raise MigrationError(f"the database is newer than this release (it has migration {version})")
        if by_version[version].sha256 != sha256:
            raise MigrationError(
                f"{by_version[version].name} was changed after it was applied: restore the file, add a new one"
            )
    return [migration for migration in known if migration.version not in applied]


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    await connection.execute(f"set lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")
    if not migration.in_transaction:
        await connection.execute(migration.up)
    async with committing(connection, "start.migrated"):
        if migration.in_transaction:
            await connection.execute(migration.up)
        await connection.execute(_SQL["record_applied"], migration.version, migration.sha256)
