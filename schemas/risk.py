"""Risk: limits, the facts a decision is made from, each check's arithmetic, the decision."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field

from schemas.base import DecimalText, Edge, UtcTime, Wire
from schemas.conduct import Conduct
from schemas.locks import SymbolLock
from schemas.market import Provider, Quote
from schemas.orders import Action, OrderType, OrderView, Side, TimeInForce

Percent = Annotated[DecimalText, Field(gt=0, le=1000, decimal_places=9)]
"""Per cent: 5 means 5 %."""
Dollars = Annotated[DecimalText, Field(gt=0, max_digits=24, decimal_places=9)]
Shares = Annotated[DecimalText, Field(gt=0, max_digits=24, decimal_places=9)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
WindowSeconds = Annotated[int, Field(ge=1, le=86_400)]


class Limits(Edge):
    """One version of the account's limits. Every field is required: a missing limit stops start-up."""

    max_order_notional: Dollars
    max_order_quantity: Shares
    price_collar_pct: Percent
    """How far beyond the far side of the live quote a price may lie, in % of the quote's mid."""
    max_ticker_exposure_pct: Percent
    """Position plus resting orders in one ticker, at worst price, in % of equity."""
    max_gross_exposure_pct: Percent
    """Sum over tickers of the same, in % of equity."""
    max_strategy_exposure_pct: Percent
    max_daily_loss_pct: Percent
    """What equity may lie below the broker's equity at the session's start, in % of that."""
    max_drawdown_pct: Percent
    """What equity may lie below its highest reading, in % of that."""
    max_open_orders: Count
    """Orders of ours that may still execute, unknown outcomes among them."""
    max_orders_per_minute: Count
    """Approvals in any 60 s, over the whole account."""
    max_strategy_orders_per_minute: Count
    max_repeated_executions: Count
    """Executed orders of one strategy on one ticker and side within the window; one more disables the strategy."""
    repeated_executions_window_seconds: WindowSeconds
    duplicate_window_seconds: WindowSeconds
    """A strategy's signal with the content of another of its own within this long is a duplicate."""
    allowed_tickers: tuple[str, ...] = ()
    """Empty: every ticker that is not restricted."""
    restricted_tickers: tuple[str, ...] = ()
    """Nothing is opened in them; closes pass."""
    extended_hours_strategies: tuple[str, ...] = ()
    """Strategies that may trade outside the regular session."""
    short_selling_strategies: tuple[str, ...] = ()
    """Strategies that may open short positions. Closing one is open to all."""


class LimitsVersion(Wire):
    """The account's limits as stored, with who set them and why."""

    version: int
    limits: Limits
    author: str
    reason: str
    created_at: UtcTime
    expires_at: UtcTime | None = None
    """Of a raise: when the version before it is in force again."""


class LimitScope(StrEnum):
    """Whose limits a row holds, the widest first."""

    ACCOUNT = "account"
    STRATEGY = "strategy"
    TICKER = "ticker"


class LimitSource(Wire):
    """Which row a limit in force comes from."""

    field: str
    scope: LimitScope
    name: str
    """The strategy or ticker; empty for the account."""
    version: int
    expires_at: UtcTime | None = None

    @property
    def owner(self) -> str:
        """``account``, ``strategy momentum``, ``ticker TSLA``."""
        return f"{self.scope.value} {self.name}".rstrip()

    @property
    def text(self) -> str:
        """For the evidence of a check."""
        until = f" until {self.expires_at:%Y-%m-%d %H:%M:%S} UTC" if self.expires_at else ""
        return f"{self.field} of {self.owner}, version {self.version}{until}"


