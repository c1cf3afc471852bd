"""What a person is told of an order that is proved gone, or that is not ours under our id."""

from datetime import datetime

from schemas.alerts import Alert, AlertCode, Severity
from schemas.base import decimal_text
from storage.alerts import raise_alert
from storage.orders import LockedOrder, StoredOrder


async def tell_not_at_broker(
    locked: LockedOrder, after: StoredOrder, proof: str, *, component: str, now: datetime
) -> None:
    """Alert that an order is proved not to stand at the broker, in the transaction that ends it."""
    text = (
        f"{_name(after)} does not stand at the broker: {proof}. It has ended as {after.status.value}, its room is "
        "given back and nothing is sent again. If the trade is still wanted, propose it anew."
    )
    told = _alert(after, AlertCode.NOT_AT_BROKER, text)
    await raise_alert(locked.connection, told, component=component, now=now)


def conflict_alert(order: StoredOrder) -> Alert:
    """That an order under our id is not the one we sent; the order is marked so."""
    text = (
        f"{_name(order)} at the broker is not the order that we sent: {order.identity_conflict}. Trading is "
        "stopped: somebody else may act with our keys or our ids. Look at that order at the broker before you "
        "release the kill switch."
    )
    return _alert(order, AlertCode.IDENTITY_CONFLICT, text)


def _alert(order: StoredOrder, code: AlertCode, text: str) -> Alert:
    return Alert(
        code=code,
        severity=Severity.CRITICAL,
        subject=order.client_order_id or order.signal_id,
        text=text,
        correlation_id=order.signal_id,
    )


def _name(order: StoredOrder) -> str:
    side, quantity = order.action.side.value, decimal_text(order.quantity)
    return f"{order.client_order_id or order.signal_id} ({side} {quantity} {order.ticker})"
