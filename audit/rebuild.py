"""Orders, executions and books from the audit log alone: pure functions over its rows.

Each row of an order tells the order as its step has left it, with the executions that the step has added or
changed; each journal entry has a row of its own. So an order's last row is its state, and the sum is the books.
"""

import json
import operator
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from schemas.orders import Fill, OrderStatus, Side
from schemas.wire import Leg

CREATED_BY: Final = "SIGNAL_ACCEPTED"
BOOKED: Final = "BOOKED"
ZERO: Final = Decimal(0)


class BadLine(Exception):
    """A line of an export that is none; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Line:
    """One audit row, as far as it tells of orders and books."""

    id: int
    occurred_at: datetime
    correlation_id: str
    decision: str
    payload: Mapping[str, Any] | None
    """None: it lies in cold storage, and the row alone says little."""


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Names an order of ours."""

    signal_id: str
    leg: Leg = Leg.ENTRY
    generation: int = 0

    def __str__(self) -> str:
        return (
            self.signal_id
            if self.leg is Leg.ENTRY
            else f"{self.signal_id} {self.leg.value} {self.generation}"
        )


@dataclass(frozen=True, slots=True)
class Moment:
    """One row of an order's story."""

    audit_id: int
    at: datetime
    decision: str
    status: OrderStatus
    row_version: int


@dataclass(slots=True)
class Order:
    """An order as its rows tell it."""

    key: Key
    terms: dict[str, Any]
    """What it was made as: strategy, ticker, action, type, prices."""
    status: OrderStatus = OrderStatus.CREATED
    order_id: str | None = None
    client_order_id: str | None = None
    broker_order_id: str | None = None
    predecessors: tuple[str, ...] = ()
    quantity: Decimal | None = None
    filled_quantity: Decimal = ZERO
    """As the rows say; `Rebuilt.doubts` tells where the executions come to something else."""
    settled: bool = False
    request: Mapping[str, Any] | None = None
    """What was sent, once something was about to be."""
    fills: dict[int, Fill] = field(default_factory=dict)
    """By place in the order's record; busted ones stay."""
    history: list[Moment] = field(default_factory=list)

    @property
    def counted(self) -> list[Fill]:
        """The executions that count."""
        return [fill for _, fill in sorted(self.fills.items()) if not fill.busted]

    @property
    def executed(self) -> Decimal:
        """Shares that they come to."""
        return sum((fill.quantity for fill in self.counted), ZERO)


@dataclass(frozen=True, slots=True)
class Booked:
    """One journal entry."""

    entry_id: int
    cause: str
    ticker: str
    strategy: str
    quantity: Decimal
    cash: Decimal


@dataclass(slots=True)
class Position:
    """Shares and US dollars of one ticker and strategy."""

    quantity: Decimal = ZERO
    cash: Decimal = ZERO


@dataclass
class Rebuilt:
    """What the audit log tells."""

    orders: dict[Key, Order] = field(default_factory=dict)
    journal: dict[int, Booked] = field(default_factory=dict)
    rows: int = 0
    without_payload: list[int] = field(default_factory=list)
    """Ids of rows whose payload is in cold storage: what they changed is not in here."""
    doubts: list[str] = field(default_factory=list)
    """Where rows contradict one another."""

    @property
    def by_client_id(self) -> dict[str, Order]:
        """Orders that were about to be sent, or were."""
        return {
            each.client_order_id: each for each in self.orders.values() if each.client_order_id is not None
        }

    def positions(self) -> dict[tuple[str, str], Position]:
        """Σ executions + Σ journal entries, by ticker and strategy; what is nothing is left out."""
        found: dict[tuple[str, str], Position] = defaultdict(Position)
        for order in self.orders.values():
            for fill in order.counted:
                held = found[fill.ticker, str(order.terms.get("strategy"))]
                sign = 1 if fill.side is Side.BUY else -1
                held.quantity += sign * fill.quantity
                held.cash -= sign * fill.quantity * fill.price
        for entry in self.journal.values():
            held = found[entry.ticker, entry.strategy]
            held.quantity += entry.quantity
            held.cash += entry.cash
        return {key: each for key, each in sorted(found.items()) if each.quantity or each.cash}

    def shares(self) -> dict[str, Decimal]:
        """Net shares by ticker."""
        found: dict[str, Decimal] = defaultdict(Decimal)
        for (ticker, _), each in self.positions().items():
            found[ticker] += each.quantity
        return {ticker: quantity for ticker, quantity in found.items() if quantity}

    def cash(self) -> Decimal:
        """US dollars over everything."""
        return sum((each.cash for each in self.positions().values()), ZERO)


