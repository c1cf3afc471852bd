"""Whether an order under our id is the one we sent. If not, somebody else acts in our name: everything stops."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from schemas.kill import KillCommand
from schemas.orders import BrokerOrder, OrderRequest
from storage.orders import LockedOrder
from storage.placement import mark_conflict
from storage.switches import engage
from storage.transitions import Step, audit

COMPONENT: Final = "ExecutionAgent"
ADOPTION_CLOCK_SLACK: Final = timedelta(seconds=5)
"""An order older than our first POST by more than this is not ours, whatever its id."""


def difference(sent: OrderRequest, found: BrokerOrder, first_post_at: datetime | None) -> str | None:
    """How the order at the broker differs from the one we sent; None when it is the same.

    Decimals are compared as numbers: the broker writes ``180.5`` for ``180.50``.
    """
    pairs = (
        ("client_order_id", sent.client_order_id, found.client_order_id),
        ("ticker", sent.ticker, found.ticker),
        ("side", sent.side, found.side),
        ("type", "limit", found.raw_type),
        ("time in force", sent.time_in_force.value.lower(), found.raw_time_in_force),
        ("quantity", sent.quantity, found.quantity),
        ("limit price", sent.limit_price, found.limit_price),
        ("extended hours", sent.extended_hours, found.extended_hours),
    )
    told = [f"{name}: sent {ours}, found {theirs}" for name, ours, theirs in pairs if ours != theirs]
    if found.order_class not in ("", "simple"):
        told.append(f"class: sent simple, found {found.order_class}")
    if first_post_at is not None and found.created_at < first_post_at - ADOPTION_CLOCK_SLACK:
        created, posted = found.created_at.isoformat(), first_post_at.isoformat()
        told.append(f"created {created}, before our first POST {posted}")
    return "; ".join(told) or None


def conflict_in(locked: LockedOrder, found: BrokerOrder) -> str | None:
    """The difference, asked once: before the broker's order is adopted as ours."""
    order = locked.order
    if order.broker_order_id is not None or order.request is None:
        return None
    return difference(order.request, found, order.first_post_at)


async def stop_everything(locked: LockedOrder, found: BrokerOrder, conflict: str, now: datetime) -> None:
    """Record the conflict and engage the kill switch, once per order: a release must not be undone by a repeat."""
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
