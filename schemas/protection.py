"""Protection: the shares of one entry that must not be without their stop, and what is done about them."""

from decimal import Decimal
from enum import StrEnum

from schemas.base import DecimalText, UtcTime, Wire
from schemas.kill import KillScope
from schemas.orders import Action, OrderView, Side
from schemas.signals import TimelineEntry
from schemas.wire import Leg


class Obstacle(StrEnum):
    """Why the broker refused a leg, as far as that decides what is done next."""

    WASH = "WASH"
    """An order of ours rests on the other side: it goes first."""
    THROUGH = "THROUGH"
    """The market is past the stop already: an exit takes its place."""
    HELD = "HELD"
    """Another order still holds the shares: once it has let go, the same order again."""
    OTHER = "OTHER"
    """Nobody knows what helps: a person is told, and it is tried on."""


class Protection(Wire):
    """One row of ``protections`` with what its orders have come to. Quantities in shares, never negative."""

    signal_id: str
    strategy: str
    ticker: str
    action: Action
    """What its legs do: SELL_TO_CLOSE for a long entry, BUY_TO_CLOSE for a short one."""
    stop_price: DecimalText
    """US dollars, as approved."""
    filled: DecimalText
    """Of the entry."""
    exited: DecimalText
    """By the legs."""
    given_up: DecimalText = Decimal(0)
    """Taken by closing signals."""
    exiting: bool = False
    obstacle: Obstacle | None = None
    obstacle_detail: str | None = None
    refusals: int = 0
    retry_at: UtcTime | None = None
    uncovered_since: UtcTime | None = None
    created_at: UtcTime
    closed_at: UtcTime | None = None
    kill_engaged: bool = False
    kill_scope: KillScope = KillScope.ALL

    @property
    def lot(self) -> Decimal:
        """Shares of the entry that are still there."""
        return max(Decimal(0), self.filled - self.exited - self.given_up)

    @property
    def leg(self) -> Leg:
        """Which leg stands for them."""
        return Leg.EXIT if self.exiting else Leg.STOP

    @property
    def side(self) -> Side:
        return self.action.side

    @property
    def is_blocked(self) -> bool:
        """Scope ``all`` lets nothing out, not even what only reduces."""
        return self.kill_engaged and self.kill_scope is KillScope.ALL


class Lot(Wire):
    """One protection's shares, for sharing out what is held."""

    signal_id: str
    strategy: str
    quantity: DecimalText
    beyond: DecimalText = Decimal(0)
    """Shares of these beyond what was approved, as somebody made the entry larger at the broker: no leg may stand
    for them.
    """


class Holding(Wire):
    """What one strategy has in the ticker, on the protected side."""

    strategy: str
    held: DecimalText
    """Shares; negative where the strategy is on the other side."""
    closing: DecimalText = Decimal(0)
    """Shares of its closing signals that are approved or at work."""
    closing_since: UtcTime | None = None
    """When the oldest of these came."""


class Act(StrEnum):
    """What protection does next."""

    PLACE = "PLACE"
    RESOLVE = "RESOLVE"
    CANCEL = "CANCEL"
    CLEAR = "CLEAR"
    """Cancel our own risk-adding orders that stand in the stop's way."""
    SETTLE = "SETTLE"
    REFRESH = "REFRESH"
    """Fetch a quote: an exit waits for one, and the stream has brought none."""
    WAIT = "WAIT"
    CLOSED = "CLOSED"


class ProtectInput(Wire):
    """Input of the protection workflow. It can invent nothing: all else is read from rows."""

    signal_id: str
    display: str = ""
    """One line for people: ``stop 95.00 for 10 AAPL · momentum``."""
    timeline: tuple[TimelineEntry, ...] = ()
    """The entry's story so far: its legs go on with it."""


class ProtectQuestion(Wire):
    """Input of ``review-protection`` and ``find-protections``: of which signal, as of which workflow instant."""

    signal_id: str
    as_of: UtcTime


class ProtectView(Wire):
    """Answer of ``review-protection``: how it stands, and the one thing to do now."""

    protection: Protection
    target: DecimalText
    """Shares that a live leg must stand for."""
    covered: DecimalText
    """Shares that one does stand for."""
    beyond: DecimalText = Decimal(0)
    """Shares that are there beyond what was approved: no leg stands for them, and a person is told."""
    act: Act
    orders: tuple[OrderView, ...] = ()
    """What ``act`` is to be done to."""
    leg: OrderView | None = None
    """The newest order of the leg that stands for the shares."""
    why: str = ""
    """For people: what it does or waits for."""
    look_again_seconds: float = 0


class Protections(Wire):
    """Answer of ``find-protections``: the signals whose protection a closing signal must ask for shares."""

    signal_ids: tuple[str, ...] = ()


class ProtectOutcome(Wire):
    """How a protection ended."""

    signal_id: str
    filled: DecimalText
    exited: DecimalText
    given_up: DecimalText


class ProtectReport(Wire):
    """Answer of the ``status`` and ``timeline`` queries."""

    view: ProtectView | None
    waiting_for: str
    timeline: tuple[TimelineEntry, ...] = ()


class LegBasis(Wire):
    """What decides whether a leg may leave: read after the fence is taken and the leg is locked."""

    action: Action
    """The entry's."""
    ticker: str
    strategy: str
    hard_stop_loss: DecimalText | None
    """As approved."""
    filled: DecimalText
    exited: DecimalText
    given_up: DecimalText
    share: DecimalText
    """Shares that its legs may stand for, of what is held and no closing signal has asked for."""
    standing: DecimalText
    """Shares of the entry's other legs that stand at the broker, or may, or were executed and are not told yet."""
    collar_pct: DecimalText | None = None
    kill_engaged: bool
    kill_scope: KillScope
