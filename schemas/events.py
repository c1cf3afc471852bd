"""Event payloads, one class per topic. The first six carry the specification's fields."""

import json
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal

from pydantic import TypeAdapter, ValidationError

from schemas.base import NumberText, UtcTime, Wire
from schemas.wire import Topic

POSITION_MAX: Final = 2**63 - 1
_TIME: Final[TypeAdapter[datetime]] = TypeAdapter(UtcTime)


class Event(Wire):
    """What every event says of itself."""

    event_id: str
    timestamp: UtcTime


class SignalCreated(Event):
    signal_id: str
    strategy: str
    ticker: str
    action: str
    order_type: str
    quantity: NumberText
    limit_price: NumberText | None
    hard_stop_loss: NumberText | None
    valid_until: UtcTime
    stop_price: NumberText | None = None


class RiskMetrics(Wire):
    account_exposure_pct: NumberText
    strategy: str


class RiskApproved(Event):
    """What may go out. ``approved_limit_price`` is the worst price risk counted on: it goes out as the limit,
    save for a STOP, which has none. Prices in US dollars."""

    signal_id: str
    ticker: str
    action: str
    approved_quantity: NumberText
    approved_limit_price: NumberText
    hard_stop_loss: NumberText | None = None
    risk_metrics: RiskMetrics
    approval_id: str | None = None
    expires_at: UtcTime | None = None
    kill_epoch: int | None = None
    limits_version: int | None = None
    stop_price: NumberText | None = None
    signature: str | None = None
    """Ed25519 in hexadecimal, over the approval that the audit log holds, by the key ``key_id``."""
    key_id: str | None = None


class RiskRejected(Event):
    signal_id: str
    ticker: str
    action: str
    reasons: tuple[str, ...]
    user_message: str | None = None
    risk_metrics: RiskMetrics


class ExecutionSubmitted(Event):
    """The broker has taken an order. Quantity in shares, prices in US dollars a share."""

    signal_id: str
    internal_order_id: str
    client_order_id: str
    broker_order_id: str
    ticker: str
    action: str
    quantity: NumberText
    limit_price: NumberText | None
    status: str
    stop_price: NumberText | None = None
    leg: str = "entry"
    """entry, stop or exit: an entry's legs are told under its signal."""
    generation: int = 0


class ExecutionFill(Event):
    """One execution. Shares and US dollars a share."""

    internal_order_id: str
    broker_order_id: str
    ticker: str
    fill_price: NumberText
    filled_quantity: NumberText
    """Of this execution."""
    status: str
    signal_id: str | None = None
    execution_id: str | None = None
    replaces: str | None = None
    """The execution that this one corrects: that one counts no more."""
    cumulative_quantity: NumberText | None = None
    leg: str = "entry"
    """entry, stop or exit: an entry's legs are told under its signal."""
    generation: int = 0


class ExecutionStatus(Event):
    """An order's state changed. Quantities in shares, price in US dollars; ``row_version`` orders them."""

    signal_id: str
    internal_order_id: str
    client_order_id: str | None
    broker_order_id: str | None
    ticker: str
    status: str
    flags: tuple[str, ...] = ()
    filled_quantity: NumberText
    average_price: NumberText | None
    reason: str | None = None
    user_message: str | None = None
    row_version: int
    leg: str = "entry"
    """entry, stop or exit: an entry's legs are told under its signal."""
    generation: int = 0


class KillSwitchActivated(Event):
    """The kill switch was engaged, and again once the sweep knows every order's fate."""

    event_id: str = ""
    reason: str
    triggered_by: str
    action_taken: Literal[
        "NEW_ORDERS_BLOCKED_CANCELS_REQUESTED",
        "ALL_OPEN_ORDERS_CANCELED",
        "CANCELS_NOT_ALL_CONFIRMED",
    ]
    epoch: int = 0
    scope: str = "all"
    orders: dict[str, str] = {}
    """client_order_id (or broker id of a foreign order) → cancelled, filled, pending or unknown."""
    unprotected: tuple[str, ...] = ()
    """Tickers held at the broker without a stop for all of it."""


class StateDrift(Event):
    """Our books and the broker's differed; by now ours say what the broker's do. One event a difference.

    Quantities are shares, or US dollars for cash. ``drift`` and ``drift_pct`` are of the whole run.
    """

    run_id: str
    kind: str
    subject: str
    ticker: str | None = None
    local: NumberText | None = None
    broker: NumberText | None = None
    difference: NumberText | None = None
    price: NumberText | None = None
    signal_id: str | None = None
    client_order_id: str | None = None
    broker_order_id: str | None = None
    detail: str
    what_to_do: str
    drift: NumberText | None
    """None, as in the next two, where it is told to who may not know the account."""
    drift_pct: NumberText | None = None
    equity: NumberText | None
    snapshot_at: UtcTime
    """Market time of the reading."""
    kills: bool = False
    """The kill switch is engaged because of this run."""


PAYLOADS: dict[Topic, type[Event]] = {
    Topic.SIGNAL_CREATED: SignalCreated,
    Topic.RISK_APPROVED: RiskApproved,
    Topic.RISK_REJECTED: RiskRejected,
    Topic.EXECUTION_SUBMITTED: ExecutionSubmitted,
    Topic.EXECUTION_FILL: ExecutionFill,
    Topic.EXECUTION_STATUS: ExecutionStatus,
    Topic.KILLSWITCH_ACTIVATED: KillSwitchActivated,
    Topic.STATE_DRIFT: StateDrift,
}


def read_payload(topic: Topic, text: str) -> Event:
    """A payload as whoever published it meant it: numbers are taken digit by digit, never as floats.

    Raises:
        ValueError: it is none of that topic's.
    """
    return PAYLOADS[topic].model_validate(json.loads(text, parse_float=Decimal), strict=False)


def parse_since(text: str) -> int | datetime:
    """Where to begin in the stream of events: a position, or a time with its zone.

    Raises:
        ValueError: neither; the message says what is wrong.
    """
    if text.isascii() and text.isdigit() and int(text) <= POSITION_MAX:
        return int(text)
    if "T" not in text.upper():
        raise ValueError("neither a position nor a time like 2026-11-23T15:15:00Z")
    try:
        return _TIME.validate_python(text)
    except ValidationError as error:
        raise ValueError(f"no position, and as a time: {error.errors()[0]['msg']}") from error
