"""The supervisor and folder that the servers of one pytest process share; they end when it ends."""

import os
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import NoReturn

import pytest

from workers.datadir import DataDir, temporary_data_dir
from workers.supervisor import Supervisor


@dataclass(frozen=True)
class Servers:
    """What a fixture needs to start one more server."""

    supervisor: Supervisor
    data_dir: DataDir


def unavailable(reason: object) -> NoReturn:
    """Skip the test for want of a server; in CI a missing server is a failure."""
    if os.environ.get("TRADING_CI") or os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"CI must have every embedded server: {reason}")
    pytest.skip(str(reason))


@pytest.fixture(scope="session")
async def servers() -> AsyncIterator[Servers]:
    """Give the session's supervisor and a temporary data folder; all servers stop when the session ends."""
    with temporary_data_dir() as data_dir:
        async with Supervisor() as supervisor:
            yield Servers(supervisor, data_dir)


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Give ids no other test has, ``unique("order")`` for example."""
    return lambda prefix: f"{prefix}-{uuid.uuid4()}"
