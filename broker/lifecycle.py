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

from broker.chain import follow, is_of
from broker.evidence import broker_flags, known_status, raw_wins
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
class Vanished:
    """Proved not at the broker any more, though the broker had shown it."""

    reason: str


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Somebody asked for the cancel. Means nothing once the order has ended."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """A look-up found our order at the broker."""

    order: BrokerOrder


_OwnWord = Submitted | OutcomeUnknown | Refused | Withdrawn | Fatal
OwnFact = _OwnWord | CancelRequested | Vanished
Update = OwnFact | Adopted | BrokerOrder | TradeUpdate | Fill
"""Our own facts; a snapshot (POST answer, look-up, listing); a stream message; a row of the fill list."""

_BROKER_FLAGS = frozenset(
    {OrderFlag.PENDING_CANCEL, OrderFlag.PENDING_REPLACE, OrderFlag.DONE_FOR_DAY, OrderFlag.SUSPENDED}
)
_AMENDS = {TradeEvent.TRADE_BUST: bust_fill, TradeEvent.TRADE_CORRECT: correct_fill}
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
    if isinstance(fact, Vanished):
        # What was executed stays executed, and shares that are counted and not told stay missing.
        missing = state.flags & {OrderFlag.FILLS_MISSING}
        change = {"status": OrderStatus.FATAL_ERROR, "reason": fact.reason, "flags": missing}
        return state.model_copy(update=change)
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


def _snapshot(
    state: OrderState, order: BrokerOrder, *, raw: str | None = None, is_current: bool = True
) -> OrderState:
    """Take in the broker's whole order. ``raw`` replaces its status word where an event is ahead of it.

    ``is_current``: it was just looked up, so that a restated quantity shows; a message may be an old one.
    """
    followed = follow(state, order)
    if followed is None:
        return state
    state = followed
    raw = raw or order.raw_status
    older = order.filled_quantity < state.broker_filled_quantity and not _any_busted(state)
    change: dict[str, object] = {
        "broker_order_id": order.broker_order_id,
        "replaced_by": order.replaced_by or state.replaced_by,
        "broker_filled_quantity": _told(state, order.filled_quantity),
    }
    if is_current and order.quantity is not None and not older:
        change["quantity"] = order.quantity
    reopened = is_current and _reopens(state, order)
    if reopened or raw_wins(raw, over=state.raw_status, provably_older=older):
        change["raw_status"] = raw
    return _derive(state.model_copy(update=change))


def _reopens(state: OrderState, order: BrokerOrder) -> bool:
    """Whether a bust has put a filled order back to work: it works, and counts what the bust has left."""
    return (
        state.raw_status == "filled"
        and _any_busted(state)
        and not known_status(order.raw_status).is_final
        and order.filled_quantity == state.filled_quantity < state.quantity
    )


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
    if not is_of(state, fill.broker_order_id):
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


def _stream_message(state: OrderState, update: TradeUpdate) -> OrderState:
    order, fill = update.order, update.fill
    if fill is not None and fill.broker_order_id != order.broker_order_id:
        fill = None  # It is told of another order than the one it comes with: the list will say whose it is.
    followed = follow(state, order)
    if followed is None:
        return _late(state, update) if order.broker_order_id in state.predecessors else state
    if fill is not None and (fill.execution_id or fill.activity_id):
        if update.event in _AMENDS:
            fills = _AMENDS[update.event](followed.fills, fill)
            if fills == followed.fills:
                # Told again: what it says of the order is of then.
                return followed
            followed = _after_bust(followed, fills, order)
        else:
            followed = _execution(followed, fill)
            if any(each.busted and each.execution_id == fill.execution_id for each in followed.fills):
                # Told again, or late: it is of before its bust or correction, and so is its status.
                return followed
    raw = None
    if known_status(update.raw_event).is_final and not known_status(order.raw_status).is_final:
        raw = update.raw_event
    is_current = update.event is TradeEvent.RESTATED or order.raw_status == "filled"
    return _snapshot(followed, order, raw=raw, is_current=is_current)


def _late(state: OrderState, update: TradeUpdate) -> OrderState:
    """What is told of the order as it was before its replacement: its executions still count."""
    fill = update.fill
    if fill is None or not (fill.execution_id or fill.activity_id):
        return state
    if update.event not in _AMENDS:
        return _execution(state, fill)
    fills = _AMENDS[update.event](state.fills, fill)
    if fills == state.fills:
        return state
    amended = state.model_copy(update={"fills": fills})
    told = state.broker_filled_quantity + amended.filled_quantity - state.filled_quantity
    return _derive(amended.model_copy(update={"broker_filled_quantity": max(told, Decimal(0))}))


def _after_bust(state: OrderState, fills: tuple[Fill, ...], order: BrokerOrder) -> OrderState:
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
