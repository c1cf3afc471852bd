"""How much of each limit on exposure is used: what is held and working, as risk counts it."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from risk.arithmetic import HUNDREDTH, exact
from risk.effective_limits import effective
from risk.exposure import book
from schemas.limits import LimitsRow
from schemas.risk import Exposure, Limits, LimitScope


@dataclass(frozen=True, slots=True)
class Use:
    """US dollars at risk against the limit, of the account, a strategy or a ticker."""

    scope: LimitScope
    name: str
    """Empty for the account."""
    at_risk: Decimal
    limit_pct: Decimal
    limit: Decimal | None
    """None: equity is not known."""
    unpriced: int = 0
    """Others' open orders that are in no sum."""

    @property
    def title(self) -> str:
        """``account``, ``strategy momentum``, ``ticker TSLA``."""
        return f"{self.scope.value} {self.name}".rstrip()


def uses(exposures: Sequence[Exposure], rows: Sequence[LimitsRow], equity: Decimal | None) -> list[Use]:
    """The account first, then strategies and tickers, most used first. Empty where no limits are set."""
    account = next((row for row in rows if row.scope is LimitScope.ACCOUNT), None)
    if account is None or not isinstance(account.document, Limits):
        return []

    def limits_of(scope: LimitScope, name: str) -> Limits:
        own = [row for row in rows if row.scope is scope and row.name == name]
        return effective(account, own).limits

    with exact():
        whole = book(exposures, "", "")
        found = [
            _use(
                LimitScope.ACCOUNT,
                "",
                whole.gross(),
                account.document.max_gross_exposure_pct,
                equity,
                whole.unpriced,
            )
        ]
        others = [
            _use(
                LimitScope.STRATEGY, name, book(exposures, "", name).of_strategy(),
                limits_of(LimitScope.STRATEGY, name).max_strategy_exposure_pct, equity,
            )
            for name in sorted({each.strategy for each in exposures})
        ]  # fmt: skip
        for name in sorted({each.ticker for each in exposures}):
            here = book(exposures, name, "").ticker
            limit = limits_of(LimitScope.TICKER, name).max_ticker_exposure_pct
            others.append(_use(LimitScope.TICKER, name, here.at_risk(), limit, equity, here.unpriced))
    return found + sorted(others, key=lambda each: (-each.at_risk / each.limit_pct, each.title))


def _use(
    scope: LimitScope,
    name: str,
    at_risk: Decimal,
    limit_pct: Decimal,
    equity: Decimal | None,
    unpriced: int = 0,
) -> Use:
    limit = None if equity is None or equity <= 0 else limit_pct * HUNDREDTH * equity
    return Use(scope, name, at_risk, limit_pct, limit, unpriced)
