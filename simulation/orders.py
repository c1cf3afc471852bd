"""The order as the exchange keeps it, and as it goes out on the wire."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from simulation.wire import plain, plain_or_none, rfc3339, rfc3339_or_none, rounded

Side = Literal["buy", "sell"]
OrderType = Literal["market", "limit", "stop", "stop_limit", "trailing_stop"]
TimeInForce = Literal["day", "gtc", "ioc", "fok", "opg", "cls"]
OrderClass = Literal["", "bracket", "oco", "oto"]
PositionIntent = Literal["buy_to_open", "buy_to_close", "sell_to_open", "sell_to_close"]
Status = Literal[
    "pending_new",
    "accepted",
    "new",
    "held",
    "partially_filled",
    "pending_cancel",
    "pending_replace",
    "filled",
    "canceled",
    "expired",
    "replaced",
    "rejected",
]

TERMINAL: frozenset[str] = frozenset({"filled", "canceled", "expired", "replaced", "rejected"})
WORKING: frozenset[str] = frozenset({"new", "partially_filled", "pending_cancel", "pending_replace"})
ZERO = Decimal(0)


def opposite(side: Side) -> Side:
    return "sell" if side == "buy" else "buy"


@dataclass(frozen=True, slots=True)
class Order:
    """One order; quantities in shares, prices in US dollars, moments in the exchange's time."""

    id: str
    client_order_id: str
    symbol: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    position_intent: PositionIntent
    status: Status
    created_at: datetime
    submitted_at: datetime
    updated_at: datetime
    expires_at: datetime
    # What one share of an opening order takes from buying power until it is filled.
    reserve_price: Decimal = ZERO
    # Shares a notional sale may take from the position: it has no quantity of its own.
    notional_qty: Decimal = ZERO
    qty: Decimal | None = None
    notional: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    hwm: Decimal | None = None
    triggered: bool = False
    extended_hours: bool = False
    order_class: OrderClass = ""
    # The entry of the group this order is a leg of, and the first order of its chain of replacements.
    parent_id: str | None = None
    chain_id: str | None = None
    filled_qty: Decimal = ZERO
    filled_value: Decimal = ZERO
    filled_at: datetime | None = None
    expired_at: datetime | None = None
    canceled_at: datetime | None = None
    failed_at: datetime | None = None
    replaced_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    replaced_by: str | None = None
    replaces: str | None = None
    took_over: bool = False

    def changed(self, at: datetime, changes: Mapping[str, Any]) -> "Order":
        """The order with these fields changed at that moment."""
        return replace(self, **{"updated_at": at, **changes})

    def as_successor(
        self, *, order_id: str, client_order_id: str, expires_at: datetime, now: datetime
    ) -> "Order":
        """These terms as a new order that shall replace this one."""
        return replace(
            self,
            id=order_id,
            client_order_id=client_order_id,
            expires_at=expires_at,
            status="held" if self.status == "held" else "pending_new",
            created_at=now,
            submitted_at=now,
            updated_at=now,
            replaces=self.id,
            took_over=False,
            chain_id=self.chain_id or self.id,
        )

    @property
    def is_open(self) -> bool:
        return self.status not in TERMINAL

    @property
    def is_working(self) -> bool:
        return self.status in WORKING

    @property
    def opens(self) -> bool:
        return self.position_intent in ("buy_to_open", "sell_to_open")

    @property
    def leaves_qty(self) -> Decimal:
        """Shares still to execute; 0 once terminal, and for a notional order, which has no quantity."""
        return ZERO if self.qty is None or not self.is_open else self.qty - self.filled_qty

    @property
    def claimed_qty(self) -> Decimal:
        """Shares of the position that this order, if it closes, may still take."""
        if self.notional is None:
            return self.leaves_qty
        return self.notional_qty - self.filled_qty if self.is_open else ZERO

    @property
    def is_replacing(self) -> bool:
        """Whether it still waits to take another order's place; its terms are then that order's business."""
        return self.status == "pending_new" and self.replaces is not None and not self.took_over

    @property
    def reserved(self) -> Decimal:
        """Buying power held by this order, in US dollars."""
        if not self.is_open or not self.opens or self.status == "held" or self.is_replacing:
            return ZERO
        if self.notional is not None:
            return max(ZERO, self.notional - self.filled_value)
        return self.leaves_qty * self.reserve_price

    @property
    def filled_avg_price(self) -> Decimal | None:
        return rounded(self.filled_value / self.filled_qty) if self.filled_qty else None


def order_json(order: Order, asset_id: str, legs: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """The broker's order object; numbers are strings, what is not set is null."""
    return {
        "id": order.id,
        "client_order_id": order.client_order_id,
        "created_at": rfc3339(order.created_at),
        "updated_at": rfc3339(order.updated_at),
        "submitted_at": rfc3339(order.submitted_at),
        "filled_at": rfc3339_or_none(order.filled_at),
        "expired_at": rfc3339_or_none(order.expired_at),
        "expires_at": rfc3339(order.expires_at),
        "canceled_at": rfc3339_or_none(order.canceled_at),
        "failed_at": rfc3339_or_none(order.failed_at),
        "replaced_at": rfc3339_or_none(order.replaced_at),
        "replaced_by": order.replaced_by,
        "replaces": order.replaces,
        "asset_id": asset_id,
        "symbol": order.symbol,
        "asset_class": "us_equity",
        "notional": plain_or_none(order.notional),
        "qty": plain_or_none(order.qty),
        "filled_qty": plain(order.filled_qty),
        "filled_avg_price": plain_or_none(order.filled_avg_price),
        "order_class": order.order_class,
        "order_type": order.type,
        "type": order.type,
        "side": order.side,
        "position_intent": order.position_intent,
        "time_in_force": order.time_in_force,
        "limit_price": plain_or_none(order.limit_price),
        "stop_price": plain_or_none(order.stop_price),
        "status": order.status,
        "extended_hours": order.extended_hours,
        "legs": legs,
        "trail_percent": plain_or_none(order.trail_percent),
        "trail_price": plain_or_none(order.trail_price),
        "hwm": plain_or_none(order.hwm),
        "subtag": None,
        "source": None,
    }
