"""Fixtures for every test: real servers, started when a test first asks for one (`tests/servers/`)."""

import os
import signal

from tests.servers.exchange import exchange, exchange_factory
from tests.servers.postgres import _admin, _migrated_template, database, empty_database, postgres_server
from tests.servers.session import servers, unique
from tests.servers.stack import stack, stack_factory
from tests.servers.temporal import temporal_addresses, temporal_server, time_skipping_env
from workers import leash

__all__ = [
    "_admin",
    "_migrated_template",
    "database",
    "empty_database",
    "exchange",
    "exchange_factory",
    "postgres_server",
    "servers",
    "stack",
    "stack_factory",
    "temporal_addresses",
    "temporal_server",
    "time_skipping_env",
    "unique",
]


def pytest_configure() -> None:
    """Let a parallel test process end at once when the pytest that started it is killed.

    By itself it would first wait for its test, ten seconds and more, and its servers with it.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        leash.die_with_parent()
    _hear_signals()


def _hear_signals() -> None:
    """Undo what nohup and a shell's background job hand down: programs that ignore Ctrl-C and a hangup.

    Tests send both to programs that they start, and those inherit what is ignored here.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
