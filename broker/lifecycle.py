"""How one order's state follows from what is learnt about it: ``apply(state, update) -> state``.

Pure and total: no clock, no I/O, and no update raises. What the broker says is kept as evidence
(``raw_status``, ``fills``, ``broker_filled_quantity``) and the status is derived from the evidence, so
late, duplicate, reordered and skipped updates end in the same state. Broker evidence outranks our own
verdict: an order found at the broker leaves REJECTED or FATAL_ERROR for the broker's state.

Order-state rules and the precedence of simultaneous states follow FIX 4.4, volume 4, "Order State Changes".
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import assert_never

from broker.evidence import WORKING, broker_flags, known_status, raw_wins
from broker.executions import add_fill, bust_fill, correct_fill
from schemas.broker import TradeEvent, TradeUpdate
from schemas.orders import BrokerOrder, Fill, OrderFlag, OrderState, OrderStatus


@dataclass(frozen=True, slots=True)
class Submitted:
    """The intent is durable and a POST may be out."""


@dataclass(frozen=True, slots=True)
class OutcomeUnknown:
    """A POST went out and its answer was lost."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Proved not placed: by a check before the POST or by the broker's refusal. ``reason`` is its code."""

    reason: str


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Cancelled before the first POST: it never reached the broker."""

    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Fatal:
    """Proved not at the broker after every permitted try."""

    reason: str


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Somebody asked for the cancel. Means nothing once the order has ended."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """A look-up found our order at the broker."""

    order: BrokerOrder


_OwnWord = Submitted | OutcomeUnknown | Refused | Withdrawn | Fatal
OwnFact = _OwnWord | CancelRequested
Update = OwnFact | Adopted | BrokerOrder | TradeUpdate | Fill
"""Our own facts; a snapshot (POST answer, look-up, listing); a stream message; a row of the fill list."""

_BROKER_FLAGS = frozenset(
    {OrderFlag.PENDING_CANCEL, OrderFlag.PENDING_REPLACE, OrderFlag.DONE_FOR_DAY, OrderFlag.SUSPENDED}
)
_REASONS = {"expired": "expired", "rejected": "rejected"}


def created(quantity: Decimal) -> OrderState:
    """An order nobody has submitted yet. ``quantity`` in shares."""
    return OrderState(status=OrderStatus.CREATED, quantity=quantity)


def has_broker_evidence(state: OrderState) -> bool:
    """Whether the broker has ever shown this order."""
    return state.raw_status is not None or bool(state.fills)


def apply(state: OrderState, update: Update) -> OrderState:
    """The state after ``update``. The same object when nothing changed."""
    match update:
        case Adopted(order=order) | (BrokerOrder() as order):
            after = _snapshot(state, order)
        case TradeUpdate():
            after = _stream_message(state, update)
        case Fill():
            after = _execution(state, update)
        case _:
            after = _own_fact(state, update)
    return state if after == state else after


def _own_fact(state: OrderState, fact: OwnFact) -> OrderState:
    if state.status.is_final:
        return state
    if isinstance(fact, CancelRequested):
        return state.model_copy(update={"flags": state.flags | {OrderFlag.CANCEL_REQUESTED}})
    if has_broker_evidence(state):
        return state
    return state.model_copy(update=_own_change(state, fact))


def _own_change(state: OrderState, fact: _OwnWord) -> dict[str, object]:
    """What our own word changes while the broker has said nothing."""
    match fact:
        case Submitted():
            return {"status": OrderStatus.SUBMITTED}
        case OutcomeUnknown():
            return {"status": OrderStatus.SUBMITTED, "flags": state.flags | {OrderFlag.OUTCOME_UNKNOWN}}
        case Refused(reason=reason):
            return {"status": OrderStatus.REJECTED, "reason": reason, "flags": frozenset()}
        case Withdrawn(reason=reason):
            return {"status": OrderStatus.CANCELED, "reason": reason, "flags": frozenset()}
        case Fatal(reason=reason):
            return {"status": OrderStatus.FATAL_ERROR, "reason": reason, "flags": frozenset()}
        case _:
            assert_never(fact)


def _snapshot(state: OrderState, order: BrokerOrder, *, raw: str | None = None) -> OrderState:
    """Take in the broker's whole order. ``raw`` replaces its status word where an event is ahead of it."""
    followed = _follow(state, order)
    if followed is None:
        return state
    state = followed
    raw = raw or order.raw_status
    change: dict[str, object] = {
        "broker_order_id": order.broker_order_id,
        "replaced_by": order.replaced_by or state.replaced_by,
        "broker_filled_quantity": _told(state, order.filled_quantity),
    }
    older = order.filled_quantity < state.broker_filled_quantity and not _any_busted(state)
    if raw_wins(raw, over=state.raw_status, provably_older=older):
        change["raw_status"] = raw
    return _derive(state.model_copy(update=change))


