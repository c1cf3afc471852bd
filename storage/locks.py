"""Locks of tickers: set and lifted by people, each change with its audit row in the caller's transaction."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from schemas.audit import AuditEntry
from schemas.locks import SymbolLockRow
from storage.events import append
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("locks")

LIST_MAX: Final = 500
CORRELATION: Final = "symbol-locks"
"""Their story in the audit log."""


async def lock_symbol(connection: Connection, lock: SymbolLockRow, *, component: str) -> bool:
    """Lock a ticker. Risk refuses what would open something in it from the next decision on.

    Returns:
        False where this very lock (``lock_id``) is set already; nothing is changed then.
    """
    fresh = await connection.fetchval(
        _SQL["lock"], lock.lock_id, lock.ticker, lock.locked_at, lock.until, lock.reason, lock.locked_by,
        lock.person_id,
    )  # fmt: skip
    if fresh is None:
        return False
    detail = f"{lock.ticker} {lock.text}"
    await append(connection, _entry("SYMBOL_LOCKED", lock, detail, lock.locked_by, component, lock.locked_at))
    return True


async def lift_lock(
    connection: Connection, lock_id: UUID, *, lifted_by: str, reason: str, component: str, now: datetime
) -> SymbolLockRow | None:
    """End one lock before its time.

    Returns:
        The lock; None where it is over already, or never was.
    """
    row = await connection.fetchrow(_SQL["lift"], lock_id, now, lifted_by, reason)
    if row is None:
        return None
    lock = SymbolLockRow.model_validate(dict(row))
    detail = f"{lock.ticker} may be traded again as far as this lock goes: {reason}"
    await append(connection, _entry("SYMBOL_UNLOCKED", lock, detail, lifted_by, component, now))
    return lock


async def read_lock(connection: Connection, lock_id: UUID) -> SymbolLockRow | None:
    """One lock, however it stands."""
    row = await connection.fetchrow(_SQL["read"], lock_id)
    return None if row is None else SymbolLockRow.model_validate(dict(row))


async def holding_locks(
    connection: Connection, now: datetime, ticker: str | None = None
) -> list[SymbolLockRow]:
    """Those that hold at ``now``, by ticker, the one that lasts longest first."""
    rows = await connection.fetch(_SQL["holding"], now, ticker, LIST_MAX)
    return [SymbolLockRow.model_validate(dict(row)) for row in rows]


async def past_locks(connection: Connection) -> list[SymbolLockRow]:
    """All of them, newest first."""
    return [
        SymbolLockRow.model_validate(dict(row)) for row in await connection.fetch(_SQL["history"], LIST_MAX)
    ]


def _entry(
    decision: str, lock: SymbolLockRow, detail: str, actor: str, component: str, now: datetime
) -> AuditEntry:
    return AuditEntry(
        occurred_at=now,
        correlation_id=CORRELATION,
        component=component,
        actor=actor,
        decision=decision,
        input={"detail": detail, "lock": lock.model_dump(mode="json")},
    )
