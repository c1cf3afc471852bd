"""Checks of what strategy and account have done lately: how often, how much of the same, and what stays open.

The windows are half-open: what happened exactly a window ago has left it.
"""

from risk.candidate import Candidate, result
from schemas.risk import CheckName, CheckResult

SPARED = "not applied to a close: closing stays possible"


def open_orders(order: Candidate) -> CheckResult:
    """Orders of ours that may still execute, unknown outcomes and legs among them, with this one. Opens only."""
    count, limit = order.facts.conduct.open_orders, order.facts.limits.max_open_orders
    told = f"{count} may still execute"
    return _at_most(CheckName.OPEN_ORDERS, count, limit, told, spared=order.reduces)


def order_rate(order: Candidate) -> CheckResult:
    """Approvals in the last 60 s over the account, with this one. A close counts and is not refused.

    Else one strategy that runs away could keep another from getting out.
    """
    count, limit = order.facts.conduct.approvals, order.facts.limits.max_orders_per_minute
    told = f"{count} orders approved in 60 s"
    return _at_most(CheckName.ORDER_RATE, count, limit, told, spared=order.reduces)


def strategy_order_rate(order: Candidate) -> CheckResult:
    """The strategy's approvals in the last 60 s, with this one; closes too, which can be made in one order."""
    count, limit = order.facts.conduct.strategy_approvals, order.facts.limits.max_strategy_orders_per_minute
    told = f"{count} orders of {order.proposal.strategy} approved in 60 s"
    return _at_most(CheckName.STRATEGY_ORDER_RATE, count, limit, told)


def repeated_executions(order: Candidate) -> CheckResult:
    """Executed orders of the strategy on this ticker and side within the window, with this one. Opens only.

    Whoever is refused for this is disabled in the same transaction (`risk.runaway`).
    """
    proposal, limits = order.proposal, order.facts.limits
    count, window = order.facts.conduct.executed, limits.repeated_executions_window_seconds
    what = f"{proposal.action.side.value} {proposal.ticker}"
    told = f"{count} orders of {proposal.strategy} executed, {what} in {window} s"
    return _at_most(
        CheckName.REPEATED_EXECUTIONS, count, limits.max_repeated_executions, told, spared=order.reduces
    )


def strategy_disabled(order: Candidate) -> CheckResult:
    """A disabled strategy opens nothing until a named person enables it; it may close what it holds."""
    stop = order.facts.conduct.stopped
    if stop is None:
        return result(CheckName.STRATEGY_DISABLED, True, "enabled", "enabled", "the strategy is not disabled")
    told = f"disabled since {stop.since.isoformat()} by {stop.stopped_by}, {stop.cause.value}: {stop.reason}"
    if order.reduces:
        return result(CheckName.STRATEGY_DISABLED, True, "disabled", "enabled", f"{told}; {SPARED}")
    return result(CheckName.STRATEGY_DISABLED, False, "disabled", "enabled", told)


def duplicate_content(order: Candidate) -> CheckResult:
    """No two orders of one strategy for exactly the same within the window: sent twice by mistake.

    Held against approved signals whose order was not refused afterwards; of two that were refused none did
    anything. Closes too: the second of a pair sells twice what was meant.
    """
    other, window = order.facts.conduct.duplicate_of, order.facts.limits.duplicate_window_seconds
    told = f"no signal with the same content approved in the last {window} s"
    if other is not None:
        told = f"signal {other} asked for exactly the same and was approved less than {window} s ago"
    return result(CheckName.DUPLICATE_CONTENT, other is None, other or "none", f"none in {window} s", told)


def _at_most(name: CheckName, count: int, limit: int, told: str, *, spared: bool = False) -> CheckResult:
    """``count`` and this one ≤ ``limit``."""
    if spared:
        return result(name, True, str(count), str(limit), SPARED)
    passed = count + 1 <= limit
    relation = "≤" if passed else ">"
    words = f"{told}, with this one {count + 1} {relation} {limit}"
    return result(name, passed, str(count + 1), str(limit), words)
