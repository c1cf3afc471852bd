"""The audit log's sealer: any number may run; one at a time leads, and seals, signs and publishes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg

from audit.seal.sealer import BATCH_MAX, Forked, Sealer
from audit.store.port import StoreUnavailable
from observability.logging import get_logger
from observability.metrics import Metrics
from schemas.alerts import AlertCode
from security.notes import NoteSigner, origin_of
from storage import audit_sealing as rows
from storage.database import Connection, Database
from storage.switches import Installation
from storage.wakeups import session_of
from workers.audit_alerts import AuditAlerts
from workers.audit_watch import LOOK_SECONDS, AuditWatch
from workers.clients import audit_store, utc_now
from workers.settings import ExecutionSettings, OperationsSettings, WorkerSettings

TICK_SECONDS: Final = 1.0
"""Between two looks at what waits."""
CHECKPOINT_SECONDS: Final = 8.0
"""From one checkpoint to the next while rows come: well within the minute that is promised."""
CHECKPOINT_LEAVES: Final = 50_000
"""Or so many leaves, where there are that many at once."""
STANDBY_SECONDS: Final = 1.0
"""Between two tries to take over."""
RECONNECT_SECONDS: Final = 1.0
TARGET_PAUSE_SECONDS: Final = 5.0
"""Between two tries of a target that cannot be written."""
TARGET_DOWN_SECONDS: Final = 15.0
"""For how long it must fail before people are told."""
FORKED_PAUSE_SECONDS: Final = 30.0
"""Between two looks at histories that differ."""
PARTITIONS_SECONDS: Final = 3600.0
PARTITIONS_AHEAD: Final = 3
"""Months."""

Job = Callable[[], Awaitable[None]]

_LOST: Final = (
    OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError,
)  # fmt: skip
"""The last is what asyncpg says when the server ended the session while this process was frozen."""

_log = get_logger(__name__)


class AuditSealing:
    """Seals on a direct connection that holds the sealer's lock: who has lost one has lost the other."""

    def __init__(
        self,
        dsn: str,
        sealer: Sealer,
        alerts: AuditAlerts,
        metrics: Metrics,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dsn = dsn
        self._sealer = sealer
        self._alerts = alerts
        self._metrics = metrics
        self._monotonic = monotonic
        self._key_is_there = False
        self._signed_once = False
        """Before it all that waits is sealed: a first checkpoint must cover what a migration said of older rows."""
        self._checkpoint_at = self._monotonic()
        """When the next one is due, if there is anything to sign."""
        self._leaves_since = 0
        self._failing_since: float | None = None
        self._may_be_told = True
        """People may have been told that the target fails; also by a leader before this one."""

    async def run(self) -> None:
        """Lead, or wait to lead, until cancelled."""
        while True:
            pause = RECONNECT_SECONDS
            try:
                async with session_of(self._dsn, name="trading-sealer") as connection:
                    await self._stand_by(connection)
                    _log.info("audit: sealing")
                    await self._lead(connection)
            except Forked as error:
                _log.error("audit: refusing to seal", reason=str(error))
                await self._alerts.forked(error)
                pause = FORKED_PAUSE_SECONDS
            except _LOST as error:
                _log.warning("audit: connection lost, starting again", reason=type(error).__name__)
            await asyncio.sleep(pause)

    async def _stand_by(self, connection: Connection) -> None:
        while True:
            if await rows.try_lead(connection):
                return
            await asyncio.sleep(STANDBY_SECONDS)

    async def _lead(self, connection: Connection) -> None:
        self._key_is_there = False
        self._signed_once = await rows.newest_checkpoint(connection, published=False) is not None
        await self._outside(self._begin(connection))
        while True:
            while await self._seal(connection) == BATCH_MAX and not (
                self._signed_once and self._leaves_since >= CHECKPOINT_LEAVES
            ):
                pass
            if self._monotonic() >= self._checkpoint_at or self._leaves_since >= CHECKPOINT_LEAVES:
                await self._outside(self._checkpoint(connection))
            await asyncio.sleep(TICK_SECONDS)

    async def _begin(self, connection: Connection) -> None:
        await self._sealer.publish_key(connection)
        self._key_is_there = True
        await self._sealer.compare(connection)

    async def _seal(self, connection: Connection) -> int:
        count = await self._sealer.seal(connection)
        self._metrics.audit_sealed(count)
        self._leaves_since += count
        return count

    async def _checkpoint(self, connection: Connection) -> None:
        if not self._key_is_there:
            await self._begin(connection)
        if await self._sealer.has_news(connection):
            await self._sealer.sign(connection)
            self._signed_once = True
            published = await self._sealer.publish(connection)
            if published is not None:
                _log.debug("audit: checkpoint written", size=published.size)
        self._leaves_since = 0
        self._checkpoint_at = self._monotonic() + CHECKPOINT_SECONDS

    async def _outside(self, work: Awaitable[None]) -> None:
        """What needs the target. Without it sealing goes on, and nothing is signed."""
        now = self._monotonic()
        try:
            await work
        except StoreUnavailable as error:
            self._failing_since = now if self._failing_since is None else self._failing_since
            self._checkpoint_at = now + TARGET_PAUSE_SECONDS
            self._leaves_since = 0
            _log.warning("audit: checkpoints cannot be written", reason=str(error))
            if now - self._failing_since >= TARGET_DOWN_SECONDS:
                await self._alerts.raised(
                    AlertCode.AUDIT_TARGET_DOWN,
                    f"checkpoints of the audit log cannot be written outside the database: {error}",
                )
                self._may_be_told = True
            return
        self._failing_since = None
        if self._may_be_told:
            await self._alerts.over(AlertCode.AUDIT_TARGET_DOWN)
            self._may_be_told = False


class Partitions:
    """Makes the audit log's partitions ahead of their months."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def make(self) -> None:
        """Those of this month and the next ones; most often none."""
        async with self._database.transaction("audit.partitions") as connection:
            made = await rows.make_partitions(connection, now=utc_now(), months=PARTITIONS_AHEAD)
        if made:
            _log.info("audit: partitions made", names=made)


def audit_jobs(
    settings: WorkerSettings | ExecutionSettings | OperationsSettings,
    database: Database,
    installation: Installation,
    metrics: Metrics,
) -> tuple[tuple[Job, float], ...]:
    """What a process does for the audit log, with the pause after each; none of it needs Temporal.

    Whoever may alert watches it; operations seal it.

    Raises:
        AuditKeyError: the key of checkpoints cannot be used.
    """
    watch = AuditWatch(database, AuditAlerts(database, kills=False, now=utc_now), metrics)
    if isinstance(settings, ExecutionSettings):
        return ((watch.look, LOOK_SECONDS),)
    signer = NoteSigner.from_hex(origin_of(installation.namespace), settings.audit_key.get_secret_value())
    sealer = Sealer(audit_store(settings), signer, now=utc_now)
    alerts = AuditAlerts(database, kills=settings.audit_failure_kills, now=utc_now)
    sealing = AuditSealing(settings.dsn, sealer, alerts, metrics)
    partitions = Partitions(database)
    return (
        (watch.look, LOOK_SECONDS),
        (sealing.run, RECONNECT_SECONDS),
        (partitions.make, PARTITIONS_SECONDS),
    )
