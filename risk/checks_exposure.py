"""Checks of what the book would be worth at risk with this order in it, in % of equity."""

from decimal import Decimal

from risk.arithmetic import HUNDREDTH, text
from risk.candidate import Candidate, result
from risk.checks_size import NO_PRICE, NOT_FOR_CLOSES
from risk.exposure import gross_exposure, strategy_exposure, ticker_exposure
from schemas.risk import CheckName, CheckResult


def ticker(order: Candidate) -> CheckResult:
    rows = [row for row in order.facts.exposures if row.ticker == order.proposal.ticker]
    return _within(
        CheckName.TICKER_EXPOSURE,
        order,
        before=ticker_exposure(rows),
        after=ticker_exposure(rows, order.buys, order.sells),
        limit_pct=order.facts.limits.max_ticker_exposure_pct,
        scope=order.proposal.ticker,
    )


def strategy(order: Candidate) -> CheckResult:
    proposal, rows = order.proposal, order.facts.exposures
    return _within(
        CheckName.STRATEGY_EXPOSURE,
        order,
        before=strategy_exposure(rows, proposal.strategy, proposal.ticker),
        after=strategy_exposure(rows, proposal.strategy, proposal.ticker, order.buys, order.sells),
        limit_pct=order.facts.limits.max_strategy_exposure_pct,
        scope=f"strategy {proposal.strategy}",
    )


def gross(order: Candidate) -> CheckResult:
    proposal, rows = order.proposal, order.facts.exposures
    return _within(
        CheckName.GROSS_EXPOSURE,
        order,
        before=gross_exposure(rows, proposal.ticker),
        after=gross_exposure(rows, proposal.ticker, order.buys, order.sells),
        limit_pct=order.facts.limits.max_gross_exposure_pct,
        scope="account",
    )


def _within(
    name: CheckName, order: Candidate, *, before: Decimal, after: Decimal, limit_pct: Decimal, scope: str
) -> CheckResult:
    """``after`` ≤ limit % of equity, held and working included; opens only."""
    equity = order.facts.equity
    limit = limit_pct * HUNDREDTH * equity
    if order.reduces:
        return result(name, True, text(before), text(limit), NOT_FOR_CLOSES)
    if order.notional is None:
        return result(name, False, "unknown", text(limit), NO_PRICE)
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
