"""Orders: what is asked of the broker, what the broker says, and the state between them."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Final
from uuid import UUID

from pydantic import Field

from schemas.base import DecimalText, UtcTime, Wire, dollars_text
from schemas.wire import Leg


class Action(StrEnum):
    """What the trade does to the position, as in FIX PositionEffect plus Side."""

    BUY_TO_OPEN = "BUY_TO_OPEN"
    SELL_TO_CLOSE = "SELL_TO_CLOSE"
    SELL_TO_OPEN = "SELL_TO_OPEN"
    BUY_TO_CLOSE = "BUY_TO_CLOSE"

    @property
    def side(self) -> "Side":
        return Side.BUY if self in (Action.BUY_TO_OPEN, Action.BUY_TO_CLOSE) else Side.SELL

    @property
    def opens(self) -> bool:
        """Whether it adds risk; the others only reduce a position."""
        return self in (Action.BUY_TO_OPEN, Action.SELL_TO_OPEN)

    @property
    def words(self) -> str:
        """As traders say it."""
        return _WORDS[self]


_WORDS = {
    Action.BUY_TO_OPEN: "buy",
    Action.SELL_TO_CLOSE: "sell",
    Action.SELL_TO_OPEN: "sell short",
    Action.BUY_TO_CLOSE: "buy to cover",
}


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    """What a signal may ask for. A stop rests until the market touches its stop price.

    STOP then executes at market; the broker turns a buy STOP into a stop-limit a few per cent above the stop.
    STOP_LIMIT then works as a limit order.
    """

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP = "STOP"
    STOP_LIMIT = "STOP_LIMIT"

    @property
    def has_limit(self) -> bool:
        """Whether its signal names a limit price."""
        return self in (OrderType.LIMIT, OrderType.STOP_LIMIT)

    @property
    def has_stop(self) -> bool:
        """Whether its signal names a stop price."""
        return self in (OrderType.STOP, OrderType.STOP_LIMIT)


def price_line(side: Side, limit_price: Decimal | None, stop_price: Decimal | None) -> str:
    """An order's prices for people: ``market``, ``≤ 180.50``, ``stop 181.00``, ``stop 181.00 limit 181.50``."""
    if stop_price is not None:
        stop = f"stop {dollars_text(stop_price)}"
        return stop if limit_price is None else f"{stop} limit {dollars_text(limit_price)}"
    if limit_price is None:
        return "market"
    return f"{'≤' if side is Side.BUY else '≥'} {dollars_text(limit_price)}"


class TimeInForce(StrEnum):
    DAY = "DAY"
    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"


class OrderStatus(StrEnum):
    """The lifecycle. SUBMITTED: the intent is durable and a POST may be out."""

    CREATED = "CREATED"
    SUBMITTED = "SUBMITTED"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    REJECTED = "REJECTED"
    CANCELED = "CANCELED"
    FATAL_ERROR = "FATAL_ERROR"

    @property
    def is_final(self) -> bool:
        return self in _FINAL


_FINAL = frozenset({OrderStatus.FILLED, OrderStatus.REJECTED, OrderStatus.CANCELED, OrderStatus.FATAL_ERROR})


class OrderFlag(StrEnum):
    """What is true of an order beside its status."""

    PENDING_CANCEL = "pending_cancel"
    PENDING_REPLACE = "pending_replace"
    OUTCOME_UNKNOWN = "outcome_unknown"
    DONE_FOR_DAY = "done_for_day"
    SUSPENDED = "suspended"
    FILLS_MISSING = "fills_missing"
    CANCEL_REQUESTED = "cancel_requested"


class OrderRequest(Wire):
    """The canonical order request: exactly what goes to the broker, nothing the broker would default."""

    internal_order_id: str
    client_order_id: Annotated[str, Field(min_length=1, max_length=128)]
    ticker: str
    action: Action
    order_type: OrderType
    time_in_force: TimeInForce
    quantity: DecimalText
    limit_price: DecimalText | None
    """US dollars. A MARKET signal goes out as a limit at the approved worst price; only a STOP has none."""
    stop_price: DecimalText | None = None
    """US dollars. Set for STOP and STOP_LIMIT."""
    extended_hours: bool = False

    @property
    def side(self) -> Side:
        return self.action.side

    @property
    def sent_type(self) -> str:
        """The type as the broker is told it. A MARKET signal goes out as a limit order."""
        sent = OrderType.LIMIT if self.order_type is OrderType.MARKET else self.order_type
        return sent.value.lower()


class BrokerOrder(Wire):
    """One order as the broker tells it, parsed: Decimals exact, times aware, raw status kept."""

    broker_order_id: str
    client_order_id: str
    ticker: str
    side: Side
    raw_type: str
    raw_time_in_force: str
    raw_status: str
    quantity: DecimalText | None
    """None for a notional order, which is never ours."""
    filled_quantity: DecimalText
    filled_average_price: DecimalText | None = None
    limit_price: DecimalText | None = None
    stop_price: DecimalText | None = None
    order_class: str = ""
    extended_hours: bool = False
    created_at: UtcTime
    updated_at: UtcTime | None = None
    submitted_at: UtcTime | None = None
    replaced_by: str | None = None
    replaces: str | None = None
    legs: tuple[str, ...] = ()
    """Broker ids of child orders."""
    notional: DecimalText | None = None
    """US dollars of an order that names no quantity."""


