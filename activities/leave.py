"""Why an order may not leave: what rows say of its approval, its cancel, the kill switch and what is locked."""

from datetime import datetime

from schemas.risk import CheckName
from schemas.wire import Leg
from storage.orders import StoredOrder
from storage.placement import PlacementBasis


def refusal(order: StoredOrder, basis: PlacementBasis, now: datetime) -> str | None:
    """Why this order may not leave, as far as rows can tell."""
    if order.cancel_requested_by is not None:
        return "CANCELED"
    if order.leg is not Leg.ENTRY:
        return None  # Exempt from all of this where `legs.doubt` finds that it is what was approved.
    if basis.engaged:
        return CheckName.KILL_SWITCH
    if not basis.as_signalled:
        return CheckName.ORDER_AS_SIGNAL
    if not basis.approved or basis.approval_id is None or basis.expires_at is None:
        return "NOT_APPROVED"
    if basis.approved_epoch != basis.switch_epoch:
        return "APPROVED_BEFORE_KILL_SWITCH"
    if now > basis.expires_at:
        return CheckName.STALENESS
    if now > basis.valid_until:
        return CheckName.SIGNAL_EXPIRED
    if order.action.opens and basis.strategy_disabled:
        return CheckName.STRATEGY_DISABLED
    if order.action.opens and basis.symbol_locked:
        return CheckName.SYMBOL_LOCKED
    if order.action.opens and basis.ticker_unknown:
        return CheckName.UNKNOWN_OUTCOME
    return None
