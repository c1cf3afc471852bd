"""Real Temporal servers: one that keeps real time, and one that skips it."""

from typing import TYPE_CHECKING

import pytest

from tests.servers.session import Servers, unavailable
from workers import temporal

if TYPE_CHECKING:
    from temporalio.client import Client
    from temporalio.testing import TimeSkipper

# The server's own limit of 200 makes a longer workflow hang without a word.
TIME_SKIPS_MAX = 5_000


async def start_server(servers: Servers, name: str, *, time_skipping: bool) -> temporal.Server:
    """One more under this name, until the session ends."""
    try:
        program = temporal.find_program()
    except temporal.TemporalError as error:
        unavailable(error)
    server = temporal.Server(program=program)
    log = servers.data_dir.log(name)
    await servers.supervisor.start(
        temporal.spec(server, log_path=log, time_skipping=time_skipping, name=name)
    )
    return server


async def _connect(server: temporal.Server) -> "Client":
    from temporalio.client import Client
    from temporalio.contrib.pydantic import pydantic_data_converter

    return await Client.connect(
        server.address, namespace=temporal.NAMESPACE, data_converter=pydantic_data_converter
    )


@pytest.fixture(scope="session")
async def temporal_addresses(servers: Servers) -> temporal.Server:
    """Give the ports of the session's Temporal server, for tests that start workers or the CLI."""
    return await start_server(servers, "temporal", time_skipping=False)


@pytest.fixture(scope="session")
async def temporal_server(temporal_addresses: temporal.Server) -> "Client":
    """Give a client of the session's Temporal server: real time, our namespace and search attributes."""
    return await _connect(temporal_addresses)


@pytest.fixture(scope="session")
async def time_skipping_env(servers: Servers) -> "TimeSkipper":
    """Give a server that skips time while a workflow is idle; start workflows through its ``client``.

    It has ``client``, ``fast_forward(handle, duration)``, ``with_time_skipping_disabled()`` and
    ``get_current_time(handle)``. Time is skipped as soon as a workflow is idle, so a test that sends
    a signal later starts it inside ``with env.with_time_skipping_disabled()`` and then fast-forwards.
    """
    from temporalio.testing import TimeSkipper, TimeSkippingConfig

    server = await start_server(servers, "temporal-time-skipping", time_skipping=True)
    config = TimeSkippingConfig(max_session_skip_count=TIME_SKIPS_MAX)
    return TimeSkipper(await _connect(server), config=config)
