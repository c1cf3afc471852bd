"""Our books against the broker's: what one reading holds, what is found, and how a run ends."""

from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Final

from schemas.base import DecimalText, UtcTime, Wire
from schemas.broker import CashActivity
from schemas.orders import BrokerOrder, Fill

EXTERNAL: Final = "EXTERNAL"
"""The strategy of shares and orders that none of ours made. Strategies' own names are lower case."""
CASH: Final = "$CASH"
"""The ticker under which cash that belongs to no share is booked. No listed ticker has a dollar sign."""


class DriftKind(StrEnum):
    """In what way our books and the broker's differ."""

    MISSED_FILL = "MISSED_FILL"
    """An execution of our order that nobody told us."""
    EXTERNAL_FILL = "EXTERNAL_FILL"
    """An execution of an order that is not ours."""
    FILL_TAKEN_BACK = "FILL_TAKEN_BACK"
    """An execution that the broker no longer lists, and whose shares it no longer holds."""
    POSITION_ONLY_THERE = "POSITION_ONLY_THERE"
    POSITION_ONLY_HERE = "POSITION_ONLY_HERE"
    POSITION_BIGGER_THERE = "POSITION_BIGGER_THERE"
    POSITION_SMALLER_THERE = "POSITION_SMALLER_THERE"
    CASH = "CASH"
    ORDER_ENDED_THERE = "ORDER_ENDED_THERE"
    """Open here, ended at the broker."""
    ORDER_OPEN_THERE = "ORDER_OPEN_THERE"
    """Ended or unknown here, open at the broker under our id or in our replace chain."""
    ORDER_UNKNOWN_THERE = "ORDER_UNKNOWN_THERE"
    """Open here, and the broker does not know it."""
    EXTERNAL_ORDER = "EXTERNAL_ORDER"
    """Open at the broker and not ours."""
    FOREIGN_INSTALLATION = "FOREIGN_INSTALLATION"
    """An order with our prefix that this installation never made."""


class Holding(Wire):
    """Shares of one ticker at the broker, signed, and US dollars a share."""

    ticker: str
    quantity: DecimalText
    price: DecimalText
    """What the difference is valued at."""
    average_price: DecimalText
    """What they cost, as the broker says."""
    last_day_price: DecimalText | None = None
    """At the close before the trading day."""


class SeenFill(Wire):
    """An execution that the broker lists and our books do not have."""

    fill: Fill
    ours: bool
    age_seconds: float
    """Real seconds, as the reading began."""

    @property
    def shares(self) -> Decimal:
        """Signed."""
        return self.fill.quantity if self.fill.side.value == "buy" else -self.fill.quantity

    @property
    def cash(self) -> Decimal:
        """US dollars it brought (sells) or cost (buys, negative)."""
        return -self.shares * self.fill.price


class Owner(StrEnum):
    """Whose order it is, as far as ids and replace chains tell."""

    OURS = "ours"
    EXTERNAL = "external"
    FOREIGN = "foreign"
    """Our prefix without our row."""


class Place(StrEnum):
    """How an order stands in one of the two books."""

    OPEN = "open"
    ENDED = "ended"
    UNKNOWN = "unknown"


class SeenOrder(Wire):
    """One order of which at least one side says that it is open."""

    broker_order_id: str
    client_order_id: str
    ticker: str
    owner: Owner
    here: Place
    there: Place
    known: bool = False
    """An external order that an earlier run has stored."""
    signal_id: str | None = None
    raw_status: str = ""
    text: str = ""
    """One line for people: ``buy 10 AAPL limit 180.5``."""
    age_seconds: float = 0.0
    """Real seconds since the broker last changed it (or we did, where the broker does not know it)."""


class BrokerState(Wire):
    """One reading of the broker, whole, during which nothing moved."""

    market_at: UtcTime
    """Market time as the reading began: every execution up to here is in it."""
    cash: DecimalText
    equity: DecimalText
    holdings: tuple[Holding, ...]
    fills: tuple[SeenFill, ...] = ()
    """Only those that our books lack, oldest first."""
    activities: tuple[CashActivity, ...] = ()
    """Fees, dividends and deposits that our books lack."""
    orders: tuple[SeenOrder, ...] = ()
    external: tuple[BrokerOrder, ...] = ()
    """Every open order that is not ours."""
    day: date | None = None
    """The trading day that began last, New York; None where no calendar tells."""
    day_began_at: UtcTime | None = None
    """Market time."""


class Held(Wire):
    """Shares of one ticker in our books, by strategy."""

    ticker: str
    strategy: str
    quantity: DecimalText


