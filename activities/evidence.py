"""What the broker says of an order, brought to its row: from the stream, the fill list and look-ups alike."""

import time
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final, TypeAlias

from activities.identity import conflict_in, stop_everything
from activities.telling import MS_PER_SECOND, tell_of_evidence
from broker import lifecycle
from risk.messages import UserMessage
from schemas.alerts import Alert, AlertCode, Severity
from schemas.base import decimal_text
from schemas.broker import TradeEvent, TradeUpdate
from schemas.kill import KillCommand, KillScope
from schemas.orders import BrokerOrder, Fill, OrderFlag, OrderState, OrderStatus
from schemas.wire import Leg
from storage.alerts import raise_alert
from storage.orders import (
    LockedOrder,
    StoredOrder,
    lock_by_broker_id,
    lock_by_chain,
    raise_reservation_price,
    restore_reservation,
)
from storage.switches import sweep_again
from storage.transitions import Step, advance, audit
from storage.watch import note_message

if TYPE_CHECKING:
    from storage.database import Connection, Database

Evidence: TypeAlias = TradeUpdate | BrokerOrder | Fill

COMPONENT: Final = "BrokerWatcher"
RAW_NAME_MAX: Final = 60
"""Letters of an unknown event's name that go into the name of a decision; the audit row holds the whole."""

_CORRECTIONS: Final = frozenset({TradeEvent.TRADE_BUST, TradeEvent.TRADE_CORRECT})
_ORDINARY: Final = frozenset(
    {
        TradeEvent.ACCEPTED,
        TradeEvent.PENDING_NEW,
        TradeEvent.NEW,
        TradeEvent.PARTIAL_FILL,
        TradeEvent.FILL,
        TradeEvent.CANCELED,
        TradeEvent.EXPIRED,
        TradeEvent.REJECTED,
        TradeEvent.PENDING_CANCEL,
        TradeEvent.PENDING_REPLACE,
    }
)
"""All that these say is in the state. Any other message is told in the order's story even if it changes nothing."""


@dataclass(frozen=True)
class Taken:
    """An order after evidence, and whether its workflow should hear of it."""

    order: StoredOrder
    news: bool
    filled: Decimal = Decimal(0)
    """Shares that it has brought; below 0 where the exchange took some back."""

    @property
    def is_told(self) -> bool:
        """Whether a workflow waits for it: the order's own, or after its end the one that protects its shares."""
        order = self.order
        protects = order.leg is not Leg.ENTRY or order.hard_stop_loss is not None
        return self.news and (protects or not order.settled)


async def take_in(database: "Database", evidence: Evidence, *, now: datetime, source: str) -> Taken | None:
    """Apply one piece of evidence in one transaction. Idempotent: what is known already writes nothing.

    Returns:
        The order after it, or None when neither the order nor what it replaced is ours.
    """
    began = time.perf_counter()
    taken = await database.run(
        "evidence.taken_in", lambda connection: _take_in(connection, evidence, now, source)
    )
    if taken is not None and taken.news:
        tell_of_evidence(taken.order, taken.filled, source, MS_PER_SECOND * (time.perf_counter() - began))
    return taken


async def _take_in(connection: "Connection", evidence: Evidence, now: datetime, source: str) -> Taken | None:
    found = _order_in(evidence)
    locked = await lock_by_broker_id(connection, *_ids(evidence))
    if locked is None:
        locked = await _lock_by_chain(connection, evidence)
    if locked is None:
        return None
    conflict = conflict_in(locked, found) if found is not None else None
    if found is not None and conflict is not None:
        await stop_everything(locked, found, conflict, now)
        return Taken(locked.order, news=False)
    after = await bring(locked, evidence, now=now, source=source)
    if locked.order.status.is_final and not after.status.is_final:
        await _sweep_again(locked, after, now)
    return Taken(
        after.model_copy(update={"traceparent": locked.order.traceparent}),
        news=after.row_version != locked.order.row_version,
        filled=after.filled_quantity - locked.order.filled_quantity,
    )


async def _sweep_again(locked: LockedOrder, after: StoredOrder, now: datetime) -> None:
    """It works again at the broker: an engaged kill switch must cancel it, though its sweep was confirmed."""
    name = _subject(after)
    command = KillCommand(
        reason=f"{name} had ended and works again at the broker",
        triggered_by=COMPONENT,
        scope=KillScope.RISK_ADDING,  # As wide as it is: a repeat never narrows.
    )
    request_id = f"reopened-{name}-{after.row_version}"
    await sweep_again(locked.connection, name, command, request_id=request_id, now=now, component=COMPONENT)


async def _lock_by_chain(connection: "Connection", evidence: Evidence) -> LockedOrder | None:
    """Lock the order that this one replaced, or that was replaced since; None when neither is ours."""
    found = _order_in(evidence)
    replaces = found.replaces if found is not None else None
    return await lock_by_chain(connection, _ids(evidence)[0], replaces or "")


