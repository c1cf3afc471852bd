"""What retention writes into the audit log when it changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage.events import append

if TYPE_CHECKING:
    from schemas.audit import AuditEntry
    from storage.database import Database


async def note(database: Database, entry: AuditEntry) -> None:
    """A try that came to nothing, and why."""
    async with database.transaction("retention.noted") as connection:
        await append(connection, entry)