class Books(Wire):
    """What Σ executions + Σ journal entries come to."""

    held: tuple[Held, ...] = ()
    cash: DecimalText = Decimal(0)
    """US dollars over everything."""
    opened: bool = False
    """The broker's state was imported once."""
    marks: dict[str, DecimalText] = {}
    """US dollars a share, for tickers that the broker no longer holds."""
    unlisted: tuple[Fill, ...] = ()
    """Executions that the broker should list and does not."""
    unexplained: DecimalText = Decimal(0)
    """US dollars that overwrites of the last days have booked and that nothing has explained since."""
    opened_on: date | None = None
    """New York date of the import: what the broker lists of that day or before may be in it."""


class Graces(Wire):
    """How long what is on its way is left out."""

    fill_seconds: float
    order_seconds: float


class Finding(Wire):
    """One difference. ``here`` and ``there`` are shares, or US dollars for cash."""

    kind: DriftKind
    subject: str
    """A ticker, ``$CASH``, an order's or an execution's id: with ``kind`` it names the difference."""
    ticker: str | None = None
    here: DecimalText | None = None
    there: DecimalText | None = None
    difference: DecimalText | None = None
    price: DecimalText | None = None
    fill: Fill | None = None
    broker_order_id: str | None = None
    client_order_id: str | None = None
    signal_id: str | None = None
    detail: str = ""
    do: str = ""
    """What a person should do about it."""

    @property
    def identity(self) -> tuple[str, str, Decimal | None]:
        """What must be the same in two readings for the difference to stand.

        Of a position not its kind: "bigger" turns into "only there" where both sides trade on meanwhile.
        """
        unexplained = self.difference is not None and self.fill is None
        return ("" if unexplained else self.kind.value, self.subject, self.difference)


class Comparison(Wire):
    """What one reading came to."""

    findings: tuple[Finding, ...] = ()
    left_out: int = 0
    """Fills and orders too young to be judged."""
    drift: DecimalText = Decimal(0)
    """US dollars: max(Σ |Δ shares| × price, |Δ cash|), before anything is adopted."""
    late: dict[str, DecimalText] = {}
    """Of listed activities, by id, US dollars that an overwrite has booked already: they are reversed with it."""
    waiting: tuple[str, ...] = ()
    """Activities that may be late, while executions on their way keep cash from being judged: not booked yet."""


class Outcome(StrEnum):
    """How a run ended. The first three leave books that agree with the broker's."""

    CLEAN = "CLEAN"
    OPENED = "OPENED"
    """The first one: the broker's state was imported."""
    DRIFT = "DRIFT"
    UNSETTLED = "UNSETTLED"
    """No two readings agreed."""
    FAILED = "FAILED"
    """The broker could not be read. Nothing was changed."""

    @property
    def is_good(self) -> bool:
        """Whether the books agree with the broker's after it."""
        return self in (Outcome.CLEAN, Outcome.OPENED, Outcome.DRIFT)


class ReconcileInput(Wire):
    """Input of the reconciliation workflow."""

    trigger: str = "schedule"


class SnapshotOrder(Wire):
    """Input of ``read-broker-state`` and ``overwrite-books``: which reading of which run."""

    run_id: str
    number: int
    trigger: str
    as_of: UtcTime


class EndRun(Wire):
    """Input of ``end-reconciliation``: a run that came to nothing."""

    run_id: str
    trigger: str
    outcome: Outcome
    detail: str
    as_of: UtcTime


class Report(Wire):
    """How a run ended: its row."""

    run_id: str
    trigger: str
    outcome: Outcome
    started_at: UtcTime
    finished_at: UtcTime
    findings: tuple[Finding, ...] = ()
    drift: DecimalText = Decimal(0)
    equity: DecimalText | None = None
    left_out: int = 0
    booked: int = 0
    """Fees, dividends and deposits booked before anything was compared."""
    killed: bool = False
    detail: str = ""
    found: int = 0
    """How many findings there are where only the first are told."""

    @property
    def drift_pct(self) -> Decimal | None:
        """In % of the account's equity, rounded to 1/1000 for people."""
        if self.equity is None or self.equity <= 0:
            return None
        return round(100 * self.drift / self.equity, 3)


class StepAnswer(Wire):
    """Answer of a reading or an overwrite: the finished run, or what to do next."""

    report: Report | None = None
    confirmed: bool = False
    """The same differences stood in the reading before: overwrite."""
    look_again_seconds: float = 0.0
    findings: int = 0
