"""Fixtures for every test: real servers, started when a test first asks for one (`tests/servers/`)."""

from tests.servers.exchange import exchange, exchange_factory
from tests.servers.postgres import _admin, _migrated_template, database, empty_database, postgres_server
from tests.servers.session import servers, unique
from tests.servers.stack import stack, stack_factory
from tests.servers.temporal import temporal_addresses, temporal_server, time_skipping_env

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