def _follow(state: OrderState, order: BrokerOrder) -> OrderState | None:
    """The state as of the order that ``order`` is about; None where that is not ours.

    In a replace chain the new order's quantity is the whole one and counts what was executed before (FIX
    cancel/replace). A broker that counts otherwise shows as FILLS_MISSING.
    """
    if state.broker_order_id in (None, order.broker_order_id):
        return state
    if order.broker_order_id != state.replaced_by and order.replaces != state.broker_order_id:
        return None
    if state.raw_status != "replaced" and not _has_taken_over(order):
        return None
    change: dict[str, object] = {
        "broker_order_id": order.broker_order_id,
        "raw_status": None,
        "quantity": order.quantity or state.quantity,
        "replaced_by": None,
    }
    if state.broker_order_id is not None:
        change["former_broker_ids"] = (*state.former_broker_ids, state.broker_order_id)
    return state.model_copy(update=change)


def _has_taken_over(successor: BrokerOrder) -> bool:
    """Whether a successor shows by itself that it works in the old order's place.

    While the venue decides it is pending; where the old order fills first it is rejected, and the old one was ours.
    """
    told = known_status(successor.raw_status)
    return told.rank == WORKING or told.status is OrderStatus.FILLED


def _any_busted(state: OrderState) -> bool:
    return any(fill.busted for fill in state.fills)


def _told(state: OrderState, quantity: Decimal) -> Decimal:
    """The broker's filled quantity once it told ``quantity``; falls only where a bust explains it."""
    if _any_busted(state) and quantity == state.filled_quantity:
        return quantity
    return max(state.broker_filled_quantity, quantity)


def _execution(state: OrderState, fill: Fill) -> OrderState:
    if fill.execution_id is None and fill.activity_id is None:
        return state
    if state.broker_order_id not in (None, fill.broker_order_id) and not _in_chain(state, fill):
        return state
    fills = add_fill(state.fills, fill)
    if fills == state.fills:
        return state
    told = state.broker_filled_quantity
    if not _any_busted(state) and not fill.busted:
        told = max(told, fill.cumulative_quantity)
    change: dict[str, object] = {"fills": fills, "broker_filled_quantity": told}
    if state.broker_order_id is None:
        change["broker_order_id"] = fill.broker_order_id
    return _derive(state.model_copy(update=change))


def _in_chain(state: OrderState, fill: Fill) -> bool:
    return fill.broker_order_id in state.former_broker_ids or any(
        known.broker_order_id == fill.broker_order_id for known in state.fills
    )


def _stream_message(state: OrderState, update: TradeUpdate) -> OrderState:
    order, fill = update.order, update.fill
    followed = _follow(state, order)
    if followed is None:
        return state
    if fill is not None and fill.execution_id is not None:
        match update.event:
            case TradeEvent.TRADE_BUST:
                followed = _after_bust(followed, bust_fill(followed.fills, fill), order)
            case TradeEvent.TRADE_CORRECT:
                followed = _after_bust(followed, correct_fill(followed.fills, fill), order)
            case _:
                followed = _execution(followed, fill)
    raw = None
    if known_status(update.raw_event).is_final and not known_status(order.raw_status).is_final:
        raw = update.raw_event
    return _snapshot(followed, order, raw=raw)


def _after_bust(state: OrderState, fills: tuple[Fill, ...], order: BrokerOrder) -> OrderState:
    if fills == state.fills:
        return state
    change: dict[str, object] = {
        "fills": fills,
        "broker_filled_quantity": order.filled_quantity,
        "broker_order_id": order.broker_order_id,
    }
    if not known_status(order.raw_status).is_final:
        # A bust may put a finished order back to work; nothing else may.
        change["raw_status"] = order.raw_status
    return _derive(state.model_copy(update=change))


def _derive(state: OrderState) -> OrderState:
    """Status, flags and reason from the evidence. Only called with broker evidence."""
    status = _status(state)
    flags = state.flags - {OrderFlag.OUTCOME_UNKNOWN, OrderFlag.FILLS_MISSING}
    if status.is_final:
        flags = frozenset()
    elif (told := broker_flags(state.raw_status)) is not None:
        flags = (flags - _BROKER_FLAGS) | told
    if state.filled_quantity != state.broker_filled_quantity:
        flags |= {OrderFlag.FILLS_MISSING}
    reason = _REASONS.get(state.raw_status or "") if status.is_final else None
    return state.model_copy(update={"status": status, "flags": flags, "reason": reason})


def _status(state: OrderState) -> OrderStatus:
    """FIX precedence of simultaneous states: Filled, Canceled and Expired, Partially Filled, New."""
    executed = state.broker_filled_quantity
    told = known_status(state.raw_status).status
    if told is OrderStatus.FILLED or executed >= state.quantity > 0:
        return OrderStatus.FILLED
    if told is OrderStatus.CANCELED:
        return OrderStatus.CANCELED
    if told is OrderStatus.REJECTED:
        # Shares that did execute are never hidden behind a rejection.
        return OrderStatus.CANCELED if executed else OrderStatus.REJECTED
    return OrderStatus.PARTIALLY_FILLED if executed else OrderStatus.ACKNOWLEDGED
