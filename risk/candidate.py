"""The order under judgement: the proposal beside the facts, with its prices worked out once."""

from dataclasses import dataclass
from decimal import Decimal

from risk.arithmetic import text
from risk.constants import SHORT_RESERVE
from risk.exposure import Book, book
from risk.prices import Market, buy_stop_limit, collar_edge, stop_edge, usable, worst_tick
from schemas.orders import Action, OrderType, Side
from schemas.risk import CheckName, CheckResult, Limits, Proposal, RiskFacts

NO_PRICE = "no worst price: the quote is unusable or a price is missing"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One proposal, the facts, and what follows from both; properties are exact inside ``exact()``."""

    proposal: Proposal
    facts: RiskFacts
    market: Market | None
    """The live quote, if usable."""
    worst_price: Decimal | None
    """US dollars a share; None where there is none to be had."""
    book: Book

    @property
    def reduces(self) -> bool:
        """A close, which can only lower exposure and needs no buying power.

        That it is no larger than the position is a check of its own.
        """
        return not self.proposal.action.opens

    @property
    def limit_price(self) -> Decimal | None:
        """What goes out as the limit: the worst price, and none for a STOP."""
        return None if self.proposal.order_type is OrderType.STOP else self.worst_price

    @property
    def reserve_price(self) -> Decimal | None:
        """US dollars a share that exposure and buying power count.

        A short position is worth more the higher it is sold, and a sell executes above its limit wherever the
        market is, so its worst price is no bound: like the broker we take the highest of its own prices and
        103 % of the ask.
        """
        if self.proposal.action is not Action.SELL_TO_OPEN or self.worst_price is None:
            return self.worst_price
        if self.market is None:
            return None
        named = self.proposal.stop_price or self.worst_price
        return max(self.worst_price, named, self.market.ask * SHORT_RESERVE)

    @property
    def reserve_words(self) -> str:
        """How the reserve price came about, where it is not the worst price."""
        if self.proposal.action is not Action.SELL_TO_OPEN or self.market is None:
            return ""
        return f" (short: at least {SHORT_RESERVE} × ask {text(self.market.ask)})"

    @property
    def notional(self) -> Decimal | None:
        """US dollars at the reserve price."""
        price = self.reserve_price
        return None if price is None else self.proposal.quantity * price

    @property
    def buys(self) -> Decimal:
        """Dollars this order adds to the buying side. Only where ``notional`` is known."""
        return (self.notional or Decimal(0)) if self._adds(Side.BUY) else Decimal(0)

    @property
    def sells(self) -> Decimal:
        """Dollars this order adds to the selling side. Only where ``notional`` is known."""
        return (self.notional or Decimal(0)) if self._adds(Side.SELL) else Decimal(0)

    def _adds(self, side: Side) -> bool:
        return not self.reduces and self.proposal.action.side is side


def candidate(proposal: Proposal, facts: RiskFacts) -> Candidate:
    """Work out what the proposal would cost."""
    quoted = facts.quote is not None and facts.quote.ticker == proposal.ticker
    market = usable(facts.quote) if quoted else None
    worst = _worst_price(proposal, market, facts.limits)
    return Candidate(
        proposal=proposal,
        facts=facts,
        market=market,
        worst_price=worst if worst is not None and worst > 0 else None,
        book=book(facts.exposures, proposal.ticker, proposal.strategy),
    )


def _worst_price(proposal: Proposal, market: Market | None, limits: Limits) -> Decimal | None:
    """The signal's own limit; for MARKET, which goes out as a limit, the collar's edge from the quote.

    A STOP names no limit and executes at market where its stop is touched, so what may be lost is bounded by
    what is reserved: the stop and the collar beyond it. A buy STOP gets a limit from the broker (+2.5 %, below
    $50 +4 %); where that reaches further than the collar, that much is reserved.
    """
    side, collar, stop = proposal.action.side, limits.price_collar_pct, proposal.stop_price
    if proposal.order_type.has_limit:
        return proposal.limit_price
    if proposal.order_type is OrderType.STOP:
        if stop is None:
            return None
        bound = worst_tick(stop_edge(stop, collar, side), side)
        return max(bound, buy_stop_limit(stop)) if side is Side.BUY else bound
    return None if market is None else worst_tick(collar_edge(market, collar, side), side)


def result(name: CheckName, passed: bool, value: str, limit: str, formula: str) -> CheckResult:
    return CheckResult(name=name, passed=passed, value=value, limit=limit, formula=formula)


def not_computed(name: CheckName, passed: bool, value: str, limit: str, formula: str) -> CheckResult:
    """A check whose number is missing: it fails unless it does not apply, and is the reason of nothing."""
    return result(name, passed, value, limit, formula).model_copy(update={"computed": passed})
