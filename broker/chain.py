"""Orders that took one another's place at the broker: which of them is ours now, and which was.

A replacement is a new order with an id of its own. It is proposed, and takes over or is rejected because a fill of
the old one won; executions of the old one may be told long after that.
"""

from broker.evidence import takes_over
from schemas.orders import BrokerOrder, OrderState


def follow(state: OrderState, order: BrokerOrder) -> OrderState | None:
    """The state as of the order that ``order`` is about; None where that is not ours, or no longer.

    In a replace chain the new order's quantity is the whole one and counts what was executed before (FIX
    cancel/replace). A broker that counts otherwise shows as FILLS_MISSING.
    """
    known = state.broker_order_id or order.replaces
    if known is None or order.broker_order_id == state.broker_order_id:
        return state
    if order.broker_order_id in state.predecessors or not _succeeds(state, order, known):
        return None
    change: dict[str, object] = {
        "broker_order_id": order.broker_order_id,
        "predecessors": (*state.predecessors, known),
        "raw_status": None,
        "quantity": order.quantity or state.quantity,
        "replaced_by": None,
    }
    return state.model_copy(update=change)


def _succeeds(state: OrderState, order: BrokerOrder, known: str) -> bool:
    """Whether ``order`` has taken the place of ours. Until it works, a fill of ours may still win."""
    if order.broker_order_id == state.replaced_by:
        return True
    return order.replaces == known and takes_over(order.raw_status)


def is_of(state: OrderState, broker_order_id: str) -> bool:
    """Whether that is an id of our order, now, formerly or soon."""
    if state.broker_order_id in (None, broker_order_id) or broker_order_id == state.replaced_by:
        return True
    former = (*state.predecessors, *(fill.broker_order_id for fill in state.fills))
    return broker_order_id in former
