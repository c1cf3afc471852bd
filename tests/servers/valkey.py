"""One real Valkey server for each pytest process, and an empty database of it for each test."""

import pytest

from tests.servers.session import Servers, unavailable
from workers import valkey


@pytest.fixture(scope="session")
async def valkey_server(servers: Servers) -> valkey.Server:
    """Give the session's server."""
    try:
        program = valkey.find_program()
    except valkey.ValkeyError as error:
        unavailable(error)
    server = valkey.Server(servers.data_dir.root / valkey.NAME, durable=False, program=program)
    await servers.supervisor.start(valkey.spec(server, log_path=servers.data_dir.log(valkey.NAME)))
    return server


@pytest.fixture
async def redis_url(valkey_server: valkey.Server) -> str:
    """Give the address of a database with nothing in it."""
    from events.redis_scripts import connect

    async with connect(valkey_server.url()) as client:
        await client.flushall()
    return valkey_server.url()
