"""The data of a trade update, without the moment of its publishing."""

from decimal import Decimal
from typing import Any

from simulation.book import Execution
from simulation.events import (
    BookEvent,
    ExecutionBusted,
    ExecutionCorrected,
    OrderChanged,
    OrderCreated,
    OrderExecuted,
)
from simulation.orders import Order
from simulation.wire import plain, rfc3339, rfc3339_or_none


def trade_update(
    event: BookEvent, order: Order, wire: dict[str, Any], position_qty: Decimal
) -> dict[str, Any] | None:
    """The update an event causes, None if nobody is told; ``wire`` is the order object after the event."""
    if isinstance(event, OrderExecuted):
        name = "fill" if event.status == "filled" else "partial_fill"
        execution: dict[str, Any] = {
            "execution_id": event.execution_id,
            "price": plain(event.price),
            "qty": plain(event.qty),
            "position_qty": plain(position_qty),
        }
    elif isinstance(event, OrderCreated | OrderChanged) and event.event:
        name = event.event
        execution_id = event.execution_id if isinstance(event, OrderChanged) else None
        execution = {"execution_id": execution_id, "price": None, "qty": None, "position_qty": None}
    else:
        return None
    shown = wire | {"cancel_requested_at": rfc3339_or_none(order.cancel_requested_at)}
    return {
        "event_id": event.event_id,
        "event": name,
        "timestamp": rfc3339(event.at),
        **execution,
        "order": shown,
    }


def bust_update(
    event: ExecutionBusted, gone: Execution, wire: dict[str, Any], position_qty: Decimal
) -> dict[str, Any]:
    """The update of a bust: it names the execution that it takes back."""
    return {
        "event_id": event.event_id,
        "event": "trade_bust",
        "timestamp": rfc3339(event.at),
        "execution_id": event.bust_id,
        "previous_execution_id": gone.execution_id,
        "price": plain(gone.price),
        "qty": plain(gone.qty),
        "position_qty": plain(position_qty),
        "order": wire,
    }


def correction_update(
    event: ExecutionCorrected, wire: dict[str, Any], position_qty: Decimal
) -> dict[str, Any]:
    """The update of a correction: it names the execution whose place it takes."""
    return {
        "event_id": event.event_id,
        "event": "trade_correct",
        "timestamp": rfc3339(event.at),
        "execution_id": event.correction_id,
        "previous_execution_id": event.execution_id,
        "price": plain(event.price),
        "qty": plain(event.qty),
        "position_qty": plain(position_qty),
        "order": wire,
    }
