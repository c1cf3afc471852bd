"""What a strategy and the account have done lately, and what a runaway is stopped with."""

from enum import StrEnum

from schemas.base import DecimalText, UtcTime, Wire


class StopCause(StrEnum):
    """Why a strategy is disabled."""

    REPEATED_EXECUTIONS = "REPEATED_EXECUTIONS"
    RUNAWAY_RATE = "RUNAWAY_RATE"
    BY_HAND = "BY_HAND"


class StrategyStop(Wire):
    """A strategy that may open nothing until a named person enables it."""

    strategy: str
    since: UtcTime
    cause: StopCause
    reason: str
    stopped_by: str
    """A person, or the part of ours that found the runaway."""


class Conduct(Wire):
    """Counted under the account lock at the decision's instant; this signal is in none of the numbers."""

    open_orders: int
    """Orders of ours that may still execute: working, approved and not yet sent, of unknown outcome, legs."""
    approvals: int
    """Over the account, in the last 60 s."""
    strategy_approvals: int
    """The strategy's, in the last 60 s."""
    rate_refusals: int
    """Signals that ORDER_RATE refused in the last 60 s, since the kill switch was last released."""
    strategy_rate_refusals: int
    """The strategy's that STRATEGY_ORDER_RATE refused in the last 60 s, since it was last enabled."""
    executed: int
    """Orders of the strategy on this ticker and side that were approved or have executed in the throttle's window,
    of those that have executed at all."""
    duplicate_of: str | None = None
    """The newest signal of the strategy that asks for exactly the same and was approved in the window."""
    stopped: StrategyStop | None = None
    broker_halt: str | None = None
    """Why the broker is given up on; None while it answers."""
    session_equity: DecimalText | None = None
    """US dollars: equity at the previous close as the broker tells it, with the day's transfers."""
    peak_equity: DecimalText | None = None
    """US dollars: the highest reading of equity, moved by transfers."""


class LossKind(StrEnum):
    """What engages the kill switch, under the reason that it gives."""

    DAILY_LOSS = "MAX_DAILY_LOSS_EXCEEDED"
    DRAWDOWN = "MAX_DAILY_DRAWDOWN_EXCEEDED"


class EquityReading(Wire):
    """The stored account snapshot, as far as losses are measured by it."""

    equity: DecimalText | None
    taken_at: UtcTime | None
    session_equity: DecimalText | None
    peak_equity: DecimalText | None
    peak_at: UtcTime | None = None
    last_equity: DecimalText | None = None
    """At the close before the session, as the broker said it: another value is another session."""


class Breach(Wire):
    """A loss over its limit, since the first reading that showed it."""

    kind: LossKind
    first_read_at: UtcTime
    confirmed_at: UtcTime | None = None
    """When a second reading showed it as well, and the kill switch was asked for."""
    last_equity: DecimalText | None = None
    """Of the session in which it was first seen."""


class KillRequest(Wire):
    """A wish that the kill switch be engaged, of somebody who may not do it, or who holds the account."""

    request_id: str
    reason: str
    triggered_by: str
