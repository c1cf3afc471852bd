"""Our side of a fault run as its judge sees it: signals, orders, bindings, books."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

from schemas.books import DayMoves
from schemas.orders import Action, OrderStatus, OrderType
from schemas.wire import Leg


@dataclass(frozen=True, slots=True)
class Asked:
    """A signal as the gateway stored it, and what was approved of it."""

    signal_id: str
    ticker: str
    action: Action
    order_type: OrderType
    time_in_force: str
    extended_hours: bool
    quantity: Decimal
    stop_price: Decimal | None
    hard_stop_loss: Decimal | None
    approved: bool | None
    """None: not decided."""
    approved_quantity: Decimal | None
    approved_limit_price: Decimal | None


@dataclass(frozen=True, slots=True)
class Row:
    """One order as we keep it."""

    signal_id: str
    leg: Leg
    client_order_id: str | None
    status: OrderStatus
    settled: bool
    filled: Decimal


@dataclass(frozen=True)
class Books:
    """Shares by ticker, and cash in US dollars; beside them what the account has gained or lost."""

    shares: Mapping[str, Decimal]
    cash: Decimal
    moves: tuple[DayMoves, ...] = field(default=(), compare=False)
    """Of ours, since they were opened: from executions and journal alone."""
    prices: Mapping[str, Decimal] = field(default_factory=dict, compare=False)
    """Of the broker's: US dollars a share."""
    gained: Decimal | None = field(default=None, compare=False)
    """Of the broker's: equity less that of the evening before, deposits and withdrawals included."""


@dataclass(frozen=True)
class Ours:
    """Everything on our side that is judged."""

    namespace: UUID
    account: str
    asked: Mapping[str, Asked]
    rows: tuple[Row, ...]
    bound: Mapping[str, tuple[str, Leg]]
    """client_order_id → the signal and leg whose approval it is bound to."""
    books: Books
    overwritten: tuple[str, ...] = ()
    """Tickers whose shares or cash a reconciliation has set to the broker's, for want of an execution."""
