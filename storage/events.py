"""The outbox and the audit log. Both are written only from inside the transaction of what they tell."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from schemas.audit import AuditEntry, canonical_json, text_sha256
from schemas.events import Event
from schemas.risk import CheckResult
from schemas.signals import TimelineEntry
from schemas.wire import Topic
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("events")

TIMELINE_ENTRIES_MAX: Final = 1000
KEY_LOCKS: Final = 0x7469_6B65
"""First half of the advisory locks that keep the writers of one key in line; the second is the key's hash."""


@dataclass(frozen=True)
class Queued:
    """One event for the outbox. ``key`` is what its order is kept by: the order's or signal's id.

    Events of one key get their positions in the order in which they were inserted.
    """

    topic: Topic
    key: str
    event: Event


async def append(connection: Connection, entry: AuditEntry, *events: Queued) -> None:
    """Write one fact for ever, and queue the events that tell of it.

    What is hashed is the very text that is kept (`schemas.audit`); the row names the newest checkpoint, and its
    events, so that they are provable after the outbox has forgotten them. The same ``event_id`` again is the same
    event: nothing is added.
    """
    payloads = [canonical_json(each.event) for each in events]
    named = [_named(each, payload) for each, payload in zip(events, payloads, strict=True)]
    text = canonical_json({**entry.input, "events": named} if events else entry.input)
    await connection.execute(
        _SQL["append_records"],
        [each.event.event_id for each in events],
        [each.topic.value for each in events],
        [each.key for each in events],
        payloads,
        [each.event.timestamp for each in events],
        entry.occurred_at,
        entry.correlation_id,
        entry.component,
        entry.actor,
        text_sha256(text),
        entry.decision,
        canonical_json(entry.checks),
        canonical_json(entry.references),
        text,
        KEY_LOCKS,
    )


def _named(queued: Queued, payload: str) -> dict[str, str]:
    """An event as its audit row names it, with the sha256 of its payload, which is canonical JSON."""
    return {
        "event_id": queued.event.event_id,
        "topic": queued.topic.value,
        "sha256": text_sha256(payload),
    }


async def times_told(connection: Connection, correlation_id: str, *, decision: str, actor: str) -> int:
    """How often the story of one signal tells of this decision of this actor."""
    count: int = await connection.fetchval(_SQL["times_told"], correlation_id, decision, actor)
    return count


async def timeline(connection: Connection, correlation_id: str) -> list[TimelineEntry]:
    """The story of one signal, oldest first, at most ``TIMELINE_ENTRIES_MAX`` lines."""
    rows = await connection.fetch(_SQL["timeline"], correlation_id, TIMELINE_ENTRIES_MAX)
    return [
        TimelineEntry(
            at=row["occurred_at"],
            component=row["component"],
            actor=row["actor"],
            decision=row["decision"],
            # None: in cold storage by now.
            detail=str(json.loads(row["payload"] or "{}").get("detail", "")),
            checks=tuple(CheckResult.model_validate(check) for check in json.loads(row["checks"])),
        )
        for row in rows
    ]
