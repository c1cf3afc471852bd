"""Accounts, positions, clocks and stream messages as the broker port tells them."""

from datetime import date
from enum import StrEnum

from schemas.base import DecimalText, UtcTime, Wire
from schemas.orders import BrokerOrder, Fill, Side

TRANSFERS = frozenset({"CSD", "CSW", "CSR", "JNL", "JNLC", "ACATC", "TRANS", "WIRE"})
"""Activity types of money that comes into the account or leaves it (Alpaca's words)."""


class Account(Wire):
    """The broker's view of the account. Money in US dollars."""

    account_id: str
    account_number: str
    status: str
    currency: str = "USD"
    cash: DecimalText
    equity: DecimalText
    last_equity: DecimalText
    """Equity at the previous session's close."""
    buying_power: DecimalText
    non_marginable_buying_power: DecimalText | None = None
    long_market_value: DecimalText | None = None
    short_market_value: DecimalText | None = None
    multiplier: DecimalText | None = None
    shorting_enabled: bool = False
    tradable: bool
    """ACTIVE and none of the four blocks set."""


class Position(Wire):
    """One position. ``quantity`` is signed: negative is short."""

    ticker: str
    quantity: DecimalText
    quantity_available: DecimalText | None = None
    average_entry_price: DecimalText
    market_value: DecimalText | None = None
    current_price: DecimalText | None = None
    last_day_price: DecimalText | None = None
    """At the close before the trading day."""
    side: Side


class CashActivity(Wire):
    """Cash that moved without a trade: a fee, a dividend, interest, a deposit. US dollars, signed."""

    activity_id: str
    activity_type: str
    """The broker's word: FEE, DIV, INT, CSD, …"""
    amount: DecimalText
    day: date
    ticker: str | None = None
    description: str = ""

    @property
    def is_transfer(self) -> bool:
        """Money that was paid in or out: no gain and no loss."""
        return self.activity_type in TRANSFERS


class BrokerClock(Wire):
    """The market's clock as the broker tells it."""

    timestamp: UtcTime
    is_open: bool
    """Regular session only."""
    next_open: UtcTime
    next_close: UtcTime
    waited_seconds: float = 0.0
    """Real seconds from asking until the question left us, as for a request of the budget: no part of its way."""


class CalendarDay(Wire):
    """One trading day. Times are absolute: the exchange's New York hours, converted."""

    day: date
    open: UtcTime
    close: UtcTime
    session_open: UtcTime
    """Start of the extended session (04:00 New York)."""
    session_close: UtcTime
    """End of the extended session (20:00 New York, 17:00 on early closes)."""


class TradeEvent(StrEnum):
    """Events of the broker's update stream that change an order. Others are read as ``OTHER``."""

    ACCEPTED = "accepted"
    PENDING_NEW = "pending_new"
    NEW = "new"
    PARTIAL_FILL = "partial_fill"
    FILL = "fill"
    CANCELED = "canceled"
    EXPIRED = "expired"
    DONE_FOR_DAY = "done_for_day"
    REPLACED = "replaced"
    REJECTED = "rejected"
    PENDING_CANCEL = "pending_cancel"
    PENDING_REPLACE = "pending_replace"
    STOPPED = "stopped"
    SUSPENDED = "suspended"
    CALCULATED = "calculated"
    RESTATED = "restated"
    HELD = "held"
    ORDER_CANCEL_REJECTED = "order_cancel_rejected"
    ORDER_REPLACE_REJECTED = "order_replace_rejected"
    TRADE_BUST = "trade_bust"
    TRADE_CORRECT = "trade_correct"
    OTHER = "other"


class TradeUpdate(Wire):
    """One message of the trade-updates stream."""

    event: TradeEvent
    raw_event: str
    event_id: str | None = None
    """ULID, lexically increasing."""
    at: UtcTime
    order: BrokerOrder
    fill: Fill | None = None
    """Set on fill and partial_fill, and on busts and corrections (the execution they refer to)."""
