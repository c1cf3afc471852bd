"""The risk decision: every check, on facts read under the account lock, with exact arithmetic."""

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from risk import (
    checks_conduct,
    checks_exposure,
    checks_losses,
    checks_position,
    checks_price,
    checks_signal,
    checks_size,
)
from risk.arithmetic import HUNDREDTH, exact, percent_of
from risk.candidate import Candidate, candidate
from risk.constants import EXPOSURE_PCT_DISPLAY_MAX
from risk.effective_limits import with_sources
from schemas.risk import CheckResult, Proposal, RiskFacts, RiskVerdict

CHECKS: Final[tuple[Callable[[Candidate], CheckResult], ...]] = (
    checks_signal.kill_switch,
    checks_signal.broker_halt,
    checks_conduct.strategy_disabled,
    checks_signal.signal_expired,
    checks_conduct.duplicate_content,
    checks_conduct.strategy_order_rate,
    checks_conduct.order_rate,
    checks_conduct.repeated_executions,
    checks_signal.ticker_lists,
    checks_signal.symbol_locked,
    checks_losses.daily_loss,
    checks_losses.drawdown,
    checks_signal.unknown_outcome,
    checks_position.short_selling,
    checks_signal.extended_hours,
    checks_signal.market_data,
    checks_signal.stale_market_data,
    checks_size.order_notional,
    checks_size.order_quantity,
    checks_price.price_collar,
    checks_price.stop_side,
    checks_price.hard_stop_loss,
    checks_exposure.ticker,
    checks_exposure.strategy,
    checks_exposure.gross,
    checks_conduct.open_orders,
    checks_size.buying_power,
    checks_size.insufficient_funds,
    checks_position.sell_more_than_held,
    checks_position.cover_more_than_short,
    checks_position.opposite_position,
    checks_position.opposite_order,
)
"""In the order in which reasons are told. All of them run, always."""


def assess(proposal: Proposal, facts: RiskFacts) -> RiskVerdict:
    """Decide on a proposal. Pure: the same facts give the same verdict.

    A number exactly at its limit passes. A close (SELL_TO_CLOSE, BUY_TO_CLOSE) is not refused by limits
    it can only improve: order notional, exposures, buying power, unknown outcomes, losses, open orders, the
    account's rate; nor by what stops new risk: a broker halt, a disabled strategy, lists and locks of tickers.

    Raises:
        InexactNumberError: a stored number is too long to compute with exactly.
    """
    with exact():
        order = candidate(proposal, facts)
        checks = tuple(with_sources(check(order), facts.limit_sources) for check in CHECKS)
        return RiskVerdict(
            approved=all(check.passed for check in checks),
            checks=checks,
            quantity=proposal.quantity,
            worst_price=order.worst_price or Decimal(0),
            limit_price=order.limit_price,
            reserve_price=order.reserve_price or Decimal(0),
            side=proposal.action.side,
            account_exposure_pct=_exposure_pct(order),
            narrowed_limits=tuple(source.text for source in facts.limit_sources),
        )


def _exposure_pct(order: Candidate) -> Decimal:
    """Gross exposure with this order in % of equity, to two places, for display only."""
    equity = order.facts.equity
    exposure = order.book.gross(order.buys, order.sells)
    if equity <= 0 or exposure > equity * EXPOSURE_PCT_DISPLAY_MAX * HUNDREDTH:
        return EXPOSURE_PCT_DISPLAY_MAX
    return percent_of(exposure, equity, Decimal("0.01"))
