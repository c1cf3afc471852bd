"""The bus on PostgreSQL alone: events are read from the outbox by position, NOTIFY only wakes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias, TypeVar, cast

import asyncpg

from events import port
from events.port import (
    BATCH,
    LEASE_SECONDS,
    NOTHING,
    BadAddress,
    BadGroup,
    Batch,
    BusUnavailable,
    Consumer,
    Delivery,
    LeaseLost,
    checked_group,
    no_such_group,
)
from storage import bus as rows
from storage import bus_groups
from storage.bus import Claimed
from storage.database import CONNECT_TIMEOUT_SECONDS, STATEMENT_TIMEOUT_SECONDS, BadDatabaseAddress
from storage.event_stream import NUMBERED, NotInStream
from storage.wakeups import Bell

_LOST: Final = (
    OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError, asyncpg.InsufficientResourcesError,
)  # fmt: skip

T = TypeVar("T")
Connection: TypeAlias = "asyncpg.Connection[Any]"


class PostgresBus:
    """The default adapter."""

    def __init__(self, dsn: str, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._dsn = dsn
        self._lease = timedelta(seconds=lease_seconds)

    async def create_group(self, group: str, *, since: int | datetime | None = None) -> None:
        """As in the port."""
        checked_group(group)
        session = _Session(self._dsn)
        try:
            await session.run(
                lambda connection: bus_groups.create_group(
                    connection, group, since=since, now=datetime.now(UTC)
                )
            )
        except NotInStream as error:
            raise BadGroup(str(error)) from error
        finally:
            session.close()

    @asynccontextmanager
    async def consumer(self, group: str, name: str) -> AsyncIterator[Consumer]:
        """As in the port."""
        session = _Session(self._dsn)
        try:
            yield _PostgresConsumer(session, checked_group(group), name, self._lease)
        finally:
            session.close()


class _Session:
    """One connection that listens; made anew at the next use when it is lost."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._bell: Bell | None = None

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do ``work`` on the connection.

        Raises:
            BusUnavailable: it is lost, and ``work`` may have been done.
            BadAddress.
        """
        async with self._listening() as bell:
            return await work(bell.connection)

    async def wait(self) -> None:
        """Until something may have come. Raises as `run`."""
        async with self._listening() as bell:
            await bell.wait(port.WAIT_SECONDS)

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[Bell]:
        try:
            if self._bell is None or self._bell.connection.is_closed():
                self._bell = await self._connect()
            yield self._bell
        except asyncpg.UndefinedTableError as error:
            raise BusUnavailable("the database has no tables of ours yet: `trading migrate`") from error
        except _LOST as error:
            self.close()
            raise BusUnavailable(
                f"PostgreSQL does not answer: {str(error) or type(error).__name__}"
            ) from error

    async def _connect(self) -> Bell:
        try:
            connection = await asyncpg.connect(
                self._dsn,
                timeout=CONNECT_TIMEOUT_SECONDS,
                command_timeout=STATEMENT_TIMEOUT_SECONDS,
                server_settings={
                    "application_name": "trading-event-consumer",
                    "timezone": "UTC",
                    "synchronous_commit": "on",
                },
            )
        except ValueError:
            raise BadAddress(str(BadDatabaseAddress())) from None
        except asyncpg.PostgresError as error:
            # Whatever the server has against us, it may have it no more the next time.
            raise ConnectionError(str(error)) from error
        try:
            return await Bell.on(connection, NUMBERED)
        except BaseException:
            connection.terminate()
            raise

    def close(self) -> None:
        """Without waiting for a server that may be gone."""
        if self._bell is not None:
            self._bell.connection.terminate()
            self._bell = None


class _PostgresConsumer:
    """One consumer on a connection of its own."""

    def __init__(self, session: _Session, group: str, name: str, lease: timedelta) -> None:
        self._session = session
        self._group = group
        self._name = name
        self._lease = lease

    async def take(self, *, limit: int = BATCH) -> Batch:
        claimed = await self._claim(limit)
        if claimed is None:
            await self._session.wait()
            claimed = await self._claim(limit)
        if claimed is None:
            if not await self._session.run(
                lambda connection: bus_groups.group_exists(connection, self._group)
            ):
                raise no_such_group(self._group)
            return NOTHING
        if not claimed.handed:  # All of it was put aside.
            with suppress(LeaseLost):
                await self._acknowledge(claimed, 0, None)
            return NOTHING
        deliveries = tuple(Delivery(each.event, each.attempt, each.letter) for each in claimed.handed)
        return Batch(claimed.partition, claimed.fence, deliveries, claimed)

    async def acknowledge(self, batch: Batch, count: int | None = None) -> None:
        claimed = cast(Claimed, batch.handle)
        lease = None if count is None else self._lease
        await self._acknowledge(claimed, len(claimed.handed) if count is None else count, lease)

    async def fail(self, batch: Batch, count: int, error: str) -> None:
        claimed = cast(Claimed, batch.handle)
        held = await self._session.run(
            lambda connection: rows.fail(connection, self._group, claimed, count, error)
        )
        if not held:
            raise LeaseLost

    async def _claim(self, limit: int) -> Claimed | None:
        return await self._session.run(
            lambda connection: rows.claim(connection, self._group, self._name, limit=limit, lease=self._lease)
        )

    async def _acknowledge(self, claimed: Claimed, count: int, lease: timedelta | None) -> None:
        held = await self._session.run(
            lambda connection: rows.acknowledge(connection, self._group, claimed, count, lease=lease)
        )
        if not held:
            raise LeaseLost
