"""The order exactly as it goes out: risk signs it, execution sends it."""

from schemas.orders import OrderRequest
from storage.orders import StoredOrder


def canonical_request(order: StoredOrder, order_id: str) -> OrderRequest:
    """One row, one request. A MARKET signal leaves as a limit at the approved worst price."""
    return OrderRequest(
        internal_order_id=str(order.internal_order_id),
        client_order_id=order_id,
        ticker=order.ticker,
        action=order.action,
        order_type=order.order_type,
        time_in_force=order.time_in_force,
        quantity=order.quantity,
        limit_price=order.limit_price,
        stop_price=order.stop_price,
        extended_hours=order.extended_hours,
    )
