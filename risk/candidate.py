"""The order under judgement: the proposal beside the facts, with its worst price worked out once."""

from dataclasses import dataclass
from decimal import Decimal

from risk.exposure import Book, book
from risk.prices import Market, collar_edge, usable, worst_tick
from schemas.orders import Action, OrderType, Side
from schemas.risk import CheckName, CheckResult, Proposal, RiskFacts


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
        """A close of a long position, which can only lower exposure and needs no buying power.

        That it is no larger than the position is a check of its own.
        """
        return self.proposal.action is Action.SELL_TO_CLOSE

    @property
    def notional(self) -> Decimal | None:
        """US dollars at the worst price."""
        return None if self.worst_price is None else self.proposal.quantity * self.worst_price

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
    """Work out what the proposal would cost. A MARKET order's worst price is the collar's edge."""
    quoted = facts.quote is not None and facts.quote.ticker == proposal.ticker
    market = usable(facts.quote) if quoted else None
    worst: Decimal | None = None
    if proposal.order_type is OrderType.LIMIT:
        worst = proposal.limit_price
    elif market is not None:
        side = proposal.action.side
        worst = worst_tick(collar_edge(market, facts.limits.price_collar_pct, side), side)
    return Candidate(
        proposal=proposal,
        facts=facts,
        market=market,
        worst_price=worst if worst is not None and worst > 0 else None,
        book=book(facts.exposures, proposal.ticker, proposal.strategy),
    )


def result(name: CheckName, passed: bool, value: str, limit: str, formula: str) -> CheckResult:
    return CheckResult(name=name, passed=passed, value=value, limit=limit, formula=formula)
