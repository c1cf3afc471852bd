"""Checks of what the book would be worth at risk with this order in it, in % of equity."""

from collections.abc import Callable
from decimal import Decimal

from risk.arithmetic import HUNDREDTH, text
from risk.candidate import NO_PRICE, Candidate, not_computed, result
from risk.checks_size import NOT_FOR_CLOSES
from risk.exposure import ZERO
from schemas.risk import CheckName, CheckResult


def ticker(order: Candidate) -> CheckResult:
    """The order's ticker over all strategies."""
    return _within(
        CheckName.TICKER_EXPOSURE,
        order,
        at_risk=order.book.ticker.at_risk,
        limit_pct=order.facts.limits.max_ticker_exposure_pct,
        scope=order.proposal.ticker,
        unpriced=order.book.ticker.unpriced,
    )


def strategy(order: Candidate) -> CheckResult:
    """Everything the order's strategy holds and has working."""
    return _within(
        CheckName.STRATEGY_EXPOSURE,
        order,
        at_risk=order.book.of_strategy,
        limit_pct=order.facts.limits.max_strategy_exposure_pct,
        scope=f"strategy {order.proposal.strategy}",
    )


def gross(order: Candidate) -> CheckResult:
    """The whole account."""
    return _within(
        CheckName.GROSS_EXPOSURE,
        order,
        at_risk=order.book.gross,
        limit_pct=order.facts.limits.max_gross_exposure_pct,
        scope="account",
        unpriced=order.book.unpriced,
    )


def _within(
    name: CheckName,
    order: Candidate,
    *,
    at_risk: Callable[[Decimal, Decimal], Decimal],
    limit_pct: Decimal,
    scope: str,
    unpriced: int = 0,
) -> CheckResult:
    """Dollars at risk with the order in them ≤ limit % of equity; opens only."""
    before, after = at_risk(ZERO, ZERO), at_risk(order.buys, order.sells)
    equity = order.facts.equity
    limit = limit_pct * HUNDREDTH * equity
    if order.reduces:
        return result(name, True, text(before), text(limit), NOT_FOR_CLOSES)
    if order.notional is None:
        return not_computed(name, False, "unknown", text(limit), NO_PRICE)
    if unpriced:
        why = (
            f"{scope}: {unpriced} open orders that are not ours have no known price, so what is at risk is not "
            "known; cancel them at the broker, or wait for a quote"
        )
        return result(name, False, "unknown", text(limit), why)
    if equity <= 0:
        return result(
            name, False, text(after), "0", f"equity {text(equity)} is not positive: nothing may be opened"
        )
    passed = after <= limit
    return result(
        name,
        passed,
        text(after),
        text(limit),
        f"{scope}: {text(before)} held and working, with this order of {text(order.notional)} {text(after)} "
        f"{'≤' if passed else '>'} {text(limit_pct)} % of equity {text(equity)} = {text(limit)}",
    )
