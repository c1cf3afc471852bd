"""What happened to the account, in the order it happened: the only way the book ever changes.

The ledger stores these; replaying them rebuilds the book exactly.
"""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Discriminator, TypeAdapter
from typing_extensions import TypedDict

from simulation.orders import ZERO, Order, Status


class OrderChanges(TypedDict, total=False):
    """The fields of an order that may change after it was accepted."""

    status: Status
    updated_at: datetime
    expires_at: datetime
    canceled_at: datetime
    expired_at: datetime
    failed_at: datetime
    replaced_at: datetime
    cancel_requested_at: datetime
    replaced_by: str
    stop_price: Decimal
    limit_price: Decimal
    hwm: Decimal
    triggered: bool
    reserve_price: Decimal
    qty: Decimal
    filled_qty: Decimal
    filled_value: Decimal
    parent_id: str
    took_over: bool


@dataclass(frozen=True, slots=True)
class AccountConfiguration:
    """What the account's owner may choose about it."""

    no_shorting: bool = False
    suspend_trade: bool = False
    fractional_trading: bool = True
    max_margin_multiplier: Literal["1", "2", "4"] = "4"
    trade_confirm_email: Literal["all", "none"] = "none"
    ptp_no_exception_entry: bool = False
    max_options_trading_level: int | None = None


@dataclass(frozen=True, slots=True)
class AccountOpened:
    at: datetime
    account_id: str
    account_number: str
    cash: Decimal
    multiplier: int
    shorting_enabled: bool = True
    kind: Literal["account_opened"] = "account_opened"


@dataclass(frozen=True, slots=True)
class OrderCreated:
    """``event`` is the trade update's name: pending_new, accepted or held."""

    at: datetime
    event_id: str
    event: str
    order: Order
    kind: Literal["order_created"] = "order_created"


@dataclass(frozen=True, slots=True)
class OrderChanged:
    """``event`` is the trade update's name, empty for a change nobody is told about."""

    at: datetime
    event_id: str
    event: str
    order_id: str
    changes: OrderChanges
    execution_id: str | None = None
    kind: Literal["order_changed"] = "order_changed"


@dataclass(frozen=True, slots=True)
class OrderExecuted:
    """``qty`` shares at ``price``; ``status`` is the order's afterwards.

    ``quote_at``: the moment of the quote it met, so that a judge can look that up; ledgers of old lack it.
    """

    at: datetime
    event_id: str
    order_id: str
    execution_id: str
    activity_id: str
    qty: Decimal
    price: Decimal
    status: Status
    quote_at: datetime | None = None
    kind: Literal["order_executed"] = "order_executed"


@dataclass(frozen=True, slots=True)
class ExecutionBusted:
    """The venue takes an execution back; ``told``: whether a trade update says so."""

    at: datetime
    event_id: str
    order_id: str
    execution_id: str
    bust_id: str
    told: bool = True
    kind: Literal["execution_busted"] = "execution_busted"


@dataclass(frozen=True, slots=True)
class ExecutionCorrected:
    """The venue puts another execution, with ids of its own, in an execution's place."""

    at: datetime
    event_id: str
    order_id: str
    execution_id: str
    correction_id: str
    activity_id: str
    qty: Decimal
    price: Decimal
    told: bool = True
    kind: Literal["execution_corrected"] = "execution_corrected"


@dataclass(frozen=True, slots=True)
class AccountAdjusted:
    """Shares or cash that moved without a trade; with an ``activity_type`` the activity list shows it."""

    at: datetime
    activity_id: str
    cash: Decimal = ZERO
    symbol: str | None = None
    qty: Decimal = ZERO
    price: Decimal = ZERO
    activity_type: str | None = None
    description: str = ""
    kind: Literal["account_adjusted"] = "account_adjusted"


@dataclass(frozen=True, slots=True)
class DayStarted:
    """A trading day begins: equity and marks of the evening before become the day's base."""

    at: datetime
    day: date
    last_equity: Decimal
    marks: dict[str, Decimal]
    kind: Literal["day_started"] = "day_started"


@dataclass(frozen=True, slots=True)
class EquityMarked:
    """What the account was worth at that minute; the portfolio history is made of these."""

    at: datetime
    equity: Decimal
    kind: Literal["equity_marked"] = "equity_marked"


@dataclass(frozen=True, slots=True)
class AccountConfigured:
    at: datetime
    configuration: AccountConfiguration
    kind: Literal["account_configured"] = "account_configured"


@dataclass(frozen=True, slots=True)
class Watchlist:
    id: str
    name: str
    symbols: tuple[str, ...]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class WatchlistSaved:
    at: datetime
    watchlist: Watchlist
    kind: Literal["watchlist_saved"] = "watchlist_saved"


@dataclass(frozen=True, slots=True)
class WatchlistDeleted:
    at: datetime
    watchlist_id: str
    kind: Literal["watchlist_deleted"] = "watchlist_deleted"


BookEvent = (
    AccountOpened
    | OrderCreated
    | OrderChanged
    | OrderExecuted
    | ExecutionBusted
    | ExecutionCorrected
    | AccountAdjusted
    | DayStarted
    | EquityMarked
    | AccountConfigured
    | WatchlistSaved
    | WatchlistDeleted
)
BOOK_EVENT_KINDS: frozenset[str] = frozenset(
    {
        "account_opened",
        "order_created",
        "order_changed",
        "order_executed",
        "execution_busted",
        "execution_corrected",
        "account_adjusted",
        "day_started",
        "equity_marked",
        "account_configured",
        "watchlist_saved",
        "watchlist_deleted",
    }
)
_ADAPTER: TypeAdapter[BookEvent] = TypeAdapter(Annotated[BookEvent, Discriminator("kind")])


def encode(event: BookEvent) -> bytes:
    return _ADAPTER.dump_json(event, exclude_none=True)


def decode(record: object) -> BookEvent:
    """The event of a ledger record (a dict, extra keys allowed).

    Raises pydantic.ValidationError if the record is no book event.
    """
    return _ADAPTER.validate_python(record)
