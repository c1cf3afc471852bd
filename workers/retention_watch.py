"""Tells a person when retention is behind. A loop of operations: it also sees a Schedule that does not run."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from audit.cold.mover import COMPONENT, CORRELATION, Retention
from observability.metrics import Metrics
from schemas.alerts import Alert, AlertCode, Severity
from schemas.archives import ArchiveKind
from storage import archives as rows
from storage.alerts import clear_alert, raise_alert
from storage.database import Connection, Database

WATCH_SECONDS: Final = 60.0
BEHIND_AFTER: Final = timedelta(days=3)
"""Two daily runs may come to nothing before a person is told."""
REPEAT: Final = timedelta(hours=1)


class RetentionWatch:
    """Any number of operations processes may run it."""

    def __init__(
        self,
        database: Database,
        metrics: Metrics,
        retention: Retention,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._retention = retention
        self._now = now
        self._told: dict[ArchiveKind, datetime] = {}

    async def watch_retention(self) -> None:
        """Hold the age of the oldest row that is here against what may be here."""
        now = self._now()
        for kind in ArchiveKind:
            async with self._database.connection() as connection:
                oldest = await rows.oldest_kept(connection, kind)
            age = timedelta() if oldest is None else now - oldest
            self._metrics.set_oldest_kept(kind.value, age.total_seconds())
            if age > self._retention.age(kind) + BEHIND_AFTER:
                told = self._told.get(kind)
                if told is None or now - told >= REPEAT:
                    await self._database.run("retention.behind", partial(self._raise, kind=kind, age=age))
                    self._told[kind] = now
            else:
                await self._database.run("retention.kept_up", partial(self._clear, kind=kind))
                self._told.pop(kind, None)

    async def _raise(self, connection: Connection, *, kind: ArchiveKind, age: timedelta) -> None:
        text = (
            f"{kind.value}: rows of {age.days} days ago are still in the database, where "
            f"{self._retention.age(kind).days} days are meant"
        )
        first = await rows.next_first(connection, kind)
        held = await rows.held_event(connection, first, first + 1) if kind is ArchiveKind.EVENTS else None
        if held is not None:
            text += f": consumer group {held.group} has not acknowledged position {held.position}"
        alert = Alert(
            code=AlertCode.RETENTION_BEHIND,
            severity=Severity.MEDIUM,
            subject=kind.value,
            text=f"{text}. See `trading audit archives` and the workflow audit-retention",
            correlation_id=CORRELATION,
        )
        await raise_alert(connection, alert, component=COMPONENT, now=self._now())

    async def _clear(self, connection: Connection, *, kind: ArchiveKind) -> None:
        await clear_alert(
            connection, AlertCode.RETENTION_BEHIND, kind.value, component=COMPONENT, now=self._now()
        )
