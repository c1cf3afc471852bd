"""Moves one file after another to cold storage: written, read back, checked, and only then removed here.

Whoever dies at any point leaves a record of how far the move is, and whoever comes next goes on from there: the
file's range is in its record before it is written, the store takes the same file twice, and the database removes by
the record of a checked copy alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from audit.cold.files import (
    Checked,
    CopyWrong,
    audit_lines,
    check_audit_file,
    check_events_file,
    event_lines,
    file_name,
    pack,
)
from audit.store.port import ObjectDiffers
from observability.crash_points import calling
from observability.logging import get_logger
from schemas.alerts import Alert, AlertCode, Severity
from schemas.archives import Archive, ArchiveKind, ArchiveState, MoveAnswer
from schemas.audit import AuditEntry
from storage import archives as rows
from storage.alerts import clear_alert, raise_alert
from storage.archives import ArchiveRefused, Held, Plan
from storage.audit_sealing import read_leaves
from storage.events import append

if TYPE_CHECKING:
    from audit.store.port import ObjectStore
    from storage.database import Connection, Database

ROWS_MAX: Final = 10_000
"""In one file."""
BYTES_MAX: Final = 16 * 1024 * 1024
"""Of payloads in one file."""
RETENTION_MIN: Final = timedelta(days=30)
"""No payload goes sooner; the database refuses it too."""
CLOCK_MARGIN: Final = timedelta(minutes=10)
"""The database asks its own clock as well, which may be behind ours."""
RESTORED_FOR: Final = timedelta(days=30)
"""Payloads that were brought back go again after that."""
PLANS_MAX: Final = 5
"""For as many movers at once, each of them faster than we are; after that it is tried again later."""
COMPONENT: Final = "Retention"
CORRELATION: Final = "retention"

_log = get_logger(__name__)


@dataclass(frozen=True)
class Retention:
    """How long what is kept where."""

    audit: timedelta = RETENTION_MIN
    """Payloads of audit rows in the database."""
    events: timedelta = RETENTION_MIN
    """Events in the database."""
    locked: timedelta = timedelta(days=7 * 365 + 2)
    """Objects in the store from the newest of their rows on, where the store locks."""
    rows_max: int = ROWS_MAX
    bytes_max: int = BYTES_MAX

    def age(self, kind: ArchiveKind) -> timedelta:
        """How old what goes is at least."""
        kept = self.audit if kind is ArchiveKind.AUDIT else self.events
        return max(kept, RETENTION_MIN) + CLOCK_MARGIN


class Mover:
    """Idempotent as a whole and in each step; several at once do no harm."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        retention: Retention,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._store = store
        self._retention = retention
        self._now = now

    async def move(self, kind: ArchiveKind) -> MoveAnswer:
        """Bring one file of that kind from wherever it stands to its end.

        Raises:
            StoreUnavailable: the store does not do its part; everything stays as it is.
        """
        archive = await self._next(kind)
        if not isinstance(archive, Archive):
            return MoveAnswer(problem=None if archive is None else _waits_for(archive))
        try:
            if archive.state is not ArchiveState.REMOVED:
                # Also what was checked before: the file may be gone since. The same again is harmless.
                await self._write(archive)
            checked = await self._read_back(archive)
            await self._mark_checked(archive, checked)
            waits = await self._waits(archive)
            if waits is not None:
                return MoveAnswer(problem=waits)
            await self._remove(archive, checked)
        except (CopyWrong, ArchiveRefused) as error:
            return await self._failed(archive, str(error))
        _log.info("moved to cold storage", name=archive.name, rows=archive.rows, place=self._store.place)
        return MoveAnswer(moved=archive.name, rows=archive.rows)

    async def _next(self, kind: ArchiveKind) -> Archive | Held | None:
        """As `_begun`: where another has begun and ended a move since this one was planned, the file after it."""
        for _ in range(PLANS_MAX - 1):
            with suppress(ArchiveRefused):
                return await self._begun(kind)
        return await self._begun(kind)

    async def _begun(self, kind: ArchiveKind) -> Archive | Held | None:
        """The move to go on with, or a new one; None where nothing is to go, or who holds it."""
        now = self._now()
        async with self._database.transaction("retention.begun") as connection:
            found = await rows.unfinished(connection, kind, restored_before=now - RESTORED_FOR)
            if found is not None:
                return found
            planned = await self._plan(connection, kind, now, self._retention.rows_max)
            if not isinstance(planned, Plan):
                return planned
            name = file_name(kind, planned.first, planned.stop)
            # A store locks until a time to come only.
            keep_until = max(planned.newest_at + self._retention.locked, now + RETENTION_MIN)
            await rows.begin(connection, kind, planned, name=name, keep_until=keep_until, now=now)
            return await rows.read(connection, kind, planned.first)

    async def _plan(
        self, connection: Connection, kind: ArchiveKind, now: datetime, rows_max: int
    ) -> Plan | Held | None:
        """Of events only what every consumer group has acknowledged."""
        planned = await rows.plan(
            connection, kind, rows_max=rows_max, bytes_max=self._retention.bytes_max, now=now,
            age=self._retention.age(kind),
        )  # fmt: skip
        if planned is None or kind is ArchiveKind.AUDIT:
            return planned
        held = await rows.held_event(connection, planned.first, planned.stop)
        if held is None:
            return planned
        if held.position == planned.first:
            return held
        return await self._plan(connection, kind, now, held.position - planned.first)

    async def _waits(self, archive: Archive) -> str | None:
        """A group may have been set back since the move was begun."""
        if archive.kind is ArchiveKind.AUDIT:
            return None
        async with self._database.connection() as connection:
            held = await rows.held_event(connection, archive.first, archive.stop)
        return None if held is None else _waits_for(held)

    async def _write(self, archive: Archive) -> None:
        async with self._database.connection() as connection:
            if archive.kind is ArchiveKind.AUDIT:
                sealed = await rows.sealed_rows(connection, archive.first, archive.stop, now=self._now())
                if len(sealed) != archive.rows:
                    raise CopyWrong(f"{len(sealed)} sealed rows where {archive.rows} belong")
                lines = audit_lines(sealed)
            else:
                lines = event_lines(await rows.event_rows(connection, archive.first, archive.stop))
        content = await asyncio.to_thread(pack, lines)
        try:
            with calling("archive.put"):
                await self._store.put(archive.name, content, keep_until=archive.keep_until)
        except ObjectDiffers:
            # Another release of zstd packs the same lines differently. What they say is checked all the same.
            _log.warning("the file is there already, packed differently", name=archive.name)

    async def _read_back(self, archive: Archive) -> Checked:
        with calling("archive.get"):
            content = await self._store.get(archive.name)
        if content is None:
            raise CopyWrong("the file is not in the store")
        if archive.kind is ArchiveKind.AUDIT:
            async with self._database.connection() as connection:
                leaves = await read_leaves(connection, archive.first, archive.stop)
                moved = await rows.moved_rows(connection, archive.first, archive.stop)
            checked, _ = await asyncio.to_thread(check_audit_file, content, leaves, archive.first, moved)
            return checked
        async with self._database.connection() as connection:
            events = await rows.event_rows(connection, archive.first, archive.stop)
        return await asyncio.to_thread(check_events_file, content, events)

    async def _mark_checked(self, archive: Archive, checked: Checked) -> None:
        now = self._now()
        async with self._database.transaction("retention.checked") as connection:
            await rows.mark_checked(
                connection, archive, rows_hash=checked.rows_hash, object_hash=checked.object_hash,
                object_bytes=checked.object_bytes, now=now,
            )  # fmt: skip
            if archive.state is ArchiveState.WRITING:
                await append(
                    connection, self._entry(archive, "ARCHIVE_CHECKED", "read back and checked", checked)
                )
            await clear_alert(
                connection, AlertCode.ARCHIVE_CHECK_FAILED, archive.name, component=COMPONENT, now=now
            )

    async def _remove(self, archive: Archive, checked: Checked) -> None:
        async with self._database.transaction("retention.removed") as connection:
            if await rows.remove(connection, archive, now=self._now()):
                decision = "PAYLOADS_ARCHIVED" if archive.kind is ArchiveKind.AUDIT else "EVENTS_ARCHIVED"
                await append(connection, self._entry(archive, decision, f"moved to {archive.name}", checked))

    async def _failed(self, archive: Archive, reason: str) -> MoveAnswer:
        if await self._ended_meanwhile(archive):
            return MoveAnswer(moved=archive.name, rows=archive.rows)
        text = (
            f"{archive.name}: {reason}. Nothing of it was removed. Look for who changed the log or the store: "
            "`trading audit verify`, and docs/RUNBOOK.md"
        )
        alert = Alert(
            code=AlertCode.ARCHIVE_CHECK_FAILED,
            severity=Severity.CRITICAL,
            subject=archive.name,
            text=text,
            correlation_id=CORRELATION,
        )
        async with self._database.transaction("retention.failed") as connection:
            await raise_alert(connection, alert, component=COMPONENT, now=self._now())
        return MoveAnswer(problem=f"{archive.name}: {reason}")

    async def _ended_meanwhile(self, archive: Archive) -> bool:
        """Whether another has carried the same move to its end: then its rows are gone by right."""
        async with self._database.connection() as connection:
            there = await rows.read(connection, archive.kind, archive.first)
        return there is not None and there.removed_at != archive.removed_at

    def _entry(self, archive: Archive, decision: str, detail: str, checked: Checked) -> AuditEntry:
        return AuditEntry(
            occurred_at=self._now(),
            correlation_id=CORRELATION,
            component=COMPONENT,
            actor="system",
            decision=decision,
            input={
                "detail": detail,
                "kind": archive.kind.value,
                "name": archive.name,
                "first": archive.first,
                "stop": archive.stop,
                "rows_hash": checked.rows_hash,
                "object_hash": checked.object_hash,
                "object_bytes": checked.object_bytes,
                "keep_until": archive.keep_until.isoformat(),
            },
        )


def _waits_for(held: Held) -> str:
    return f"events wait: group {held.group} has not acknowledged position {held.position}"
