"""What the exchange's ledger says of orders: read once, record by record, into what a judge asks about."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from schemas.wire import CLIENT_ORDER_ID_PREFIX

ENDED: Final = frozenset({"filled", "canceled", "expired", "replaced", "rejected"})
POST_ROUTE: Final = "POST /v2/orders"
LOOK_UP_ROUTE: Final = "GET /v2/orders:by_client_order_id"
NOT_FOUND: Final = 404
RATE_LIMITED: Final = 429
ZERO: Final = Decimal(0)


@dataclass(slots=True)
class BrokerOrder:
    """One order that the exchange accepted; ``ended`` is the record that ended it."""

    seq: int
    order_id: str
    client_order_id: str
    body: Mapping[str, Any]
    """As the exchange made it."""
    status: str
    filled: Decimal = ZERO
    cash: Decimal = ZERO
    """What its executions cost, in US dollars; a sale's is negative."""
    ended: int | None = None

    @property
    def ours(self) -> bool:
        """Whether its name is one that we give."""
        return self.client_order_id.startswith(CLIENT_ORDER_ID_PREFIX)

    def number(self, name: str) -> Decimal | None:
        """A field of it as a number."""
        value = self.body.get(name)
        return None if value is None else Decimal(str(value))

    def overlaps(self, other: "BrokerOrder") -> bool:
        """Whether both stood at the exchange at one moment."""
        first, second = (self, other) if self.seq <= other.seq else (other, self)
        return first.ended is None or first.ended > second.seq


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution as the exchange made it."""

    order: BrokerOrder
    quantity: Decimal
    price: Decimal
    at: datetime

    @property
    def cash(self) -> Decimal:
        """What it cost, in US dollars; a sale's is negative."""
        return self.quantity * self.price * (1 if self.order.body["side"] == "buy" else -1)


@dataclass(frozen=True, slots=True)
class Post:
    """One POST of an order as the exchange received it; ``status`` None: nothing was answered."""

    seq: int
    arrived_after: int
    """The newest record when it came in: a fault may have kept it from landing for a while."""
    client_order_id: str
    status: int | None
    duplicate: bool


@dataclass(slots=True)
class Ledger:
    """Orders by the exchange's id, POSTs and look-ups in order, what was injected, and the last ``seq``."""

    seq: int = 0
    orders: dict[str, BrokerOrder] = field(default_factory=dict)
    posts: list[Post] = field(default_factory=list)
    absent: list[tuple[int, str]] = field(default_factory=list)
    """Look-ups by client_order_id that were answered 404."""
    faults: Counter[str] = field(default_factory=Counter)
    executions: dict[str, Execution] = field(default_factory=dict)
    """Those that count, by the exchange's id."""
    taken_back: dict[str, Execution] = field(default_factory=dict)
    """Those that were busted or corrected, which count for nothing."""

    @property
    def top_orders(self) -> list[BrokerOrder]:
        """Every order that was sent to it: legs that it made itself are left out."""
        return [order for order in self.orders.values() if not order.body.get("parent_id")]

    def add(self, record: Mapping[str, Any]) -> None:
        """Take in one record."""
        self.seq = record["seq"]
        match record["kind"]:
            case "request":
                self._add_request(record)
            case "order_created":
                body = record["order"]
                self.orders[body["id"]] = BrokerOrder(
                    record["seq"], body["id"], body["client_order_id"], body, body["status"]
                )
            case "order_changed":
                order = self.orders[record["order_id"]]
                self._status(order, record["changes"].get("status", order.status), record["seq"])
            case "order_executed":
                self._add_execution(record, record["execution_id"])
                self._status(self.orders[record["order_id"]], record["status"], record["seq"])
            case "execution_busted":
                self._take_back(record["execution_id"])
            case "execution_corrected":
                self._take_back(record["execution_id"])
                self._add_execution(record, record["correction_id"])
            case "fault":
                self.faults[record["action"]] += 1

    def _add_request(self, record: Mapping[str, Any]) -> None:
        route = f"{record['method']} {record['route']}"
        if record.get("fault"):
            self.faults[record["fault"]] += 1
        if route == POST_ROUTE:
            self.posts.append(
                Post(
                    seq=record["seq"],
                    arrived_after=record["arrived_after"],
                    client_order_id=record.get("client_order_id") or "",
                    status=record["status"],
                    duplicate=bool(record.get("duplicate")),
                )
            )
        elif route == LOOK_UP_ROUTE and record["status"] == NOT_FOUND:
            self.absent.append((record["seq"], record.get("client_order_id") or ""))

    def _add_execution(self, record: Mapping[str, Any], execution_id: str) -> None:
        order = self.orders[record["order_id"]]
        made = Execution(
            order, Decimal(record["qty"]), Decimal(record["price"]), datetime.fromisoformat(record["at"])
        )
        order.filled += made.quantity
        order.cash += made.cash
        self.executions[execution_id] = made

    def _take_back(self, execution_id: str) -> None:
        gone = self.taken_back[execution_id] = self.executions.pop(execution_id)
        gone.order.filled -= gone.quantity
        gone.order.cash -= gone.cash

    def _status(self, order: BrokerOrder, status: str, seq: int) -> None:
        order.status = status
        if status in ENDED and order.ended is None:
            order.ended = seq


def read_ledger(records: Iterable[Mapping[str, Any]]) -> Ledger:
    """The whole of it."""
    ledger = Ledger()
    for record in records:
        ledger.add(record)
    return ledger
