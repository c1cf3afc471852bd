"""The database as its roles see it: each with a password, and a connection of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from storage import grants
from storage.grants import Role, set_passwords

PASSWORD: Final = "a password for tests: it's / got % signs"


@asynccontextmanager
async def connected(dsn: str, role: Role | None = None) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """As the owner, or as a role with its password."""
    password = None
    if role is not None:
        parts = urlsplit(dsn)
        dsn = urlunsplit(parts._replace(netloc=f"{role}@{parts.hostname}:{parts.port}"))
        password = PASSWORD
    connection = await asyncpg.connect(dsn, password=password)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def roles(database: str) -> str:
    """The database, with a password for every role."""
    async with connected(database) as owner:
        # A database made from a template has its tables' rights, but not those of the database itself.
        await grants.apply(owner)
        await set_passwords(owner, dict.fromkeys(Role, PASSWORD), datetime.now(UTC))
    return database