async def bring(locked: LockedOrder, evidence: Evidence, *, now: datetime, source: str) -> StoredOrder:
    """Apply evidence to a locked order. Evidence outranks our verdict, so an ended order may open again."""
    before, new = locked.state, lifecycle.apply(locked.state, evidence)
    ours = not lifecycle.has_broker_evidence(before) or before.status is OrderStatus.FATAL_ERROR
    late = before.status.is_final and ours and new != before
    found = _order_in(evidence)
    reserve_price = _replaced_at(found)
    step = Step(
        now=now,
        component=COMPONENT,
        actor=source,
        decision=_decision(evidence),
        detail=describe(evidence, before, new),
        evidence={
            "source": source,
            "told": evidence.model_dump(mode="json"),
            **({} if reserve_price is None else {"reserved_at_least_at": decimal_text(reserve_price)}),
        },
        user_message=UserMessage.PARTIAL_FILLS if new.status is OrderStatus.PARTIALLY_FILLED else None,
        answers_post=locked.order.post_open,
        reopens=late or OrderFlag.FILLS_MISSING in new.flags,
    )
    after = await advance(locked, new, step)
    if locked.order.settled and not after.settled:
        await restore_reservation(locked, _expected(new))
    if reserve_price is not None:
        await raise_reservation_price(locked, reserve_price)
    if isinstance(evidence, TradeUpdate) and evidence.event not in _ORDINARY:
        await _note(locked, evidence, after if new != before else None, step)
    if late:
        await raise_alert(locked.connection, _late_truth(before, after), component=COMPONENT, now=now)
    return after


def _replaced_at(found: BrokerOrder | None) -> Decimal | None:
    """The worst price of an order that has taken the place of ours; None where none has."""
    if found is None or found.replaces is None:
        return None
    return max((price for price in (found.limit_price, found.stop_price) if price is not None), default=None)


def _expected(state: OrderState) -> Decimal:
    """Shares that may still come: for an ended order those that the broker counts and we do not hold."""
    executed = state.broker_filled_quantity if state.status.is_final else state.quantity
    return max(executed - state.filled_quantity, Decimal(0))


async def _note(locked: LockedOrder, update: TradeUpdate, after: StoredOrder | None, step: Step) -> None:
    """Tell once of a message that is no matter of course. ``after``: the order where it has changed it."""
    key = update.event_id or f"{update.order.broker_order_id} {update.raw_event} {update.at.isoformat()}"
    first = await note_message(locked.connection, locked.order, key, step.now)
    if after is not None and update.event in _CORRECTIONS:
        await raise_alert(locked.connection, _correction(update, after), component=COMPONENT, now=step.now)
    elif first and after is None:
        await audit(locked, locked.order, step)


def _correction(update: TradeUpdate, order: StoredOrder) -> Alert:
    fill = update.fill
    what = "took back" if update.event is TradeEvent.TRADE_BUST else "corrected"
    execution = f"{decimal_text(fill.quantity)} at {decimal_text(fill.price)}" if fill else "an execution"
    return Alert(
        code=AlertCode.BUST_OR_CORRECTION,
        severity=Severity.HIGH,
        subject=(fill.execution_id if fill else None) or _subject(order),
        text=(
            f"the exchange {what} an execution of {order.ticker} ({execution}): position and order were adjusted, "
            f"{decimal_text(order.filled_quantity)} of {decimal_text(order.quantity)} stay filled; check what was "
            "traded on it"
        ),
        correlation_id=order.signal_id,
    )


def _late_truth(before: OrderState, order: StoredOrder) -> Alert:
    reason = f" ({before.reason})" if before.reason else ""
    return Alert(
        code=AlertCode.LATE_TRUTH,
        severity=Severity.CRITICAL,
        subject=_subject(order),
        text=(
            f"the broker holds an order that was closed here as {before.status.value}{reason}: it is "
            f"{order.raw_status or order.status.value} with {decimal_text(order.filled_quantity)} of "
            f"{decimal_text(order.quantity)} {order.ticker} filled; it is followed again, cancel it if it is not "
            "wanted"
        ),
        correlation_id=order.signal_id,
    )


def _subject(order: StoredOrder) -> str:
    return order.client_order_id or order.signal_id


def _ids(evidence: Evidence) -> tuple[str, str]:
    match evidence:
        case TradeUpdate(order=order) | (BrokerOrder() as order):
            return order.broker_order_id, order.client_order_id
        case Fill(broker_order_id=broker_order_id):
            return broker_order_id, ""


def _order_in(evidence: Evidence) -> BrokerOrder | None:
    match evidence:
        case TradeUpdate(order=order) | (BrokerOrder() as order):
            return order
        case Fill():
            return None


def _decision(evidence: Evidence) -> str:
    match evidence:
        case TradeUpdate(raw_event=raw) | BrokerOrder(raw_status=raw):
            return f"BROKER_{raw[:RAW_NAME_MAX].upper()}"
        case Fill():
            return "BROKER_FILL"


def describe(evidence: Evidence, before: OrderState, after: OrderState) -> str:
    """One line for people."""
    if after.filled_quantity != before.filled_quantity:
        fill = next((each for each in reversed(after.fills) if not each.busted), None)
        last = f"{fill.quantity} at {fill.price}; " if fill else ""
        return f"{last}{after.filled_quantity} of {after.quantity} filled"
    told = after.raw_status or "nothing more"
    if isinstance(evidence, TradeUpdate):
        told = evidence.raw_event
    elif isinstance(evidence, BrokerOrder):
        told = evidence.raw_status
    if after.status is before.status:
        return f"the broker says {told}"
    return f"{before.status.value} → {after.status.value}, the broker says {told}"
