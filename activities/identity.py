"""Whether an order under our id is the one we sent. If not, somebody else acts in our name: everything stops."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from risk.prices import buy_stop_limit, tick
from schemas.kill import KillCommand
from schemas.orders import BrokerOrder, OrderRequest, OrderType, Side
from storage.orders import LockedOrder
from storage.placement import mark_conflict
from storage.switches import engage
from storage.transitions import Step, audit

COMPONENT: Final = "ExecutionAgent"
ADOPTION_CLOCK_SLACK: Final = timedelta(seconds=5)
"""An order older than our first POST by more than this is not ours, whatever its id."""


def difference(sent: OrderRequest, found: BrokerOrder, first_post_at: datetime | None) -> str | None:
    """How the order at the broker differs from the one we sent; None when it is the same.

    Decimals are compared as numbers: the broker writes ``180.5`` for ``180.50``. A buy STOP may be found as
    the stop-limit that the broker makes of it.
    """
    pairs = (
        ("client_order_id", sent.client_order_id, found.client_order_id),
        ("ticker", sent.ticker, found.ticker),
        ("side", sent.side, found.side),
        ("type", _expected_type(sent, found), found.raw_type),
        ("time in force", sent.time_in_force.value.lower(), found.raw_time_in_force),
        ("quantity", sent.quantity, found.quantity),
        ("limit price", _expected_limit(sent, found), found.limit_price),
        ("stop price", sent.stop_price, found.stop_price),
        ("extended hours", sent.extended_hours, found.extended_hours),
    )
    told = [f"{name}: sent {ours}, found {theirs}" for name, ours, theirs in pairs if ours != theirs]
    if found.order_class not in ("", "simple"):
        told.append(f"class: sent simple, found {found.order_class}")
    if first_post_at is not None and found.created_at < first_post_at - ADOPTION_CLOCK_SLACK:
        created, posted = found.created_at.isoformat(), first_post_at.isoformat()
        told.append(f"created {created}, before our first POST {posted}")
    return "; ".join(told) or None


def _is_rewritten(sent: OrderRequest, found: BrokerOrder) -> bool:
    """Whether the broker has turned our buy STOP into its stop-limit. How it rounds that limit is documented
    nowhere, so one tick either way is the same limit."""
    if sent.order_type is not OrderType.STOP or sent.side is not Side.BUY or sent.stop_price is None:
        return False
    if found.raw_type != "stop_limit" or found.limit_price is None:
        return False
    limit = buy_stop_limit(sent.stop_price)
    return abs(found.limit_price - limit) <= tick(limit)


def _expected_type(sent: OrderRequest, found: BrokerOrder) -> str:
    return "stop_limit" if _is_rewritten(sent, found) else sent.sent_type


def _expected_limit(sent: OrderRequest, found: BrokerOrder) -> Decimal | None:
    return found.limit_price if _is_rewritten(sent, found) else sent.limit_price


def conflict_in(locked: LockedOrder, found: BrokerOrder) -> str | None:
    """The difference, asked once: before the broker's order is adopted as ours."""
    order = locked.order
    if order.broker_order_id is not None or order.request is None:
        return None
    return difference(order.request, found, order.first_post_at)


async def stop_everything(locked: LockedOrder, found: BrokerOrder, conflict: str, now: datetime) -> None:
    """Record the conflict and engage the kill switch, once per order: a release must not be undone by a repeat.

    The alert follows the row (`activities.row_alerts`): whoever can hold an alert must not hold this up.
    """
    marked = await mark_conflict(locked, conflict, now)
    if marked is None:
        return
    step = Step(
        now=now,
        component=COMPONENT,
        decision="IDENTITY_CONFLICT",
        detail=conflict,
        evidence={"broker": found.model_dump(mode="json")},
    )
    await audit(replace(locked, order=marked), marked, step)
    command = KillCommand(
        reason=f"IDENTITY_CONFLICT on {marked.client_order_id}: {conflict}", triggered_by=COMPONENT
    )
    request_id = f"identity-{marked.client_order_id}"
    await engage(locked.connection, command, request_id=request_id, now=now, component=COMPONENT)
