"""Strategies that the account could not pay for, until a snapshot taken later shows that it can."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from schemas.alerts import Alert, AlertCode, Severity
from schemas.audit import AuditEntry
from schemas.base import decimal_text
from storage.alerts import clear_alert, raise_alert
from storage.events import append
from storage.orders import StoredOrder
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("funds")


async def note_refusal(
    connection: Connection, order: StoredOrder, needed: Decimal, *, component: str, now: datetime
) -> None:
    """The broker refused ``order`` for want of funds: remember it and alert, in the caller's transaction.

    ``needed`` is what the order costs, in US dollars.
    """
    assert order.client_order_id is not None, "only what was sent is refused"
    await connection.execute(
        _SQL["note_refusal"], order.strategy, order.signal_id, order.client_order_id, needed, now
    )
    text = (
        f"The broker refused {order.client_order_id} ({order.action.side.value} {decimal_text(order.quantity)} "
        f"{order.ticker}, ${decimal_text(needed)}): insufficient funds. Buys of strategy {order.strategy} are "
        "refused until an account snapshot taken later covers it. Our books thought it could be paid for: look at "
        "who else trades the account."
    )
    alert = Alert(
        code=AlertCode.INSUFFICIENT_FUNDS,
        severity=Severity.HIGH,
        subject=order.strategy,
        text=text,
        correlation_id=order.signal_id,
    )
    await raise_alert(connection, alert, component=component, now=now)


async def covered_now(connection: Connection) -> list[str]:
    """Strategies whose refusal the stored snapshot covers."""
    return [row["strategy"] for row in await connection.fetch(_SQL["covered_now"])]


async def cover(connection: Connection, strategy: str, *, component: str, now: datetime) -> None:
    """End a strategy's refusal and clear its alert, in the caller's transaction. Free where none is covered."""
    row = await connection.fetchrow(_SQL["cover"], strategy, now)
    if row is None:
        return
    await clear_alert(connection, AlertCode.INSUFFICIENT_FUNDS, strategy, component=component, now=now)
    told = f"buying power {row['buying_power']:f} at {row['taken_at'].isoformat()} ≥ {row['needed']:f} needed"
    entry = AuditEntry(
        occurred_at=now,
        correlation_id=strategy,
        component=component,
        actor="system",
        decision="FUNDS_COVERED",
        input={"detail": told},
    )
    await append(connection, entry)
