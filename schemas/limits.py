"""Rows of limits: the account's whole document, and what is set for one strategy or one ticker."""

import re
from typing import Final, TypeAlias

from pydantic import ValidationError

from schemas.base import Edge, UtcTime, Wire
from schemas.risk import Count, Dollars, Limits, LimitScope, LimitSource, Percent, Shares, WindowSeconds
from schemas.signals import STRATEGY_PATTERN, TICKER_PATTERN


class _PartialLimits(Edge):
    """Limits of single orders, which can be set for any scope. None: not given, so the account's alone counts."""

    max_order_notional: Dollars | None = None
    max_order_quantity: Shares | None = None
    price_collar_pct: Percent | None = None
    max_repeated_executions: Count | None = None
    repeated_executions_window_seconds: WindowSeconds | None = None
    duplicate_window_seconds: WindowSeconds | None = None


class StrategyLimits(_PartialLimits):
    """What is set for one strategy: limits of its orders and of what is measured strategy by strategy."""

    max_strategy_exposure_pct: Percent | None = None
    max_strategy_orders_per_minute: Count | None = None
    allowed_tickers: tuple[str, ...] | None = None
    restricted_tickers: tuple[str, ...] | None = None


class TickerLimits(_PartialLimits):
    """What is set for one ticker: limits of orders in it and of what is measured ticker by ticker."""

    max_ticker_exposure_pct: Percent | None = None


class PastLimits(Wire):
    """An account's document that is not whole: of a release that knew fewer limits. Shown, never decided by."""

    max_order_notional: Dollars | None = None
    max_order_quantity: Shares | None = None
    price_collar_pct: Percent | None = None
    max_ticker_exposure_pct: Percent | None = None
    max_gross_exposure_pct: Percent | None = None
    max_strategy_exposure_pct: Percent | None = None
    max_daily_loss_pct: Percent | None = None
    max_drawdown_pct: Percent | None = None
    max_repeated_executions: Count | None = None
    repeated_executions_window_seconds: WindowSeconds | None = None
    duplicate_window_seconds: WindowSeconds | None = None
    max_open_orders: Count | None = None
    max_orders_per_minute: Count | None = None
    max_strategy_orders_per_minute: Count | None = None
    allowed_tickers: tuple[str, ...] | None = None
    restricted_tickers: tuple[str, ...] | None = None
    extended_hours_strategies: tuple[str, ...] | None = None
    short_selling_strategies: tuple[str, ...] | None = None


NewDocument: TypeAlias = Limits | StrategyLimits | TickerLimits
LimitsDocument: TypeAlias = NewDocument | PastLimits

MODELS: Final[dict[LimitScope, type[NewDocument]]] = {
    LimitScope.ACCOUNT: Limits,
    LimitScope.STRATEGY: StrategyLimits,
    LimitScope.TICKER: TickerLimits,
}
"""The document of each scope. What cannot be measured for a strategy or a ticker alone is the account's only."""

NO_TICKER: Final = "(none)"
"""Stands in a list of allowed tickers that has nothing left: an empty list would allow every ticker. No ticker is
called so."""
TICKER_LISTS: Final = frozenset({"allowed_tickers", "restricted_tickers"})
STRATEGY_LISTS: Final = frozenset({"extended_hours_strategies", "short_selling_strategies"})
LISTS: Final = TICKER_LISTS | STRATEGY_LISTS


class LimitsRow(Wire):
    """One stored version of one scope's limits."""

    version: int
    """One count over all scopes: the newer row has the higher."""
    scope: LimitScope
    name: str
    """The strategy or ticker; empty for the account."""
    document: LimitsDocument
    author: str
    reason: str
    created_at: UtcTime
    expires_at: UtcTime | None = None

    @property
    def owner(self) -> str:
        """``account``, ``strategy momentum``, ``ticker TSLA``."""
        return owner(self.scope, self.name)


class EffectiveLimits(Wire):
    """What one decision is measured by, and where each of its limits comes from."""

    limits: Limits
    version: int
    """The newest row that is in it."""
    sources: tuple[LimitSource, ...]
    """For every field the row it comes from; for a list each row that has a part in it."""

    @property
    def narrowed(self) -> tuple[LimitSource, ...]:
        """Those that are not the account's."""
        return tuple(source for source in self.sources if source.scope is not LimitScope.ACCOUNT)


class LimitChange(Wire):
    """What a new row changes in one field, in words for people and for the audit log."""

    field: str
    before: str
    after: str
    wider: bool


def owner(scope: LimitScope, name: str) -> str:
    """``account``, ``strategy momentum``, ``ticker TSLA``."""
    return f"{scope.value} {name}".rstrip()


def names_fault(scope: LimitScope, name: str, document: LimitsDocument) -> str | None:
    """What is no strategy or ticker in a row's name or lists; None where all of them are."""
    pattern = {LimitScope.STRATEGY: STRATEGY_PATTERN, LimitScope.TICKER: TICKER_PATTERN}.get(scope)
    if pattern is not None and not re.fullmatch(pattern, name):
        return f"{name!r} is not the name of a {scope.value}"
    for field in sorted(LISTS & document.__class__.model_fields.keys()):
        pattern, what = (
            (TICKER_PATTERN, "a ticker") if field in TICKER_LISTS else (STRATEGY_PATTERN, "a strategy")
        )
        for each in getattr(document, field) or ():
            if not re.fullmatch(pattern, each):
                return f"{field}: {each!r} is not the name of {what}"
    return None


def faults(error: ValidationError) -> str:
    """What is wrong with a document of limits, field by field."""
    return "; ".join(
        f"{each['loc'][0] if each['loc'] else 'document'}: {each['msg']}" for each in error.errors()
    )
