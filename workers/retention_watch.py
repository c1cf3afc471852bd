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
            told = self._told.get(kind)
            behind = age > self._retention.age(kind) + BEHIND_AFTER
            if behind and told is not None and now - told < REPEAT:
                continue
            await self._database.run(
                "retention.watched", partial(self._tell, kind=kind, age=age if behind else None)
            )
            if behind:
                self._told[kind] = now
            else:
                self._told.pop(kind, None)

    async def _tell(self, connection: Connection, *, kind: ArchiveKind, age: timedelta | None) -> None:
        if age is None:
            await clear_alert(
                connection, AlertCode.RETENTION_BEHIND, kind.value, component=COMPONENT, now=self._now()
            )
        else:
            alert = await self._alert(connection, kind, age)
            await raise_alert(connection, alert, component=COMPONENT, now=self._now())

    async def _alert(self, connection: Connection, kind: ArchiveKind, age: timedelta) -> Alert:
        text = (
            f"{kind.value}: rows of {age.days} days ago are still in the database, where "
            f"{self._retention.age(kind).days} days are meant"
        )
        first = await rows.next_first(connection, kind)
        held = await rows.held_event(connection, first, first + 1) if kind is ArchiveKind.EVENTS else None
        if held is not None:
            text += f": consumer group {held.group} has not acknowledged position {held.position}"
        return Alert(
            code=AlertCode.RETENTION_BEHIND,
            severity=Severity.MEDIUM,
            subject=kind.value,
            text=f"{text}. See `trading audit archives` and the workflow audit-retention",
            correlation_id=CORRELATION,
        )
