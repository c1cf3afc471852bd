"""Events as the product writes them, without the product, and what must hold of the numbered ones."""

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import asyncpg

from schemas.audit import AuditEntry
from schemas.events import ExecutionStatus
from schemas.wire import Topic, event_id
from storage.database import Connection
from storage.events import Queued, append


def status_event(key: str, number: int, **fields: Any) -> Queued:
    """The ``number``-th event of the order ``key``; every one occurred at the same time."""
    event = ExecutionStatus.model_validate(
        {
            "event_id": event_id(Topic.EXECUTION_STATUS, key, number),
            "timestamp": datetime(2026, 11, 23, 15, tzinfo=UTC),
            "signal_id": key, "internal_order_id": key, "client_order_id": None, "broker_order_id": None,
            "ticker": "AAPL", "status": "ACKNOWLEDGED", "filled_quantity": "0", "average_price": None,
            "row_version": number, **fields,
        }
    )  # fmt: skip
    return Queued(Topic.EXECUTION_STATUS, key, event)


async def write(connection: Connection, *events: Queued) -> None:
    """Append the events with their audit row, in the caller's transaction."""
    entry = AuditEntry(
        occurred_at=datetime.now(UTC), correlation_id=events[0].key, component="test", actor="test",
        decision="WRITTEN", input={"events": [each.event.event_id for each in events]},
    )  # fmt: skip
    await append(connection, entry, *events)


async def write_committed(dsn: str, key: str, *numbers: int) -> None:
    """Write some events of one order, each in its own transaction."""
    connection = await asyncpg.connect(dsn)
    for number in numbers:
        async with connection.transaction():
            await write(connection, status_event(key, number))
    await connection.close()


async def numbered(connection: Connection) -> list[tuple[int, str, int]]:
    """(position, key, row_version) of every numbered event, by position."""
    rows = await connection.fetch(
        "select position, key, (payload ->> 'row_version')::int as number from events"
        " where position is not null order by position"
    )
    return [tuple(row) for row in rows]


def check_order(events: list[tuple[int, str, int]], count: int) -> None:
    """Positions 1 to ``count`` without a gap, and each key's events in the order of their numbers."""
    assert [position for position, _, _ in events] == list(range(1, count + 1))
    by_key = defaultdict(list)
    for _, key, number in events:
        by_key[key].append(number)
    for key, numbers in by_key.items():
        assert numbers == sorted(numbers), key
