"""The outbox and the audit log. Both are written only from inside the transaction of what they tell."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from schemas.audit import AuditEntry, canonical_json, sha256_hex
from schemas.events import Event
from schemas.risk import CheckResult
from schemas.signals import TimelineEntry
from schemas.wire import Topic
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("events")

TIMELINE_ENTRIES_MAX: Final = 1000


async def append_event(connection: Connection, topic: Topic, key: str, event: Event) -> None:
    """Queue one event. The same ``event_id`` again is the same event: nothing is added."""
    await connection.execute(
        _SQL["append_event"], event.event_id, topic.value, key, event.model_dump_json(), event.timestamp
    )


async def append_audit(connection: Connection, entry: AuditEntry) -> None:
    """Write one fact for ever. ``input_hash`` is sha256 over the canonical JSON of ``input``."""
    await connection.execute(
        _SQL["append_audit"],
        entry.occurred_at,
        entry.correlation_id,
        entry.component,
        entry.actor,
        sha256_hex(entry.input),
        entry.decision,
        canonical_json(entry.checks),
        canonical_json(entry.references),
        canonical_json(entry.input),
    )


async def timeline(connection: Connection, correlation_id: str) -> list[TimelineEntry]:
    """The story of one signal, oldest first, at most ``TIMELINE_ENTRIES_MAX`` lines."""
    rows = await connection.fetch(_SQL["timeline"], correlation_id, TIMELINE_ENTRIES_MAX)
    return [
        TimelineEntry(
            at=row["occurred_at"],
            component=row["component"],
            actor=row["actor"],
            decision=row["decision"],
            detail=str(json.loads(row["payload"]).get("detail", "")),
            checks=tuple(CheckResult.model_validate(check) for check in json.loads(row["checks"])),
        )
        for row in rows
    ]