class CheckName(StrEnum):
    """Risk checks and pre-trade checks, under the names that rejections carry."""

    KILL_SWITCH = "KILL_SWITCH"
    SIGNAL_EXPIRED = "SIGNAL_EXPIRED"
    UNKNOWN_OUTCOME = "UNKNOWN_OUTCOME"
    PROTECTION_UNAVAILABLE = "PROTECTION_UNAVAILABLE"
    """Of decisions made before stops were placed."""
    SHORT_SELLING = "SHORT_SELLING"
    EXTENDED_HOURS = "EXTENDED_HOURS"
    MARKET_DATA = "MARKET_DATA"
    ORDER_NOTIONAL = "ORDER_NOTIONAL"
    ORDER_QUANTITY = "ORDER_QUANTITY"
    PRICE_COLLAR = "PRICE_COLLAR"
    TICKER_EXPOSURE = "TICKER_EXPOSURE"
    STRATEGY_EXPOSURE = "STRATEGY_EXPOSURE"
    GROSS_EXPOSURE = "GROSS_EXPOSURE"
    BUYING_POWER = "BUYING_POWER"
    SELL_MORE_THAN_HELD = "SELL_MORE_THAN_HELD"
    COVER_MORE_THAN_SHORT = "COVER_MORE_THAN_SHORT"
    OPPOSITE_POSITION = "OPPOSITE_POSITION"
    OPPOSITE_ORDER = "OPPOSITE_ORDER"
    STOP_SIDE = "STOP_ON_WRONG_SIDE"
    HARD_STOP_LOSS = "HARD_STOP_LOSS"
    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    BROKER_HALT = "BROKER_HALT"
    STRATEGY_DISABLED = "STRATEGY_DISABLED"
    SYMBOL_LOCKED = "SYMBOL_LOCKED"
    TICKER_LISTS = "TICKER_NOT_ALLOWED"
    DUPLICATE_CONTENT = "DUPLICATE_CONTENT"
    ORDER_RATE = "ORDER_RATE"
    STRATEGY_ORDER_RATE = "STRATEGY_ORDER_RATE"
    REPEATED_EXECUTIONS = "REPEATED_EXECUTIONS"
    OPEN_ORDERS = "OPEN_ORDERS"
    DAILY_LOSS = "DAILY_LOSS"
    DRAWDOWN = "DRAWDOWN"
    ACCOUNT_SNAPSHOT = "STALE_ACCOUNT"
    ORDER_AS_SIGNAL = "ORDER_NOT_AS_SIGNAL"
    # Pre-trade.
    STALENESS = "STALE_APPROVAL"
    TRADING_HOURS = "MARKET_CLOSED"
    CLOSING_BELL = "NEAR_CLOSE"
    STALE_MARKET_DATA = "STALE_MARKET_DATA"
    PROVIDERS_DISAGREE = "PROVIDERS_DISAGREE"
    QUOTE_INTEGRITY = "QUOTE_INTEGRITY"
    SPREAD = "SPREAD_TOO_WIDE"


class CheckResult(Wire):
    """One check with its arithmetic: enough to do it again by hand."""

    name: CheckName
    passed: bool
    value: str
    """What was computed, in the check's own unit."""
    limit: str
    """What it was held against."""
    formula: str
    """In words, with the numbers put in."""
    computed: bool = True
    """False: a number that it needs is missing. It fails, and the check of that number is the reason."""


class Proposal(Wire):
    """What a signal asks, free of every text a person or a model wrote."""

    signal_id: str
    strategy: str
    ticker: str
    action: Action
    order_type: OrderType
    time_in_force: TimeInForce
    quantity: DecimalText
    limit_price: DecimalText | None
    hard_stop_loss: DecimalText | None = None
    extended_hours: bool = False
    created_at: UtcTime
    valid_until: UtcTime
    stop_price: DecimalText | None = None


class WorkingOrder(Wire):
    """One order on the signal's ticker that stands at the broker, or may come to stand there."""

    signal_id: str
    action: Action
    order_type: OrderType
    limit_price: DecimalText | None = None
    """US dollars; of a MARKET signal the worst price that it goes out with."""
    stop_price: DecimalText | None = None


class Exposure(Wire):
    """One ticker's share of the book, for one strategy: what is held and what may still come."""

    ticker: str
    strategy: str
    held: DecimalText
    """Signed shares from executions."""
    reserved_buy: DecimalText = Decimal(0)
    """Shares of working buys and unknown outcomes, at full size."""
    reserved_sell: DecimalText = Decimal(0)
    reserved_buy_notional: DecimalText = Decimal(0)
    """US dollars at each order's worst price."""
    reserved_sell_notional: DecimalText = Decimal(0)
    mark: DecimalText
    """US dollars a share that the held quantity is valued at."""
    unpriced_orders: int = 0
    """Open orders that are not ours and of which nobody can say what they are worth."""


class FundsRefusal(Wire):
    """An order of a strategy that the broker refused for want of funds."""

    strategy: str
    client_order_id: str
    needed: DecimalText
    """US dollars."""
    refused_at: UtcTime


