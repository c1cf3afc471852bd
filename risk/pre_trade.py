"""The last look before an order leaves: age of the approval, the bell, the quotes (specification C and H)."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from risk.arithmetic import HALF, exact, percent_of, text
from risk.candidate import result
from risk.clock import age_text, is_too_old
from risk.constants import APPROVAL_AGE_MAX, CLOSING_WINDOW_SECONDS, QUOTE_AGE_MAX, SPREAD_MAX_PCT
from risk.messages import user_message
from risk.prices import quote_defect, usable
from schemas.market import Quote
from schemas.risk import CheckName, CheckResult, PreTradeFacts, PreTradeVerdict

_DISPLAY: Final = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class _Look:
    facts: PreTradeFacts
    primary: Quote | None
    """The primary's quote, if fresh."""
    secondary: Quote | None
    """The secondary's, if fresh."""

    @property
    def chosen(self) -> Quote | None:
        """What the order is judged by: the primary, the secondary when the primary is stale."""
        return self.primary or self.secondary


def check(facts: PreTradeFacts) -> PreTradeVerdict:
    """Run every check. Pure; the same facts give the same verdict.

    At exactly 5:00 of approval age, 15 s of quote age and 2 % of spread an order still passes; at
    exactly 15:00 before the bell it does not.

    Raises:
        InexactNumberError: a quote's number is too long to compute with exactly.
    """
    look = _Look(facts, _fresh(facts, facts.primary), _fresh(facts, facts.secondary))
    with exact():
        checks = tuple(each(look) for each in CHECKS)
    return PreTradeVerdict(
        passed=all(each.passed for each in checks), checks=checks, user_message=user_message(checks)
    )


def _fresh(facts: PreTradeFacts, quote: Quote | None) -> Quote | None:
    if quote is None or quote.provider in facts.late_providers:
        return None
    return None if is_too_old(quote.quoted_at, facts.market_now, QUOTE_AGE_MAX) else quote


def _staleness(look: _Look) -> CheckResult:
    now, approved = look.facts.now, look.facts.approved_at
    passed = not is_too_old(approved, now, APPROVAL_AGE_MAX)
    return result(
        CheckName.STALENESS,
        passed,
        age_text(approved, now),
        f"≤ {APPROVAL_AGE_MAX.total_seconds():g} s",
        f"now {now.isoformat()} − approved at {approved.isoformat()}",
    )


def _trading_hours(look: _Look) -> CheckResult:
    facts = look.facts
    passed = facts.is_open and facts.hours_doubt is None
    state = "open" if facts.is_open else "closed"
    session = "extended session" if facts.extended_hours else "regular session"
    return result(
        CheckName.TRADING_HOURS,
        passed,
        state,
        "open",
        facts.hours_doubt or f"{session} is {state} at {facts.market_now.isoformat()}",
    )


def _closing_bell(look: _Look) -> CheckResult:
    facts, limit = look.facts, f"> {CLOSING_WINDOW_SECONDS} s"
    if not facts.is_open:
        return result(
            CheckName.CLOSING_BELL,
            True,
            "closed",
            limit,
            "not applied: there is no bell ahead of a closed market",
        )
    seconds = facts.seconds_to_close
    if seconds is None:
        return result(CheckName.CLOSING_BELL, False, "unknown", limit, "time to the bell is unknown")
    passed = seconds > CLOSING_WINDOW_SECONDS
    return result(
        CheckName.CLOSING_BELL,
        passed,
        f"{seconds:.6f} s",
        limit,
        f"{seconds:.6f} s to the bell {'>' if passed else '≤'} {CLOSING_WINDOW_SECONDS} s",
    )


def _stale_market_data(look: _Look) -> CheckResult:
    facts, chosen = look.facts, look.chosen
    told = "; ".join(
        f"{name} {_told(facts, quote)}"
        for name, quote in (("primary", facts.primary), ("secondary", facts.secondary))
    )
    return result(
        CheckName.STALE_MARKET_DATA,
        chosen is not None,
        "stale" if chosen is None else age_text(chosen.quoted_at, facts.market_now),
        f"≤ {QUOTE_AGE_MAX.total_seconds():g} s",
        f"last quote's age in market time: {told}",
    )


def _told(facts: PreTradeFacts, quote: Quote | None) -> str:
    if quote is None:
        return "none"
    late = ", feed late" if quote.provider in facts.late_providers else ""
    return age_text(quote.quoted_at, facts.market_now) + late


def _quote_integrity(look: _Look) -> CheckResult:
    quote = look.chosen
    if quote is None:
        return result(
            CheckName.QUOTE_INTEGRITY, True, "none", "0 < bid ≤ ask", "not applied: no fresh quote to look at"
        )
    defect = quote_defect(quote)
    return result(
        CheckName.QUOTE_INTEGRITY,
        defect is None,
        f"{quote.bid} × {quote.ask}",
        "0 < bid ≤ ask",
        f"{quote.provider.value}: {defect or 'both sides present and not crossed'}",
    )


def _spread(look: _Look) -> CheckResult:
    market, limit = usable(look.chosen), f"≤ {SPREAD_MAX_PCT} %"
    if market is None:
        return result(CheckName.SPREAD, True, "none", limit, "not applied: no usable quote to measure")
    spread = market.ask - market.bid
    passed = spread * 100 <= SPREAD_MAX_PCT * market.mid
    return result(
        CheckName.SPREAD,
        passed,
        f"{text(percent_of(spread, market.mid, _DISPLAY))} %",
        limit,
        f"(ask {text(market.ask)} − bid {text(market.bid)}) ÷ mid {text(market.mid)} "
        f"{'≤' if passed else '>'} {SPREAD_MAX_PCT} %",
    )


def _providers_disagree(look: _Look) -> CheckResult:
    """Two fresh mids may lie apart by the spread limit, in % of the middle between them."""
    first, second, limit = usable(look.primary), usable(look.secondary), f"≤ {SPREAD_MAX_PCT} %"
    if first is None or second is None:
        return result(
            CheckName.PROVIDERS_DISAGREE,
            True,
            "none",
            limit,
            "not applied: no two fresh usable quotes to compare",
        )
    apart, middle = abs(first.mid - second.mid), (first.mid + second.mid) * HALF
    passed = apart * 100 <= SPREAD_MAX_PCT * middle
    return result(
        CheckName.PROVIDERS_DISAGREE,
        passed,
        f"{text(percent_of(apart, middle, _DISPLAY))} %",
        limit,
        f"|primary mid {text(first.mid)} − secondary mid {text(second.mid)}| ÷ {text(middle)} "
        f"{'≤' if passed else '>'} {SPREAD_MAX_PCT} %",
    )


CHECKS: Final[tuple[Callable[[_Look], CheckResult], ...]] = (
    _staleness,
    _trading_hours,
    _closing_bell,
    _stale_market_data,
    _quote_integrity,
    _providers_disagree,
    _spread,
)
"""In the order in which reasons are told. All of them run, always."""
