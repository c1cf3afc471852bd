"""One order change, whole: executions, position, order row, reservation, events and audit in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from schemas.audit import AuditEntry
from schemas.events import ExecutionFill, ExecutionStatus, ExecutionSubmitted
from schemas.orders import Fill, OrderState
from schemas.risk import CheckResult
from schemas.wire import Topic, event_id
from storage import orders
from storage.events import append_audit, append_event
from storage.orders import LockedOrder, StoredOrder


@dataclass(frozen=True)
class Step:
    """Who changes an order, when, and from what evidence."""

    now: datetime
    component: str
    decision: str
    actor: str = "system"
    detail: str = ""
    """One line for people: shown in the timeline."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    checks: Sequence[CheckResult] = ()
    user_message: str | None = None
    answers_post: bool = False
    """The broker's answer to the open POST is known with this step."""


async def advance(locked: LockedOrder, new: OrderState, step: Step) -> StoredOrder:
    """Move a locked order to ``new``. What changes nothing writes nothing, so a repeat is free.

    Events: one fill per new execution, ``submitted`` when the broker's id is first known, ``status`` for
    every change. Call it inside the transaction that locked the order.
    """
    before = locked.order
    if new == locked.state and not (step.answers_post and before.post_open):
        return before
    added = await orders.write_executions(locked, new, step.now)
    after = await orders.write_state(
        locked, new, step.now, user_message=step.user_message, answered=step.answers_post
    )
    if before.broker_order_id is None and after.broker_order_id is not None:
        await _submitted(locked, after, step)
    for fill in added:
        await _filled(locked, after, fill, step)
    if new != locked.state:
        await _status(locked, after, step)
    await audit(locked, after, step, added)
    return after


async def refuse(locked: LockedOrder, new: OrderState, step: Step) -> StoredOrder:
    """End an order that never reached the broker: state, released reservation and settlement together."""
    after = await advance(locked, new, step)
    await orders.release_reservation(locked, step.now)
    return await orders.write_settled(locked, step.now) if not after.settled else after


async def settle(locked: LockedOrder, step: Step) -> StoredOrder:
    """Write the outcome of an ended order and give back its reservation. A repeat changes nothing."""
    if locked.order.settled:
        return locked.order
    await orders.release_reservation(locked, step.now)
    after = await orders.write_settled(locked, step.now)
    await audit(locked, after, step, ())
    return after


async def audit(locked: LockedOrder, after: StoredOrder, step: Step, added: Sequence[Fill]) -> None:
    """The audit row of one step."""
    evidence: dict[str, Any] = {
        "detail": step.detail,
        "status": after.status.value,
        "row_version": after.row_version,
        "filled_quantity": str(after.filled_quantity),
        "client_order_id": after.client_order_id,
        "broker_order_id": after.broker_order_id,
        **step.evidence,
    }
    if added:
        evidence["fills"] = [fill.model_dump(mode="json") for fill in added]
    entry = AuditEntry(
        occurred_at=step.now,
        correlation_id=after.signal_id,
        component=step.component,
        actor=step.actor,
        decision=step.decision,
        input=evidence,
        checks=tuple(step.checks),
    )
    await append_audit(locked.connection, entry)


async def _submitted(locked: LockedOrder, after: StoredOrder, step: Step) -> None:
    assert after.client_order_id and after.broker_order_id and after.limit_price is not None
    event = ExecutionSubmitted(
        event_id=event_id(Topic.EXECUTION_SUBMITTED, after.internal_order_id),
        timestamp=step.now,
        signal_id=after.signal_id,
        internal_order_id=str(after.internal_order_id),
        client_order_id=after.client_order_id,
        broker_order_id=after.broker_order_id,
        ticker=after.ticker,
        action=after.action.value,
        quantity=after.quantity,
        limit_price=after.limit_price,
        status=after.status.value,
    )
    await append_event(locked.connection, Topic.EXECUTION_SUBMITTED, str(after.internal_order_id), event)


async def _filled(locked: LockedOrder, after: StoredOrder, fill: Fill, step: Step) -> None:
    name = fill.execution_id or fill.activity_id
    event = ExecutionFill(
        event_id=event_id(Topic.EXECUTION_FILL, after.internal_order_id, name),
        timestamp=fill.executed_at,
        internal_order_id=str(after.internal_order_id),
        broker_order_id=fill.broker_order_id,
        ticker=fill.ticker,
        fill_price=fill.price,
        filled_quantity=fill.quantity,
        status=after.status.value,
        signal_id=after.signal_id,
        execution_id=name,
        cumulative_quantity=fill.cumulative_quantity,
    )
    await append_event(locked.connection, Topic.EXECUTION_FILL, str(after.internal_order_id), event)


async def _status(locked: LockedOrder, after: StoredOrder, step: Step) -> None:
    event = ExecutionStatus(
        event_id=event_id(Topic.EXECUTION_STATUS, after.internal_order_id, after.row_version),
        timestamp=step.now,
        signal_id=after.signal_id,
        internal_order_id=str(after.internal_order_id),
        client_order_id=after.client_order_id,
        broker_order_id=after.broker_order_id,
        ticker=after.ticker,
        status=after.status.value,
        flags=tuple(flag.value for flag in after.flags),
        filled_quantity=after.filled_quantity,
        average_price=after.average_price,
        reason=after.reason,
        user_message=after.user_message,
        row_version=after.row_version,
    )
    await append_event(locked.connection, Topic.EXECUTION_STATUS, str(after.internal_order_id), event)
