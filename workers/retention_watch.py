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
AHEAD_MAX: Final = timedelta(hours=1)
"""A row may be dated so far in the future, by a clock that is wrong, before a person is told."""
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
        """Hold the age of the oldest row that is here against what may be here, and the next one's against now."""
        now = self._now()
        for kind in ArchiveKind:
            async with self._database.connection() as connection:
                waiting = await rows.waiting(connection, kind)
            age = now - (waiting.oldest_at or now)
            self._metrics.set_oldest_kept(kind.value, age.total_seconds())
            text = self._behind(kind, age, waiting.next_at, now)
            told = self._told.get(kind)
            if text is not None and told is not None and now - told < REPEAT:
                continue
            await self._database.run("retention.watched", partial(self._tell, kind=kind, text=text))
            if text is not None:
                self._told[kind] = now
            else:
                self._told.pop(kind, None)

    def _behind(
        self, kind: ArchiveKind, age: timedelta, next_at: datetime | None, now: datetime
    ) -> str | None:
        """What people are to be told, if anything."""
        if next_at is not None and next_at - now > AHEAD_MAX:
            return (
                f"{kind.value}: what goes next is dated {next_at:%Y-%m-%d %H:%M}, in the future: nothing goes"
            )
        kept = self._retention.age(kind)
        if age > kept + BEHIND_AFTER:
            return (
                f"{kind.value}: rows of {age.days} days ago are still in the database, where "
                f"{kept.days} days are meant"
            )
        return None

    async def _tell(self, connection: Connection, *, kind: ArchiveKind, text: str | None) -> None:
        if text is None:
            await clear_alert(
                connection, AlertCode.RETENTION_BEHIND, kind.value, component=COMPONENT, now=self._now()
            )
        else:
            alert = await self._alert(connection, kind, text)
            await raise_alert(connection, alert, component=COMPONENT, now=self._now())

    async def _alert(self, connection: Connection, kind: ArchiveKind, text: str) -> Alert:
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
