"""Orders of which nobody knows whether they stand at the broker: what is asked again, and when a person is told."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from schemas.alerts import Alert, AlertCode, Severity
from schemas.base import DecimalText, UtcTime, Wire
from schemas.orders import Action
from schemas.wire import Leg
from storage.alerts import clear_alert, raise_alert
from storage.orders import LockedOrder, StoredOrder, stored_order
from storage.placement import POSTING_SECONDS
from storage.statements import load
from storage.switches import unknown_orders

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("doubts")

TOLD_AFTER_SECONDS: Final = 60
"""An outcome unknown for this long is a person's business."""


class DoubtedOrder(Wire):
    """An order with a broker id that the broker has denied."""

    signal_id: str
    leg: Leg
    generation: int
    broker_order_id: str
    client_order_id: str
    first_post_at: UtcTime
    """On the market's clock."""
    absent_lookups: int
    absent_since: UtcTime
    """On the database's clock."""


class UnknownOrder(Wire):
    client_order_id: str
    signal_id: str
    ticker: str
    action: Action
    quantity: DecimalText


async def doubted(connection: Connection, *, lookups: int, since: datetime, limit: int) -> list[DoubtedOrder]:
    """Those with fewer than ``lookups`` denials, and those first denied before ``since``."""
    rows = await connection.fetch(_SQL["doubted"], lookups, since, limit)
    return [DoubtedOrder.model_validate(dict(row)) for row in rows]


async def note_denial(locked: LockedOrder, *, database_now: datetime, now: datetime) -> StoredOrder:
    """Count a look-up that came to nothing."""
    row = await locked.connection.fetchrow(
        _SQL["note_denial"], locked.order.internal_order_id, database_now, now
    )
    assert row is not None, "the row is locked by this transaction"
    return stored_order(row)


async def forget_denials(locked: LockedOrder, now: datetime) -> None:
    """The broker shows it after all."""
    await locked.connection.execute(_SQL["forget_denials"], locked.order.internal_order_id, now)


async def untold(connection: Connection) -> tuple[list[UnknownOrder], list[str]]:
    """Orders unknown for a minute and more without an alert, and alerts whose order is known again."""
    alerted = {row["subject"] for row in await connection.fetch(_SQL["alerted_unknown"])}
    rows = await connection.fetch(_SQL["unknown_for"], float(TOLD_AFTER_SECONDS), float(POSTING_SECONDS))
    late = [UnknownOrder.model_validate(dict(row)) for row in rows]
    over = sorted(alerted - set(await unknown_orders(connection)))
    return [order for order in late if order.client_order_id not in alerted], over


async def tell(connection: Connection, order: UnknownOrder, *, component: str, now: datetime) -> None:
    """Alert that nobody knows, in the caller's transaction."""
    text = (
        f"Nobody knows for {TOLD_AFTER_SECONDS} s whether {order.client_order_id} ({order.action.side.value} "
        f"{order.quantity:f} {order.ticker}) stands at the broker. It is looked up until that is proved and not "
        "sent again on a guess. Ask the broker for that id if it lasts; do not place the trade by hand beside it."
    )
    alert = Alert(
        code=AlertCode.OUTCOME_UNKNOWN,
        severity=Severity.HIGH,
        subject=order.client_order_id,
        text=text,
        correlation_id=order.signal_id,
    )
    await raise_alert(connection, alert, component=component, now=now)


async def untell(connection: Connection, client_order_id: str, *, component: str, now: datetime) -> None:
    """Its fate is known, in the caller's transaction."""
    await clear_alert(connection, AlertCode.OUTCOME_UNKNOWN, client_order_id, component=component, now=now)