def rebuild(lines: Iterable[Line]) -> Rebuilt:
    """Read the rows in their order. Total: what a row does not say is left as it was, and told in ``doubts``."""
    found = Rebuilt()
    for line in lines:
        found.rows += 1
        if line.payload is None:
            found.without_payload.append(line.id)
            continue
        try:
            _read(found, line, line.payload)
        except (ValueError, KeyError, TypeError, AttributeError, InvalidOperation) as error:
            found.doubts.append(
                f"row {line.id}, {line.decision}, is not as the product writes it ({type(error).__name__}: {error})"
            )
    return found


def _read(found: Rebuilt, line: Line, payload: Mapping[str, Any]) -> None:
    if line.decision == CREATED_BY:
        _accept(found, payload)
    elif line.decision == BOOKED:
        _book(found, payload)
    elif "row_version" in payload:
        _step(found, line, payload)


def _accept(found: Rebuilt, payload: Mapping[str, Any]) -> None:
    terms = dict(payload["signal"])
    key = Key(terms["signal_id"])
    quantity = Decimal(terms["quantity"])
    found.orders[key] = Order(key, terms, order_id=payload.get("order_id"), quantity=quantity)


def _book(found: Rebuilt, payload: Mapping[str, Any]) -> None:
    entry = Booked(
        entry_id=payload["entry_id"],
        cause=payload["cause"],
        ticker=payload["ticker"],
        strategy=payload["strategy"],
        quantity=Decimal(payload["quantity"]),
        cash=Decimal(payload["cash"]),
    )
    if entry.entry_id in found.journal:
        found.doubts.append(f"journal entry {entry.entry_id} was booked twice")
    found.journal[entry.entry_id] = entry


def _step(found: Rebuilt, line: Line, payload: Mapping[str, Any]) -> None:
    key = Key(line.correlation_id, Leg(payload.get("leg", Leg.ENTRY)), payload.get("generation", 0))
    order = found.orders.get(key)
    if order is None:
        order = found.orders[key] = Order(key, {})
        if key.leg is Leg.ENTRY:
            found.doubts.append(f"{key}: its rows begin with {line.decision}, not with its signal")
        else:
            # A leg is of its entry's strategy; what else it is, its own rows say.
            entry = found.orders.get(Key(key.signal_id))
            order.terms["strategy"] = entry.terms.get("strategy") if entry else None
    order.terms |= payload.get("terms", {})
    order.status = OrderStatus(payload["status"])
    order.order_id = payload.get("order_id", order.order_id)
    order.client_order_id = payload["client_order_id"]
    order.broker_order_id = payload["broker_order_id"]
    order.predecessors = tuple(payload.get("predecessors", ()))
    order.settled = payload.get("settled", False)
    order.filled_quantity = Decimal(payload["filled_quantity"])
    if "quantity" in payload:
        order.quantity = Decimal(payload["quantity"])
    if "request" in payload:
        order.request = payload["request"]
    for told in payload.get("fills", ()):
        _execute(order, told)
    order.history.append(
        Moment(line.id, line.occurred_at, line.decision, order.status, payload["row_version"])
    )
    if order.executed != order.filled_quantity:
        found.doubts.append(
            f"{key}: row {line.id} says {order.filled_quantity} filled, its executions come to {order.executed}"
        )


def _execute(order: Order, told: Mapping[str, Any]) -> None:
    fill = Fill.model_validate({name: value for name, value in told.items() if name != "place"})
    order.fills[told.get("place", len(order.fills))] = fill


def parse_lines(texts: Iterable[str], *, name: str) -> Iterator[Line]:
    """The rows of an export, one JSON object a line; ``name`` is the file's, for errors.

    Raises:
        BadLine: one is no audit row.
    """
    for number, text in enumerate(texts, start=1):
        try:
            row = json.loads(text)
            yield Line(
                id=operator.index(row["id"]),
                occurred_at=datetime.fromisoformat(row["occurred_at"]),
                correlation_id=row["correlation_id"],
                decision=row["decision"],
                payload=None if row["payload"] is None else json.loads(row["payload"]),
            )
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadLine(f"{name}, line {number}: no audit row ({type(error).__name__}: {error})") from error


def in_order(parts: Sequence[Sequence[Line]]) -> list[Line]:
    """The rows of several exports, each row once, in the order in which they were written."""
    return [line for _, line in sorted({line.id: line for part in parts for line in part}.items())]
