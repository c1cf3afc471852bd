"""The broker's refusal of an order, and what a refusal for want of funds means for those that follow."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from broker import lifecycle
from broker.errors import BrokerError, InsufficientFunds
from broker.told import BrokerCall, evidence
from storage.funds import note_refusal
from storage.orders import LockedOrder, StoredOrder
from storage.transitions import Step, refuse

COMPONENT: Final = "ExecutionAgent"


async def refused_by_broker(
    locked: LockedOrder, error: BrokerError, calls: Sequence[BrokerCall], now: datetime
) -> StoredOrder:
    """End an order that the broker refused. For want of funds: alert, and refuse that strategy's further buys."""
    step = Step(
        now=now,
        component=COMPONENT,
        decision="REJECTED_BY_BROKER",
        detail=f"{error.code}: {error.message}",
        evidence=refusal_evidence(locked, error, calls),
        user_message=error.message,
        answers_post=True,
    )
    if isinstance(error, InsufficientFunds):
        needed = cost(locked.order)
        await note_refusal(locked.connection, locked.order, needed, component=COMPONENT, now=now)
    return await refuse(locked, lifecycle.apply(locked.state, lifecycle.Refused(error.code)), step)


def refusal_evidence(locked: LockedOrder, error: BrokerError, calls: Sequence[BrokerCall]) -> dict[str, Any]:
    """The broker's no, for the audit row: which POST, the code, the answer's status and name, how long it took."""
    return {
        "post": locked.order.post_count,
        "code": error.code,
        "http_status": error.http_status,
        "request_id": error.request_id,
        **evidence(calls),
    }


def cost(order: StoredOrder) -> Decimal:
    """US dollars that the order asks for: at its limit, or where it has none at its stop."""
    price = order.limit_price or order.stop_price
    assert price is not None, "an approved order has its worst price or its stop"
    return order.quantity * price
