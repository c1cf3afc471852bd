"""Checks that ask whether this signal may be acted on at all, whatever its size."""

from risk.candidate import Candidate, not_computed, result
from risk.clock import age_text, is_too_old
from risk.constants import QUOTE_AGE_MAX
from risk.prices import quote_defect
from schemas.orders import OrderType, TimeInForce
from schemas.risk import CheckName, CheckResult, RiskFacts


def kill_switch(order: Candidate) -> CheckResult:
    """Blocks every new order, closes too, and for good what was waiting when it was released.

    Such a signal was proposed for a market before the halt: whoever still wants the trade proposes it anew.
    """
    facts = order.facts
    engaged = facts.kill_engaged
    reason = facts.kill_reason or "no reason given"
    if not engaged and _before_release(facts):
        return result(
            CheckName.KILL_SWITCH,
            False,
            f"received {facts.received_at}",
            f"after the release at {facts.kill_changed_at}",
            f"received at {facts.received_at}, before the kill switch was released at {facts.kill_changed_at}",
        )
    return result(
        CheckName.KILL_SWITCH,
        not engaged,
        "engaged" if engaged else "released",
        "released",
        f"kill switch is engaged: {reason}" if engaged else "kill switch is released",
    )


def _before_release(facts: RiskFacts) -> bool:
    if facts.received_at is None or facts.kill_changed_at is None:
        return False
    return facts.received_at < facts.kill_changed_at


def broker_halt(order: Candidate) -> CheckResult:
    """No new risk while the broker is given up on: nobody sees what becomes of it. A close passes, and waits."""
    cause = order.facts.conduct.broker_halt
    if cause is None:
        return result(CheckName.BROKER_HALT, True, "none", "none", "the broker answers")
    told = f"the broker does not answer: {cause}"
    if order.reduces:
        return result(
            CheckName.BROKER_HALT, True, "halted", "none", f"{told}; not applied to a close: it waits"
        )
    return result(CheckName.BROKER_HALT, False, "halted", "none", told)


def ticker_lists(order: Candidate) -> CheckResult:
    """Opened is only what is among the allowed tickers, where they are listed, and not among the restricted."""
    ticker, limits = order.proposal.ticker, order.facts.limits
    allowed, restricted = limits.allowed_tickers, limits.restricted_tickers
    words = f"{len(allowed)} allowed, " if allowed else "every ticker, "
    limit = f"{words}{len(restricted)} restricted"
    if order.reduces:
        return result(
            CheckName.TICKER_LISTS, True, ticker, limit, "not applied to a close: it leaves the ticker"
        )
    faults = [
        text
        for wrong, text in (
            (
                bool(allowed) and ticker not in allowed,
                f"{ticker} is not among the {len(allowed)} allowed tickers",
            ),
            (ticker in restricted, f"{ticker} is restricted"),
        )
        if wrong
    ]
    return result(
        CheckName.TICKER_LISTS, not faults, ticker, limit, "; ".join(faults) or f"{ticker} may be traded"
    )


def symbol_locked(order: Candidate) -> CheckResult:
    """A person has locked the ticker: nothing new is opened in it. A close passes: it leaves the ticker."""
    locks = order.facts.locks
    if not locks:
        return result(CheckName.SYMBOL_LOCKED, True, "none", "no lock", "no lock of this ticker holds")
    told = f"{order.proposal.ticker} is {locks[0].text}"
    if len(locks) > 1:
        told += f"; {len(locks)} locks hold"
    value = f"{len(locks)} hold"
    if order.reduces:
        words = f"{told}; not applied to a close: it leaves the ticker"
        return result(CheckName.SYMBOL_LOCKED, True, value, "no lock", words)
    return result(CheckName.SYMBOL_LOCKED, False, value, "no lock", told)


def signal_expired(order: Candidate) -> CheckResult:
    now, until = order.facts.now, order.proposal.valid_until
    passed = now <= until
    return result(
        CheckName.SIGNAL_EXPIRED,
        passed,
        now.isoformat(),
        until.isoformat(),
        f"now {now.isoformat()} {'≤' if passed else '>'} valid until {until.isoformat()}",
    )


def unknown_outcome(order: Candidate) -> CheckResult:
    """No new risk on a ticker while an order on it may or may not stand at the broker.

    A close passes: shares that an unknown order may take are already counted by SELL_MORE_THAN_HELD and
    COVER_MORE_THAN_SHORT.
    """
    pending = order.facts.unknown_outcomes
    count = str(len(pending))
    if order.reduces:
        return result(
            CheckName.UNKNOWN_OUTCOME, True, count, "0", "not applied to a close: it adds no new risk"
        )
    return result(
        CheckName.UNKNOWN_OUTCOME,
        not pending,
        count,
        "0",
        f"{count} orders on {order.proposal.ticker} whose fate the broker has not told"
        + (f": {', '.join(pending)}" if pending else ""),
    )


def extended_hours(order: Candidate) -> CheckResult:
    """Outside the regular session: only listed strategies, only whole-share LIMIT DAY (Alpaca's rule)."""
    proposal, allowed = order.proposal, order.facts.limits.extended_hours_strategies
    if not proposal.extended_hours:
        return result(CheckName.EXTENDED_HOURS, True, "no", "regular hours", "extended hours not asked for")
    faults = [
        text
        for wrong, text in (
            (proposal.strategy not in allowed, f"strategy {proposal.strategy} is not listed for it"),
            (proposal.order_type is not OrderType.LIMIT, f"order type {proposal.order_type.value} ≠ LIMIT"),
            (proposal.time_in_force is not TimeInForce.DAY, f"{proposal.time_in_force.value} ≠ DAY"),
            (proposal.quantity != proposal.quantity.to_integral_value(), "not whole shares"),
        )
        if wrong
    ]
    return result(
        CheckName.EXTENDED_HOURS,
        not faults,
        "yes",
        f"whole-share LIMIT DAY of {', '.join(allowed) or 'no strategy'}",
        "extended hours: " + ("; ".join(faults) or "allowed"),
    )


def market_data(order: Candidate) -> CheckResult:
    """The quote of this very ticker with both sides, positive and not crossed."""
    quote, ticker = order.facts.quote, order.proposal.ticker
    defect = quote_defect(quote)
    if quote is not None and quote.ticker != ticker:
        defect = f"the quote is of {quote.ticker}"
    value = "none" if quote is None else f"{quote.bid} × {quote.ask}"
    return result(
        CheckName.MARKET_DATA, defect is None, value, "0 < bid ≤ ask", f"{ticker}: {defect or 'bid ≤ ask'}"
    )


def stale_market_data(order: Candidate) -> CheckResult:
    """A collar means something against a live quote only."""
    quote, now = order.facts.quote, order.facts.market_now
    limit = f"≤ {QUOTE_AGE_MAX.total_seconds():g} s"
    if quote is None:
        return not_computed(CheckName.STALE_MARKET_DATA, False, "no quote", limit, "no quote")
    passed = not is_too_old(quote.quoted_at, now, QUOTE_AGE_MAX)
    return result(
        CheckName.STALE_MARKET_DATA, passed, age_text(quote.quoted_at, now), limit,
        f"market time {now.isoformat()} − quoted at {quote.quoted_at.isoformat()}",
    )  # fmt: skip
