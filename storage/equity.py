"""Equity against the session's start and its peak, and the losses over their limit that readings have shown."""

from __future__ import annotations

from collections.abc import Container, Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from schemas.audit import AuditEntry
from schemas.base import decimal_text
from schemas.broker import CashActivity
from schemas.conduct import Breach, EquityReading, LossKind
from storage.events import append
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("equity")

CORRELATION: Final = "equity"
"""Its own story in the audit log."""


async def read_equity(connection: Connection) -> EquityReading:
    """The last snapshot; all None before the first."""
    row = await connection.fetchrow(_SQL["read_equity"])
    assert row is not None, "account always has its one row"
    return EquityReading.model_validate(dict(row))


async def move_peak(
    connection: Connection, booked: Iterable[CashActivity], trading_day: date, *, late: Container[str] = ()
) -> None:
    """Let the peak follow what was paid in or out, and note that every transfer is booked up to now.

    In the transaction that books them, ``booked`` being those that were new; ``late`` names those whose money an
    earlier reconciliation has found and could not explain. What came in by such a one is in the peak already.
    What is of ``trading_day``, which has begun last, or of later is not in the broker's equity at the close before.
    """
    transfers = [each for each in booked if each.is_transfer]
    moved = sum(
        (each.amount for each in transfers if each.amount < 0 or each.activity_id not in late), Decimal(0)
    )
    today = sum((each.amount for each in transfers if each.day >= trading_day), Decimal(0))
    await connection.execute(_SQL["move_peak"], moved, today)


async def reset_peak(
    connection: Connection, *, person: str, reason: str, component: str, now: datetime
) -> Decimal | None:
    """A person lets the drawdown be measured from today's equity: row and audit row, in the caller's transaction.

    Returns:
        The equity that is the peak now; None where none was ever read.
    """
    equity: Decimal | None = await connection.fetchval(_SQL["reset_peak"])
    if equity is not None:
        detail = f"peak equity is {decimal_text(equity)} from now on: {reason}"
        await append(connection, _entry("PEAK_RESET", detail, now, component=component, actor=person))
    return equity


async def read_breaches(connection: Connection) -> dict[LossKind, Breach]:
    """Losses over their limit that the last readings have shown."""
    rows = await connection.fetch(_SQL["read_breaches"])
    found = [Breach.model_validate(dict(row)) for row in rows]
    return {each.kind: each for each in found}


async def begin_breach(
    connection: Connection, kind: LossKind, detail: str, *, read_at: datetime, component: str, now: datetime
) -> None:
    """A first reading shows a loss over its limit."""
    await connection.execute(_SQL["begin_breach"], kind.value, read_at, detail)
    await append(connection, _entry("LOSS_SEEN", f"{kind.value}: {detail}", now, component=component))


async def confirm_breach(
    connection: Connection, kind: LossKind, detail: str, *, component: str, now: datetime
) -> None:
    """A second one shows it as well."""
    await connection.execute(_SQL["confirm_breach"], kind.value, now)
    await append(connection, _entry("LOSS_CONFIRMED", f"{kind.value}: {detail}", now, component=component))


async def end_breach(
    connection: Connection, kind: LossKind, detail: str, *, component: str, now: datetime
) -> None:
    """A reading is within the limit again."""
    await connection.execute(_SQL["end_breach"], kind.value)
    await append(connection, _entry("LOSS_OVER", f"{kind.value}: {detail}", now, component=component))


def _entry(decision: str, detail: str, now: datetime, *, component: str, actor: str = "system") -> AuditEntry:
    return AuditEntry(
        occurred_at=now,
        correlation_id=CORRELATION,
        component=component,
        actor=actor,
        decision=decision,
        input={"detail": detail},
    )
