"""The broker's refusal of an order, and what a refusal for want of funds means for those that follow."""

from datetime import datetime
from decimal import Decimal
from typing import Final

from broker import lifecycle
from broker.errors import BrokerError, InsufficientFunds
from storage.funds import note_refusal
from storage.orders import LockedOrder, StoredOrder
from storage.transitions import Step, refuse

COMPONENT: Final = "ExecutionAgent"


async def refused_by_broker(locked: LockedOrder, error: BrokerError, now: datetime) -> StoredOrder:
    """End an order that the broker refused. For want of funds: alert, and refuse that strategy's further buys."""
    step = Step(
        now=now,
        component=COMPONENT,
        decision="REJECTED_BY_BROKER",
        detail=f"{error.code}: {error.message}",
        evidence={"http_status": error.http_status, "request_id": error.request_id},
        user_message=error.message,
        answers_post=True,
    )
    if isinstance(error, InsufficientFunds):
        needed = cost(locked.order)
        await note_refusal(locked.connection, locked.order, needed, component=COMPONENT, now=now)
    return await refuse(locked, lifecycle.apply(locked.state, lifecycle.Refused(error.code)), step)


def cost(order: StoredOrder) -> Decimal:
    """US dollars that the order asks for: at its limit, or where it has none at its stop."""
    price = order.limit_price or order.stop_price
    assert price is not None, "an approved order has its worst price or its stop"
    return order.quantity * price