CORRECTED_SUFFIX: Final = "/corrected"
"""Makes a correction that has no id of its own an execution beside the one it corrects."""


class Fill(Wire):
    """One execution. At least one of the two ids is known.

    The stream names executions by ``execution_id``, the broker's activity list by ``activity_id``; that
    the two agree is documented nowhere, so they are joined by order, cumulative quantity, quantity and price.
    """

    execution_id: str | None = None
    activity_id: str | None = None
    broker_order_id: str
    ticker: str
    side: Side
    quantity: DecimalText
    price: DecimalText
    cumulative_quantity: DecimalText
    """The order's filled quantity after this execution, as the broker counts it."""
    executed_at: UtcTime
    busted: bool = False
    """Taken back by the exchange; stays in the record and counts for nothing."""
    correction_id: str | None = None
    """In a correction as the stream tells it: its own id, beside that of the execution it corrects."""
    corrects: str | None = None
    """In the record: the execution whose place this one takes."""

    @property
    def replaces(self) -> str | None:
        """The execution that this one corrects: it counts no more."""
        if self.corrects is not None:
            return self.corrects
        corrected, suffix, _ = (self.execution_id or "").partition(CORRECTED_SUFFIX)
        return corrected if suffix else None


class OrderState(Wire):
    """All that decides an order's status: the pure input and output of ``broker.lifecycle.apply``.

    Invariant (FIX): ``quantity == filled_quantity + leaves_quantity`` and leaves are zero once final.
    """

    status: OrderStatus
    quantity: DecimalText
    flags: frozenset[OrderFlag] = frozenset()
    broker_order_id: str | None = None
    raw_status: str | None = None
    fills: tuple[Fill, ...] = ()
    """In order of first arrival. Busted ones stay."""
    broker_filled_quantity: DecimalText = Decimal(0)
    """The highest cumulative quantity the broker has told, whether or not each fill has arrived."""
    reason: str | None = None
    replaced_by: str | None = None
    predecessors: tuple[str, ...] = ()
    """Broker ids that this order had before it was replaced, oldest first: their executions count."""

    @property
    def filled_quantity(self) -> Decimal:
        """Shares of the executions we hold. May trail ``broker_filled_quantity`` while one is on its way."""
        return sum((fill.quantity for fill in self.fills if not fill.busted), Decimal(0))

    @property
    def average_price(self) -> Decimal | None:
        """US dollars a share over the executions held, unrounded; None before the first."""
        quantity = self.filled_quantity
        if not quantity:
            return None
        return (
            sum((fill.quantity * fill.price for fill in self.fills if not fill.busted), Decimal(0)) / quantity
        )

    @property
    def leaves_quantity(self) -> Decimal:
        """Shares that may still execute (FIX LeavesQty)."""
        return Decimal(0) if self.status.is_final else self.quantity - self.filled_quantity


class OrderView(Wire):
    """An order as a workflow and a person see it: the row, with its version.

    Of two views the one with the higher ``row_version`` is the later truth.
    """

    signal_id: str
    leg: Leg = Leg.ENTRY
    """entry, or the stop or exit that protects what the entry has filled."""
    generation: int = 0
    """Counts a leg's orders, as each change of size is another order."""
    internal_order_id: UUID
    client_order_id: str | None = None
    """The id at the broker that we chose; null until the order may leave."""
    broker_order_id: str | None = None
    """The id at the broker that the broker chose; null until it has answered."""
    ticker: str
    action: Action
    strategy: str = ""
    order_type: OrderType = OrderType.LIMIT
    time_in_force: TimeInForce = TimeInForce.DAY
    quantity: DecimalText
    """Shares asked for."""
    limit_price: DecimalText | None = None
    """US dollars a share, as the signal asked."""
    stop_price: DecimalText | None = None
    """US dollars a share, as the signal asked."""
    hard_stop_loss: DecimalText | None = None
    """US dollars: the approved stop that the shares get when this entry has ended."""
    status: OrderStatus
    flags: tuple[OrderFlag, ...] = ()
    """What is true of it beside its status."""
    raw_status: str | None = None
    """The broker's own word."""
    filled_quantity: DecimalText = Decimal(0)
    """Shares."""
    average_price: DecimalText | None = None
    """US dollars a share, over all its executions."""
    reason: str | None = None
    """Why it ended otherwise than filled: the check or the broker's error, as a code."""
    user_message: str | None = None
    """The same for people."""
    post_count: int = 0
    """How often it was sent."""
    may_stand: bool = False
    """A POST was made and nothing proves that the broker does not hold it."""
    cancel_requested_by: str | None = None
    row_version: int
    """Counts the changes of this row."""
    settled: bool = False
    """The outcome is written and what was left of the reservation released."""
    created_at: UtcTime
    updated_at: UtcTime


class CancelAnswer(StrEnum):
    """What a cancel request came to. A bool cannot say "unknown"."""

    REQUESTED = "REQUESTED"
    TOO_LATE = "TOO_LATE"
    UNKNOWN_ORDER = "UNKNOWN_ORDER"
    UNKNOWN_OUTCOME = "UNKNOWN_OUTCOME"
