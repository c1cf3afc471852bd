"""What every process last found of its clock, and the halt of new orders that follows.

Each process has a row of its own, and any that halts stops everybody's new orders. Ages are told by the database's
clock, because a machine whose clock is wrong writes here too.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from schemas.audit import AuditEntry
from schemas.base import storable
from schemas.clock import ClockCheck, ClockHealth, ClockReading, ClockVerdict
from storage.events import append
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("clock")

HEARD_WITHIN: Final = timedelta(minutes=15)
"""A process that has not asked for so long is gone, and its halt with it: it asks anew when it starts."""
IN_SYNC_TIMES: Final = 2
"""Readings in a row after which a clock is trusted again."""
_NOT_WRONG: Final = (ClockVerdict.IN_SYNC, ClockVerdict.NO_SOURCE)
CORRELATION: Final = "clock"
"""The clocks' own story in the audit log."""
COMPONENT: Final = "ClockWatch"


async def read_clock_checks(connection: Connection) -> tuple[ClockCheck, ...]:
    """What each process that was heard of lately found last."""
    rows = await connection.fetch(_SQL["read_checks"], HEARD_WITHIN)
    return tuple(
        ClockCheck(
            holder=row["holder"],
            verdict=row["verdict"],
            offset=None if row["offset_us"] is None else timedelta(microseconds=row["offset_us"]),
            source=row["source"],
            detail=row["detail"],
            age=row["age"],
            halted_since=row["halted_since"],
            halt_cause=row["halt_cause"],
        )
        for row in rows
    )


async def read_clock_health(connection: Connection, own: str | None = None) -> ClockHealth:
    """Whether every clock that orders depend on is right, and how old the news of one is.

    ``own``: the holder whose news it must be; None: anybody's. A process that has ended looks no more, so how old
    its last reading is says nothing; what it found wrong stands until it is forgotten. One look that nobody
    answers makes no clock wrong: whoever has had no answer for too long halts.
    """
    checks = await read_clock_checks(connection)
    ages = [each.age for each in checks if own is None or each.holder == own]
    in_sync = all(each.verdict in _NOT_WRONG and each.halted_since is None for each in checks)
    return ClockHealth(in_sync=in_sync and bool(ages), age=min(ages, default=None))


async def note_clock(
    connection: Connection, holder: str, reading: ClockReading, *, halts: str | None, now: datetime
) -> bool:
    """Store a reading with what follows from it, in the caller's transaction.

    ``halts``: why it stops new orders; None: it does not. A halt ends with the second reading in a row in sync.

    Returns:
        Whether the halt is open now.
    """
    was_halted = bool(await connection.fetchval(_SQL["lock_check"], holder))
    offset = None if reading.offset is None else round(reading.offset / timedelta(microseconds=1))
    times = await connection.fetchval(
        _SQL["note_check"], holder, reading.verdict, offset, reading.source, storable(reading.detail)
    )
    if halts is not None:
        await connection.execute(_SQL["open_halt"], holder, storable(halts))
        if not was_halted:
            await append(connection, _entry("CLOCK_HALT_OPENED", holder, halts, now))
        return True
    if was_halted and times >= IN_SYNC_TIMES:
        await connection.execute(_SQL["close_halt"], holder)
        await append(connection, _entry("CLOCK_HALT_CLOSED", holder, reading.detail, now))
        return False
    return was_halted


def _entry(decision: str, holder: str, detail: str, now: datetime) -> AuditEntry:
    return AuditEntry(
        occurred_at=now,
        correlation_id=CORRELATION,
        component=COMPONENT,
        actor="system",
        decision=decision,
        input={"holder": holder, "detail": storable(detail)},
    )
