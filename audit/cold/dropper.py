"""Drops a month of the audit log that is older than seven years, by a person's signed grant. For ever."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from audit.cold.mover import COMPONENT, CORRELATION
from audit.cold.notes import note
from schemas.archives import DropAnswer, DropGrant
from schemas.audit import AuditEntry
from storage import archives as rows
from storage.archives import ArchiveRefused
from storage.events import append
from storage.switches import operator_key, read_installation

if TYPE_CHECKING:
    from storage.database import Connection, Database


class Dropper:
    """Idempotent: a grant is good for one month and once, and its repeat is answered as the first time."""

    def __init__(
        self,
        database: Database,
        *,
        now: Callable[[], datetime],
        verify: Callable[..., None],
        refused: type[Exception],
    ) -> None:
        """``verify`` is ``security.grants.verify_grant``, which raises ``refused``."""
        self._database = database
        self._now = now
        self._verify = verify
        self._refused = refused

    async def drop(self, grant: DropGrant) -> DropAnswer:
        """Drop the month, or say why not; either is audited. One that is gone already is told so."""
        now = self._now()
        try:
            async with self._database.transaction("retention.dropped") as connection:
                await self._check(connection, grant, now)
                former = {each.partition: each for each in await rows.list_drops(connection)}
                if done := former.get(grant.partition):
                    told = f"{done.partition} was dropped already"
                    await append(connection, self._entry(grant, "AUDIT_DROP_REPEATED", told, now))
                    return DropAnswer(dropped=True, message=told, rows=done.rows)
                count = await rows.drop_partition(connection, grant, now=now)
                detail = f"{count} rows dropped; their leaves and checkpoints stay: {grant.reason}"
                await append(connection, self._entry(grant, "AUDIT_MONTH_DROPPED", detail, now))
        except (ArchiveRefused, self._refused) as error:
            await note(self._database, self._entry(grant, "AUDIT_DROP_REFUSED", str(error), now))
            return DropAnswer(dropped=False, message=str(error))
        return DropAnswer(dropped=True, message=f"{grant.partition} is dropped", rows=count)

    async def _check(self, connection: Connection, grant: DropGrant, now: datetime) -> None:
        key = await operator_key(connection, grant.key_id)
        if key is None:
            raise ArchiveRefused(f"no operator key {grant.key_id} is known here")
        installation = await read_installation(connection)
        self._verify(grant, key, account=installation.account or "", now=now)

    def _entry(self, grant: DropGrant, decision: str, detail: str, now: datetime) -> AuditEntry:
        return AuditEntry(
            occurred_at=now,
            correlation_id=CORRELATION,
            component=COMPONENT,
            actor=grant.person,
            decision=decision,
            input={"detail": detail, "grant": grant.model_dump(mode="json")},
        )