class RiskFacts(Wire):
    """All that a decision is made from, read under the account lock."""

    now: UtcTime
    """Wall instant of the decision."""
    market_now: UtcTime
    """The same instant on the market's clock: quote ages are taken against it."""
    equity: DecimalText
    buying_power: DecimalText
    """As the broker told it, less what was reserved after that snapshot and is not yet at the broker."""
    quote: Quote | None
    """None where no provider knows the ticker: every check of price then refuses."""
    exposures: tuple[Exposure, ...]
    kill_engaged: bool
    kill_reason: str | None = None
    received_at: UtcTime | None = None
    """When the gateway took the signal."""
    kill_changed_at: UtcTime | None = None
    """When the kill switch was last engaged or released; None if never."""
    unknown_outcomes: tuple[str, ...] = ()
    """client_order_ids on this ticker whose fate the broker has not told."""
    limits: Limits
    """In force for this strategy and ticker: of each limit the tightest of account, strategy and ticker."""
    limit_sources: tuple[LimitSource, ...] = ()
    """Where those limits come from that are not the account's."""
    conduct: Conduct
    working: tuple[WorkingOrder, ...] = ()
    """Our orders on this ticker that may still execute, or have and their fills are not known, oldest first."""
    snapshot_at: UtcTime | None = None
    """When the account was read that ``buying_power`` is from."""
    funds_refusal: FundsRefusal | None = None
    """The strategy's order that the account could not pay for; None where it can, as far as is known."""
    locks: tuple[SymbolLock, ...] = ()
    """Those that hold on this ticker, the one that lasts longest first."""


class RiskVerdict(Wire):
    """The pure decision: every check, whether it passed, and what is approved if all did."""

    approved: bool
    checks: tuple[CheckResult, ...]
    quantity: DecimalText
    worst_price: DecimalText
    """What an execution may cost at worst: the signal's own limit, for MARKET the collar's edge; for STOP see
    ``risk.candidate``."""
    limit_price: DecimalText | None
    """The limit price to send: the worst price, and none for a STOP."""
    reserve_price: DecimalText
    """US dollars a share that exposure and buying power count: the worst price, for short sales more."""
    side: Side
    account_exposure_pct: DecimalText
    narrowed_limits: tuple[str, ...] = ()
    """The limits that were a strategy's or a ticker's, each with its version."""

    @property
    def reasons(self) -> tuple[CheckName, ...]:
        """What failed; checks that could not be computed only where nothing else did."""
        failed = [check for check in self.checks if not check.passed]
        told = [check for check in failed if check.computed] or failed
        return tuple(check.name for check in told)


class PreTradeFacts(Wire):
    """What is true right before the POST."""

    now: UtcTime
    market_now: UtcTime
    approved_at: UtcTime
    extended_hours: bool
    is_open: bool
    seconds_to_close: float | None
    """Market seconds to the bell that counts: regular, or extended where allowed. None while closed."""
    primary: Quote | None
    secondary: Quote | None
    """Where there is a second provider: what the order is judged by when the primary is stale."""
    late_providers: tuple[Provider, ...] = ()
    """Providers whose feed latency is over its limit: their quotes count as stale."""
    hours_doubt: str | None = None
    """Why the trading hours cannot be trusted (broker and calendar differ, no clock): refuses as closed."""


class PreTradeVerdict(Wire):
    """The pure answer of the last look: every check with its numbers."""

    passed: bool
    checks: tuple[CheckResult, ...]
    user_message: str | None = None
    """The failure table's message for the first failed check, if it has one."""

    @property
    def reasons(self) -> tuple[CheckName, ...]:
        return tuple(check.name for check in self.checks if not check.passed)


class AssessmentKind(StrEnum):
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    NEEDS_QUOTE = "NEEDS_QUOTE"
    NEEDS_SNAPSHOT = "NEEDS_SNAPSHOT"
    BEYOND = "BEYOND"
    """The order is past risk already: go on from its row."""


class Assessment(Wire):
    """What ``assess_risk`` answers. A second call answers the same."""

    kind: AssessmentKind
    order: OrderView
    approval_id: UUID | None = None
    approved_at: UtcTime | None = None
    expires_at: UtcTime | None = None
    reasons: tuple[str, ...] = ()
    user_message: str | None = None
