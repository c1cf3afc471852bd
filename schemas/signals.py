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
    """Yours to choose, and yours for ever: the same id with the same content is the same signal."""
    strategy: Annotated[str, Field(pattern=STRATEGY_PATTERN)]
    """In whose name; the token must be for it."""
    ticker: Annotated[str, Field(pattern=TICKER_PATTERN)]
    action: Action
    """OPEN adds risk, CLOSE takes it away: from long by a sale, from short by a purchase."""
    order_type: OrderType = OrderType.LIMIT
    time_in_force: TimeInForce = TimeInForce.DAY
    """How long the order stands. STOP and STOP_LIMIT: DAY or GTC."""
    quantity: Annotated[DecimalText, Field(gt=0, le=QUANTITY_MAX)]
    """Whole shares."""
    limit_price: Price | None = None
    """US dollars a share, at most two decimals (four below $1). For LIMIT and STOP_LIMIT, and for nothing else."""
    stop_price: Price | None = None
    """US dollars a share, at which a STOP or STOP_LIMIT order begins to work."""
    hard_stop_loss: Price | None = None
    """US dollars a share: a stop that shall stand at the broker for what this entry fills."""
    extended_hours: StrictBool = False
    """Also outside the regular session, where the strategy may: LIMIT and DAY only."""
    created_at: UtcTime
    """With its zone, at most five seconds ahead of our clock. Not traded five minutes later."""
    valid_until: UtcTime | None = None
    """With its zone: not traded later than this, where that is sooner."""
    rationale: Annotated[str, Field(max_length=RATIONALE_MAX_CHARACTERS)] = ""
    """For people. Never read by risk or execution."""
    references: Annotated[
        tuple[Annotated[str, Field(max_length=REFERENCE_MAX_CHARACTERS)], ...],
        Field(max_length=REFERENCES_MAX),
    ] = ()
    """What it rests on, for people."""

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
    """When it was durable here."""
    valid_until: UtcTime
    """It is not traded later than this: at most five minutes after ``created_at``."""
    order: OrderView
    """The order that it asks for, from the first moment on."""
    decision: "DecisionView | None" = None
    """What risk decided; null until it has."""
    legs: tuple[OrderView, ...] = ()
    """The orders that protect what was filled, oldest first."""


class DecisionView(Wire):
    """What risk decided, with each check's arithmetic."""

    approved: bool
    reasons: tuple[str, ...]
    """The checks that failed."""
    checks: tuple[CheckResult, ...]
    quantity: DecimalText
    """Shares that may go out."""
    limit_price: DecimalText
    """US dollars a share: the worst price that risk counted on."""
    account_exposure_pct: DecimalText
    """The account's whole exposure with this order, in % of equity."""
    limits_version: int
    decided_at: UtcTime
    expires_at: UtcTime
    """It is not sent later than this."""
    hard_stop_loss: DecimalText | None = None
    """US dollars: the stop that the approval carries for what this entry fills."""


class TimelineEntry(Wire):
    """One line of a signal's story, from the audit log."""

    at: UtcTime
    component: str
    """Which part of the product decided."""
    actor: str
    """In whose name: a token's, a person's, a process's."""
    decision: str
    detail: str = ""
    """In words, with the numbers."""
    checks: tuple[CheckResult, ...] = ()
