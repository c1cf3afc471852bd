"""One real PostgreSQL server for each pytest process, and a fresh migrated database for each test."""

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.servers.session import Servers, unavailable
from workers import postgres

if TYPE_CHECKING:
    import asyncpg

TEMPLATE = "migrated_template"


@pytest.fixture(scope="session")
async def postgres_server(servers: Servers) -> postgres.Server:
    """Give the session's server; `Server.dsn` is the address of any of its databases."""
    try:
        installation = postgres.find_installation()
    except postgres.PostgresError as error:
        unavailable(error)
    folder = servers.data_dir.postgres
    server = await postgres.initialise(folder, installation=installation, durable=False)
    await servers.supervisor.start(postgres.spec(server, log_path=servers.data_dir.log("postgres")))
    return server


@pytest.fixture(scope="session")
async def _admin(postgres_server: postgres.Server) -> AsyncIterator["asyncpg.Connection"]:
    import asyncpg

    connection = await asyncpg.connect(postgres_server.dsn("postgres"))
    yield connection
    await connection.close()


@pytest.fixture(scope="session")
async def _migrated_template(postgres_server: postgres.Server, _admin: "asyncpg.Connection") -> str:
    from storage.migrate import migrate

    await _admin.execute(f"CREATE DATABASE {TEMPLATE}")
    await migrate(postgres_server.dsn(TEMPLATE))
    return TEMPLATE


async def fresh(server: postgres.Server, admin: "asyncpg.Connection", template: str) -> AsyncIterator[str]:
    """A copy of a database to which nobody is connected, for as long as the generator is not resumed."""
    name = f"test_{uuid.uuid4().hex}"
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    yield server.dsn(name)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(
    postgres_server: postgres.Server, _admin: "asyncpg.Connection", _migrated_template: str
) -> AsyncIterator[str]:
    """Give the address of a fresh database with every migration applied."""
    async for dsn in fresh(postgres_server, _admin, _migrated_template):
        yield dsn


CopyDatabase = Callable[[str], AbstractAsyncContextManager[str]]


@pytest.fixture
def copy_database(postgres_server: postgres.Server, _admin: "asyncpg.Connection") -> CopyDatabase:
    """Give a function that makes a copy of a database to which nobody is connected: its state as it is now."""

    @asynccontextmanager
    async def copy(dsn: str) -> AsyncIterator[str]:
        async for made in fresh(postgres_server, _admin, dsn.rpartition("/")[2]):
            yield made

    return copy


@pytest.fixture
async def empty_database(
    postgres_server: postgres.Server, _admin: "asyncpg.Connection"
) -> AsyncIterator[str]:
    """Give the address of a fresh database with nothing in it."""
    async for dsn in fresh(postgres_server, _admin, "template0"):
        yield dsn
