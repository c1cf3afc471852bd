"""Fixtures for every test: real servers, started when a test first asks for one (`tests/servers/`)."""

import os
import signal

import pytest

from tests import verdict
from tests.servers import scratch
from tests.servers.amazon import amazon, bucket
from tests.servers.exchange import exchange, exchange_factory
from tests.servers.ntp import time_servers
from tests.servers.postgres import (
    _admin,
    _migrated_template,
    copy_database,
    database,
    empty_database,
    postgres_server,
)
from tests.servers.session import servers, unique
from tests.servers.stack import stack, stack_factory
from tests.servers.temporal import temporal_addresses, temporal_server, time_skipping_env
from tests.servers.valkey import redis_url, valkey_server
from tests.servers.vault import engine, vault
from tests.verdict import pytest_addoption
from workers import leash

__all__ = [
    "_admin",
    "_migrated_template",
    "amazon",
    "bucket",
    "copy_database",
    "database",
    "empty_database",
    "engine",
    "exchange",
    "exchange_factory",
    "postgres_server",
    "pytest_addoption",
    "redis_url",
    "servers",
    "stack",
    "stack_factory",
    "temporal_addresses",
    "temporal_server",
    "time_servers",
    "time_skipping_env",
    "unique",
    "valkey_server",
    "vault",
]

LONG = (
    "faults/test_installation_killed.py",
    "faults/test_installation_crashes.py",
    "faults/",
    "console/test_demo",
    "e2e/",
    "console/",
)
"""Parts of names of the files that take longest, the longest first."""


def pytest_configure(config: pytest.Config) -> None:
    """Let a parallel test process end at once when the pytest that started it is killed.

    By itself it would first wait for its test, ten seconds and more, and its servers with it.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        leash.die_with_parent()
    elif folder := scratch.take():
        config.add_cleanup(lambda: scratch.give_back(folder))
    verdict.configure(config)
    _hear_signals()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: the parallel processes take whole files, and one long one begun last keeps all waiting."""
    items.sort(key=lambda item: next((at for at, name in enumerate(LONG) if name in item.nodeid), len(LONG)))


def _hear_signals() -> None:
    """Undo what nohup and a shell's background job hand down: programs that ignore Ctrl-C and a hangup.

    Tests send both to programs that they start, and those inherit what is ignored here.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
