"""Connections to PostgreSQL, and the errors that every statement shares."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Self, TypeAlias, TypeVar

import asyncpg

from storage.commits import committing
from storage.placement import NoFenceConnection

POOL_MIN: Final = 2
POOL_MAX: Final = 12
PLACEMENT_SLOTS: Final = 8
"""Each is a connection: a try keeps its own from fence to answer."""
CONNECT_TIMEOUT_SECONDS: Final = 10
ACQUIRE_TIMEOUT_SECONDS: Final = 30
FENCE_ACQUIRE_TIMEOUT_SECONDS: Final = 3
"""With the lock timeout and the POST's total deadline (15 s) below a placement try's 30 s."""
STATEMENT_TIMEOUT_SECONDS: Final = 15
LOCK_TIMEOUT_SECONDS: Final = 10
TRANSACTION_TRIES_MAX: Final = 5
RETRY_PAUSE_SECONDS: Final = 0.02

_T = TypeVar("_T")

Connection: TypeAlias = "asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]"

APPLICATION: Final = "trading-interface"
_SETTINGS: Final = {
    "synchronous_commit": "on",
    "timezone": "UTC",
    "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
    "idle_in_transaction_session_timeout": "60s",
}


DATABASE_ERRORS: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.InsufficientResourcesError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
)
"""How asyncpg says that PostgreSQL is away or overloaded. The transaction may or may not have committed."""


class DatabaseUnavailable(Exception):
    """PostgreSQL does not answer. Nothing was changed that is not committed; try again."""


class BadDatabaseAddress(Exception):
    """The database's address is none. No part of it is told: what stands in the wrong place may be the password."""

    def __init__(self) -> None:
        super().__init__(
            "the database's address cannot be read: in user and password write %2F for /, %3F for ?, %23 for #, "
            "%40 for @"
        )


class Database:
    """The pools of one process. Build it in a worker's main and hand it to what needs it."""

    def __init__(self, pool: "asyncpg.Pool[Any]", fences: "asyncpg.Pool[Any] | None") -> None:
        self._pool = pool
        self._fences = fences

    @classmethod
    async def connect(
        cls,
        dsn: str,
        *,
        fences: bool = False,
        slots: int = PLACEMENT_SLOTS,
        process: str = APPLICATION,
        most: int = POOL_MAX,
    ) -> Self:
        """Open the pool, of ``most`` at most; ``fences`` also that of the placement slots, ``slots`` of them.

        ``process`` is who we are among the server's sessions, up to 63 bytes: who holds the fence is told by it.

        Raises:
            DatabaseUnavailable: no connection within ``CONNECT_TIMEOUT_SECONDS``.
            BadDatabaseAddress: ``dsn`` is none.
        """
        try:
            pool = await _pool(dsn, min(POOL_MIN, most), most, process, reset=_keep)
            try:
                fence_pool = await _pool(dsn, 1, slots, process) if fences else None
            except BaseException:
                pool.terminate()
                raise
        except (OSError, asyncpg.PostgresError, TimeoutError) as error:
            raise DatabaseUnavailable(f"PostgreSQL does not answer: {error}") from error
        except ValueError:
            raise BadDatabaseAddress from None
        return cls(pool, fence_pool)

    async def close(self) -> None:
        for pool in (self._pool, self._fences):
            if pool is not None:
                await asyncio.wait_for(pool.close(), timeout=CONNECT_TIMEOUT_SECONDS)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A pooled connection, outside any transaction."""
        async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
            yield connection

    @asynccontextmanager
    async def fence_connection(self) -> AsyncIterator[Connection]:
        """The one connection of a placement try: lock, rows and answer all go through it.

        Raises:
            NoFenceConnection: every slot was taken for ``FENCE_ACQUIRE_TIMEOUT_SECONDS``; nothing was done.
        """
        if self._fences is None:
            raise RuntimeError("this process was not given placement connections")
        try:
            connection = await self._fences.acquire(timeout=FENCE_ACQUIRE_TIMEOUT_SECONDS)
        except TimeoutError as error:
            raise NoFenceConnection from error
        try:
            yield connection
        finally:
            await self._fences.release(connection)

    @asynccontextmanager
    async def transaction(self, name: str, *, one_statement: bool = False) -> AsyncIterator[Connection]:
        """A pooled connection in a transaction; ``name`` is its commit's (`observability.crash_points`).

        ``one_statement``: as `storage.commits.committing` says.
        """
        async with (
            self.connection() as connection,
            committing(connection, name, one_statement=one_statement),
        ):
            yield connection

    async def run(self, name: str, work: Callable[[Connection], Awaitable[_T]]) -> _T:
        """Run ``work`` in a transaction, again from the start where PostgreSQL chose it as a victim.

        40001 and 40P01 (serialization failure, deadlock) are tried ``TRANSACTION_TRIES_MAX`` times in all.
        """
        for attempt in range(1, TRANSACTION_TRIES_MAX + 1):
            try:
                async with self.transaction(name) as connection:
                    return await work(connection)
            except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError):
                if attempt == TRANSACTION_TRIES_MAX:
                    raise
                await asyncio.sleep(RETRY_PAUSE_SECONDS * attempt)
        raise AssertionError("unreachable")


async def _keep(_: Connection) -> None:
    """Statements here leave nothing on their session, so a returned connection needs no resetting.

    Saves one round trip per use. Fence connections hold locks and are reset.
    """


async def _pool(
    dsn: str,
    least: int,
    most: int,
    process: str,
    *,
    reset: Callable[[Connection], Awaitable[None]] | None = None,
) -> "asyncpg.Pool[Any]":
    return await asyncpg.create_pool(
        dsn,
        reset=reset,
        min_size=least,
        max_size=most,
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=STATEMENT_TIMEOUT_SECONDS,
        server_settings={**_SETTINGS, "application_name": process},
    )
