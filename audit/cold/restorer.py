"""Brings payloads back from cold storage: checked against their leaves and hashes, here and by the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from audit.cold.files import CopyWrong, check_audit_file
from audit.cold.mover import COMPONENT, CORRELATION
from audit.cold.notes import note
from observability.crash_points import calling
from schemas.archives import Archive, RestoreAnswer, RestoreOrder
from schemas.audit import AuditEntry
from storage import archives as rows
from storage.archives import ArchiveRefused
from storage.audit_sealing import read_leaves
from storage.events import append

if TYPE_CHECKING:
    from audit.store.port import ObjectStore
    from storage.database import Database


class Restorer:
    """Idempotent: what is here already stays, and counts no row."""

    def __init__(self, database: Database, store: ObjectStore, *, now: Callable[[], datetime]) -> None:
        self._database = database
        self._store = store
        self._now = now

    async def restore(self, order: RestoreOrder) -> RestoreAnswer:
        """Bring back the next file with rows of that time.

        Raises:
            StoreUnavailable: the store does not do its part.
        """
        async with self._database.connection() as connection:
            archive = await rows.removed_between(connection, order.since, order.until, after=order.after)
            if archive is None:
                return RestoreAnswer()
            gone = await rows.is_dropped(connection, archive.first, archive.stop)
            leaves = await read_leaves(connection, archive.first, archive.stop)
        try:
            if gone:
                raise CopyWrong(
                    "rows of it were dropped after seven years; what is left of them is this file"
                )
            payloads = await self._payloads(archive, leaves)
            count = await self._put_back(archive, payloads, order.person)
        except (CopyWrong, ArchiveRefused) as error:
            await self._refused(archive, str(error), order.person)
            return RestoreAnswer(first=archive.first, name=archive.name, refused=f"{archive.name}: {error}")
        return RestoreAnswer(first=archive.first, name=archive.name, rows=count)

    async def _payloads(self, archive: Archive, leaves: list[bytes]) -> list[str]:
        with calling("archive.get_to_restore"):
            content = await self._store.get(archive.name)
        if content is None:
            raise CopyWrong("the file is not in the store")
        _, payloads = await asyncio.to_thread(check_audit_file, content, leaves, archive.first)
        return payloads

    async def _put_back(self, archive: Archive, payloads: list[str], person: str) -> int:
        async with self._database.transaction("retention.restored") as connection:
            count = await rows.restore(connection, archive.first, payloads, now=self._now())
            if count:
                await append(connection, self._entry(archive, "PAYLOADS_RESTORED", "restored", person))
        return count

    async def _refused(self, archive: Archive, reason: str, person: str) -> None:
        await note(self._database, self._entry(archive, "RESTORE_REFUSED", reason, person))

    def _entry(self, archive: Archive, decision: str, detail: str, person: str) -> AuditEntry:
        return AuditEntry(
            occurred_at=self._now(),
            correlation_id=CORRELATION,
            component=COMPONENT,
            actor=person,
            decision=decision,
            input={"detail": detail, "name": archive.name, "first": archive.first, "stop": archive.stop},
        )
