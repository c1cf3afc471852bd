"""Signals: what a strategy may propose, and what it is told back."""

from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, Self

from pydantic import Field, StrictBool, field_validator, model_validator

from schemas.base import PRICE_MAX, QUANTITY_MAX, DecimalText, Edge, UtcTime, Wire
from schemas.orders import Action, OrderType, OrderView, TimeInForce
from schemas.risk import CheckResult, Proposal

SIGNAL_ID_PATTERN: Final = r"^[A-Za-z0-9._-]{1,64}$"
RESERVED_SIGNAL_IDS: Final = frozenset({
    "access", "alert-channels", "approvals-asked", "audit", "broker", "builds", "clock", "equity",
    "kill-switch", "limits", "reconciliation", "retention", "symbol-locks", "trade-updates",
})  # fmt: skip
"""Names of the system's own stories in the audit log: a signal of this name could read them as its own."""
STRATEGY_PATTERN: Final = r"^[a-z0-9][a-z0-9_.-]{0,63}$"
TICKER_PATTERN: Final = r"^[A-Z][A-Z0-9]{0,9}(\.[A-Z]{1,2})?$"
"""ASCII only, so that a look-alike letter is refused and not traded."""

VALIDITY_MAX: Final = timedelta(minutes=5)
"""A signal older than this is never traded, whatever it says of itself."""

RATIONALE_MAX_CHARACTERS: Final = 4000
REFERENCES_MAX: Final = 20
REFERENCE_MAX_CHARACTERS: Final = 200
DOLLAR: Final = Decimal(1)

STOP_LIFETIMES: Final = (TimeInForce.DAY, TimeInForce.GTC)
"""IOC and FOK ask for an execution at once, which a resting stop cannot give (Alpaca refuses them)."""

FIELDS_SINCE: Final = frozenset({"stop_price"})
"""Fields that came after the first release."""

Price = Annotated[DecimalText, Field(gt=0, le=PRICE_MAX)]


def check_tick(price: Decimal) -> Decimal:
    """At $1 and above two decimals, below it four (SEC Rule 612, as Alpaca applies it).

    Raises:
        ValueError: the price lies between two ticks.
    """
    decimals = 2 if price >= DOLLAR else 4
    if price != round(price, decimals):
        raise ValueError(f"sub-penny price: at {price} at most {decimals} decimals are allowed")
    return price


class SignalIn(Edge):
    """One proposed trade. Unknown fields are refused by name; prices and quantities are best sent as strings."""

    signal_id: Annotated[str, Field(pattern=SIGNAL_ID_PATTERN)]
    strategy: Annotated[str, Field(pattern=STRATEGY_PATTERN)]
    ticker: Annotated[str, Field(pattern=TICKER_PATTERN)]
    action: Action
    order_type: OrderType = OrderType.LIMIT
    time_in_force: TimeInForce = TimeInForce.DAY
    quantity: Annotated[DecimalText, Field(gt=0, le=QUANTITY_MAX)]
    limit_price: Price | None = None
    stop_price: Price | None = None
    """At which a STOP or STOP_LIMIT order begins to work."""
    hard_stop_loss: Price | None = None
    extended_hours: StrictBool = False
    created_at: UtcTime
    valid_until: UtcTime | None = None
    rationale: Annotated[str, Field(max_length=RATIONALE_MAX_CHARACTERS)] = ""
    """For people. Never read by risk or execution."""
    references: Annotated[
        tuple[Annotated[str, Field(max_length=REFERENCE_MAX_CHARACTERS)], ...],
        Field(max_length=REFERENCES_MAX),
    ] = ()

    @field_validator("quantity")
    @classmethod
    def _whole_shares(cls, value: Decimal) -> Decimal:
        if value != value.to_integral_value():
            raise ValueError("whole shares only")
        return value

    @field_validator("limit_price", "stop_price", "hard_stop_loss")
    @classmethod
    def _on_tick(cls, value: Decimal | None) -> Decimal | None:
        return None if value is None else check_tick(value)

    @model_validator(mode="after")
    def _fields_fit_type(self) -> Self:
        kind = self.order_type
        if kind.has_limit and self.limit_price is None:
            raise ValueError(f"limit_price: a {kind.value} order needs one")
        if not kind.has_limit and self.limit_price is not None:
            raise ValueError(f"limit_price: a {kind.value} order takes none; risk bounds its worst price")
        if kind.has_stop and self.stop_price is None:
            raise ValueError(f"stop_price: a {kind.value} order needs one")
        if not kind.has_stop and self.stop_price is not None:
            raise ValueError(f"stop_price: a {kind.value} order takes none")
        if kind.has_stop and self.time_in_force not in STOP_LIFETIMES:
            raise ValueError(f"time_in_force: a {kind.value} order is DAY or GTC")
        if self.valid_until is not None and self.valid_until <= self.created_at:
            raise ValueError("valid_until: must be later than created_at")
        return self

    @property
    def content(self) -> dict[str, Any]:
        """What two requests must share to be the same signal.

        Fields of ``FIELDS_SINCE`` count only where set, so that the hash of an older signal stays what it was.
        """
        told = self.model_dump(mode="json")
        return {name: value for name, value in told.items() if name not in FIELDS_SINCE or value is not None}


class SignalRow(Wire):
    """A signal as stored: what was asked, by whom, until when."""

    proposal: Proposal
    token_id: str
    content_hash: str
    received_at: UtcTime
    traceparent: str | None = None


class SignalView(Wire):
    """A signal with all that became of it."""

    signal_id: str
    strategy: str
    created_at: UtcTime
    received_at: UtcTime
    valid_until: UtcTime
    order: OrderView
    decision: "DecisionView | None" = None
    legs: tuple[OrderView, ...] = ()
    """The orders that protect what was filled, oldest first."""


class DecisionView(Wire):
    """What risk decided, with each check's arithmetic."""

    approved: bool
    reasons: tuple[str, ...]
    checks: tuple[CheckResult, ...]
    quantity: DecimalText
    limit_price: DecimalText
    account_exposure_pct: DecimalText
    limits_version: int
    decided_at: UtcTime
    expires_at: UtcTime
    hard_stop_loss: DecimalText | None = None
    """US dollars: the stop that the approval carries for what this entry fills."""


class TimelineEntry(Wire):
    """One line of a signal's story, from the audit log."""

    at: UtcTime
    component: str
    actor: str
    decision: str
    detail: str = ""
    checks: tuple[CheckResult, ...] = ()
