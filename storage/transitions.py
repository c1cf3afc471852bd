"""One order change, whole: executions, position, order row, reservation, events and audit in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from schemas.audit import AuditEntry
from schemas.base import decimal_text
from schemas.events import ExecutionFill, ExecutionStatus, ExecutionSubmitted
from schemas.orders import Fill, OrderState
from schemas.risk import CheckResult
from schemas.wire import Leg, Topic, event_id
from storage import orders, protection
from storage.events import Queued, append
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
    references: tuple[str, ...] = ()
    """What it rests on, by name: ``approval …``, ``limits …``."""
    user_message: str | None = None
    answers_post: bool = False
    """The broker's answer to the open POST is known with this step."""
    reopens: bool = False
    """The order has ended otherwise than was settled: its workflow settles it anew."""


async def advance(locked: LockedOrder, new: OrderState, step: Step) -> StoredOrder:
    """Move a locked order to ``new``. What changes nothing writes nothing, so a repeat is free.

    Events: one fill per new execution that counts, ``submitted`` when the broker's id is first known, ``status``
    for every change of version. Call it inside the transaction that locked the order.
    """
    before = locked.order
    if new == locked.state and not (step.answers_post and before.post_open):
        return before
    added = await orders.write_executions(locked, new, step.now)
    after = await orders.write_state(
        locked, new, step.now, user_message=step.user_message, answered=step.answers_post,
        reopened=step.reopens,
    )  # fmt: skip
    await protection.follow(locked, after, step.now)
    events = [_filled(after, fill) for fill in added if not fill.busted]
    if before.broker_order_id is None and after.broker_order_id is not None:
        events.insert(0, _submitted(after, step))
    if after.row_version != before.row_version:
        events.append(_status(after, step))
    changed = [
        {"place": place, **fill.model_dump(mode="json")}
        for place, fill in enumerate(new.fills)
        if place >= len(locked.state.fills) or locked.state.fills[place] != fill
    ]
    await append(locked.connection, entry_of(after, step, changed), *events)
    return after


async def advance_or_tell(locked: LockedOrder, new: OrderState, step: Step) -> StoredOrder:
    """As `advance`, with an audit row even where the step changes nothing: that it was taken is what counts."""
    after = await advance(locked, new, step)
    if after is locked.order:
        await audit(locked, after, step)
    return after


async def refuse(locked: LockedOrder, new: OrderState, step: Step, *events: Queued) -> StoredOrder:
    """End an order that does not stand at the broker: state, released reservation and settlement together.

    One that is denied after a part of it was executed leaves shares that want their stop.
    Where the broker has shown the order meanwhile, evidence outranks our verdict: nothing ends.
    """
    if not new.status.is_final:
        return await advance_or_tell(locked, new, step)
    after = await orders.write_state(
        locked, new, step.now, user_message=step.user_message, answered=step.answers_post
    )
    await protection.follow(locked, after, step.now)
    # Settled in the same transaction: by its own words.
    told = entry_of(after.model_copy(update={"settled": True}), step)
    await append(locked.connection, told, *events, _status(after, step))
    return await orders.write_settled(replace(locked, order=after), step.now)


async def settle(locked: LockedOrder, step: Step) -> StoredOrder:
    """Write the outcome of an ended order and give back its reservation. A repeat changes nothing."""
    if locked.order.settled:
        return locked.order
    after = await orders.write_settled(locked, step.now)
    await audit(locked, after, step)
    return after


async def announce(locked: LockedOrder, after: StoredOrder, step: Step) -> None:
    """Tell of a row that another statement has moved already: its status event and audit row."""
    await append(locked.connection, entry_of(after, step), _status(after, step))


async def audit(locked: LockedOrder, after: StoredOrder, step: Step) -> None:
    """Write the audit row of a step that has no event."""
    await append(locked.connection, entry_of(after, step))


def entry_of(after: StoredOrder, step: Step, fills: Sequence[Mapping[str, Any]] = ()) -> AuditEntry:
    """The audit row of one step: the order as the step has left it, so that `audit.rebuild` needs nothing else.

    ``fills``: executions that the step has added or changed, whole, each with its place in the order's record.
    """
    is_entry = after.leg is Leg.ENTRY
    evidence: dict[str, Any] = {
        "detail": step.detail if is_entry else f"{after.leg.value} {after.generation}: {step.detail}",
        "order_id": str(after.internal_order_id),
        "status": after.status.value,
        "row_version": after.row_version,
        "quantity": decimal_text(after.quantity),
        "filled_quantity": decimal_text(after.filled_quantity),
        "client_order_id": after.client_order_id,
        "broker_order_id": after.broker_order_id,
        **_where_set(after),
        **({} if is_entry else {"leg": after.leg.value, "generation": after.generation}),
        **({"fills": fills} if fills else {}),
        **step.evidence,
    }
    return AuditEntry(
        occurred_at=step.now,
        correlation_id=after.signal_id,
        component=step.component,
        actor=step.actor,
        decision=step.decision,
        input=evidence,
        checks=tuple(step.checks),
        references=step.references,
    )


def _where_set(after: StoredOrder) -> dict[str, Any]:
    """What most orders have not, or not yet."""
    told: dict[str, Any] = {
        "flags": [flag.value for flag in after.flags],
        "reason": after.reason,
        "post_count": after.post_count,
        "settled": after.settled,
        "predecessors": list(after.predecessors),
        "replaced_by": after.replaced_by,
        "cancel_requested_by": after.cancel_requested_by,
    }
    return {name: value for name, value in told.items() if value}


def _submitted(after: StoredOrder, step: Step) -> Queued:
    assert after.client_order_id is not None, "an order at the broker has its id"
    assert after.broker_order_id is not None, "asked by the caller"
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
        stop_price=after.stop_price,
        status=after.status.value,
        leg=after.leg.value,
        generation=after.generation,
    )
    return Queued(Topic.EXECUTION_SUBMITTED, str(after.internal_order_id), event)


def _filled(after: StoredOrder, fill: Fill) -> Queued:
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
        replaces=fill.replaces,
        cumulative_quantity=fill.cumulative_quantity,
        leg=after.leg.value,
        generation=after.generation,
    )
    return Queued(Topic.EXECUTION_FILL, str(after.internal_order_id), event)


def _status(after: StoredOrder, step: Step) -> Queued:
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
        leg=after.leg.value,
        generation=after.generation,
    )
    return Queued(Topic.EXECUTION_STATUS, str(after.internal_order_id), event)
