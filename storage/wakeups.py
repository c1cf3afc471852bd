"""Being woken by NOTIFY. A wake-up carries nothing and may be lost: who waits here reads rows afterwards."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Self

import asyncpg

from storage.database import CONNECT_TIMEOUT_SECONDS, STATEMENT_TIMEOUT_SECONDS

IDLE_SECONDS_MAX: Final = 20
"""Longer than any tick here: a session that says nothing for so long belongs to a process that hangs."""

_SETTINGS: Final = {
    "timezone": "UTC",
    # A session whose machine is gone must not keep its locks for the system's two hours.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


class Bell:
    """Rings when somebody notifies the channel that it listens on, and when its connection ends."""

    def __init__(self, connection: "asyncpg.Connection[Any]") -> None:
        self.connection = connection
        self._rung = asyncio.Event()

    @classmethod
    async def on(cls, connection: "asyncpg.Connection[Any]", channel: str) -> Self:
        """Listen on this connection; it may go on running statements."""
        bell = cls(connection)
        connection.add_termination_listener(bell._ring)
        await connection.add_listener(channel, bell._ring)
        return bell

    async def wait(self, seconds_max: float) -> None:
        """Return once it has rung since the last call, or after ``seconds_max``.

        Raises:
            ConnectionError: its connection has ended.
        """
        try:
            async with asyncio.timeout(seconds_max):
                await self._rung.wait()
        except TimeoutError:
            pass
        self._rung.clear()
        if self.connection.is_closed():
            raise ConnectionError("the connection to PostgreSQL has ended")

    def _ring(self, *_: object) -> None:
        self._rung.set()


@asynccontextmanager
async def session_of(dsn: str, *, name: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """A direct connection for the length of the block, for who holds a lock as long as it lives.

    PostgreSQL ends it, and what it holds, when nothing is asked of it for ``IDLE_SECONDS_MAX``.

    Raises:
        OSError, TimeoutError, asyncpg.PostgresError: it cannot be had.
    """
    connection = await asyncpg.connect(
        dsn,
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=STATEMENT_TIMEOUT_SECONDS,
        server_settings={
            "application_name": name,
            "idle_session_timeout": f"{IDLE_SECONDS_MAX}s",
            "idle_in_transaction_session_timeout": f"{IDLE_SECONDS_MAX}s",
            **_SETTINGS,
        },
    )
    try:
        yield connection
    finally:
        # Not close(): it waits for a server that may be gone.
        connection.terminate()


@asynccontextmanager
async def bell_of(dsn: str, channel: str, *, name: str) -> AsyncIterator[Bell]:
    """Such a connection that listens. Raises as `session_of`."""
    async with session_of(dsn, name=name) as connection:
        yield await Bell.on(connection, channel)
