"""What crosses Temporal: inputs and answers of workflows, activities, signals, updates and queries."""

from enum import StrEnum

from schemas.base import UtcTime, Wire
from schemas.orders import CancelAnswer, OrderStatus, OrderView
from schemas.signals import TimelineEntry
from schemas.wire import Leg


class OrderInput(Wire):
    """Input of the order workflow. It can invent nothing: all else is read from the signal's row."""

    signal_id: str
    display: str = ""
    """One line for people: ``buy 10 AAPL ≤ 180.50 · momentum``."""


class OrderOutcome(Wire):
    """How an order ended."""

    signal_id: str
    status: OrderStatus
    filled_quantity: str
    average_price: str | None = None
    reason: str | None = None


class OrderQuestion(Wire):
    """Input of every step that judges time: which order, as of which workflow instant."""

    signal_id: str
    as_of: UtcTime
    leg: Leg = Leg.ENTRY
    generation: int | None = None
    """None: the leg's newest."""


class RiskQuestion(OrderQuestion):
    """Input of ``assess-risk``."""

    refreshes: int = 0
    """How often quote and snapshot were fetched for it. After the last one it decides with what there is."""


class EndOrder(Wire):
    """Input of ``refuse-order``: end an order that never reached the broker."""

    signal_id: str
    as_of: UtcTime
    status: OrderStatus
    """REJECTED, or CANCELED where a person asked for it."""
    reason: str
    actor: str = "system"
    leg: Leg = Leg.ENTRY
    generation: int | None = None


class PreTradeAnswer(Wire):
    """What ``check-pre-trade`` found. Passed results are valid for 10 s."""

    passed: bool
    order: OrderView


class PlaceKind(StrEnum):
    PLACED = "PLACED"
    """It stands at the broker."""
    ENDED = "ENDED"
    """Refused with proof that it does not stand at the broker."""
    UNKNOWN = "UNKNOWN"
    """It may stand at the broker: resolve it."""
    RECHECK = "RECHECK"
    """The pre-trade result is too old: check again."""


class PlaceAnswer(Wire):
    kind: PlaceKind
    order: OrderView


class ResolveKind(StrEnum):
    FOUND = "FOUND"
    ABSENT = "ABSENT"
    """Proved: no POST of this order stands at the broker. The same id may be sent again."""
    ENDED = "ENDED"
    """Proved absent after the last allowed POST."""
    UNKNOWN = "UNKNOWN"


class ResolveAnswer(Wire):
    kind: ResolveKind
    order: OrderView
    ask_again_seconds: float = 0


class CancelCommand(Wire):
    """Input of the ``cancel-order`` update."""

    actor: str
    reason: str = ""


class CancelReply(Wire):
    answer: CancelAnswer
    status: OrderStatus
    message: str


class CancelStep(Wire):
    """Input of the ``cancel-order`` activity."""

    signal_id: str
    as_of: UtcTime
    actor: str
    reason: str
    leg: Leg = Leg.ENTRY
    generation: int | None = None
    unconfirmed_at_bell: bool = False
    """The bell has rung without the broker's word on an earlier cancel: a person is told."""


class SessionAnswer(Wire):
    """How far the bells are, in real seconds (market seconds over the replay speed)."""

    closes_in_seconds: float | None
    """Until the bell that ends this order's session; None while that session is closed."""
    opens_in_seconds: float | None
    """Until the next session; None while it is open."""


class OrderReport(Wire):
    """Answer of the ``status`` query."""

    order: OrderView | None
    waiting_for: str
    timeline: tuple[TimelineEntry, ...] = ()


class StreamInput(Wire):
    """Input of the trade-updates workflow and its activity."""

    run: int = 0
