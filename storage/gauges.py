"""What is read now and then for /metrics alone, and decides nothing."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("gauges")


async def read_reservations(connection: Connection) -> tuple[int, Decimal]:
    """How many approvals hold room in the limits, and how many US dollars."""
    row = await connection.fetchrow(_SQL["reservations"])
    assert row is not None, "an aggregate has one row"
    return row["open"], row["dollars"]


async def read_held(connection: Connection) -> list[tuple[str, str, Decimal]]:
    """(ticker, strategy, signed US dollars) of every position."""
    rows = await connection.fetch(_SQL["held"])
    return [(row["ticker"], row["strategy"], row["dollars"]) for row in rows]


async def read_equity(connection: Connection) -> Decimal | None:
    """US dollars of the last account snapshot; None before the first."""
    equity: Decimal | None = await connection.fetchval(_SQL["equity"])
    return equity


async def read_funds_streak(connection: Connection, since: datetime) -> int:
    """Refusals for want of funds after ``since`` and after the last order that the broker accepted."""
    if not await connection.fetchval(_SQL["funds_refused_since"], since):
        return 0
    count: int = await connection.fetchval(_SQL["funds_streak"], since)
    return count


async def read_last_scheduled(connection: Connection, trigger: str, since: datetime) -> datetime | None:
    """When the last reconciliation began that ``trigger`` has started; None where none has since then."""
    started: datetime | None = await connection.fetchval(_SQL["last_scheduled"], trigger, since)
    return started


async def read_drift(connection: Connection) -> Decimal | None:
    """Drift that the last good reconciliation found, in % of equity; None before the first."""
    drift: Decimal | None = await connection.fetchval(_SQL["last_drift"])
    return drift
