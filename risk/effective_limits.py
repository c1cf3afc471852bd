"""The limits of one decision: of each the tightest of account, strategy and ticker."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from schemas.limits import LISTS, NO_TICKER, EffectiveLimits, LimitsRow
from schemas.risk import CheckResult, Limits, LimitScope, LimitSource

_ORDER: Final = tuple(LimitScope)


def _both(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """Allowed by both; empty is every ticker."""
    if not one or not other:
        return one or other
    return tuple(sorted(set(one) & set(other))) or (NO_TICKER,)


def _either(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """Restricted by one of them."""
    return tuple(sorted(set(one) | set(other)))


TIGHTER: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "max_order_notional": min,
    "max_order_quantity": min,
    "price_collar_pct": min,
    "max_ticker_exposure_pct": min,
    "max_strategy_exposure_pct": min,
    "max_strategy_orders_per_minute": min,
    "max_repeated_executions": min,
    # The longer window counts more.
    "repeated_executions_window_seconds": max,
    "duplicate_window_seconds": max,
    "allowed_tickers": _both,
    "restricted_tickers": _either,
}
"""How two rows' limits become one. Fields that are not here are the account's alone."""

TOLD_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "ORDER_NOTIONAL": ("max_order_notional",),
    "ORDER_QUANTITY": ("max_order_quantity",),
    "PRICE_COLLAR": ("price_collar_pct",),
    "TICKER_EXPOSURE": ("max_ticker_exposure_pct",),
    "STRATEGY_EXPOSURE": ("max_strategy_exposure_pct",),
    "STRATEGY_ORDER_RATE": ("max_strategy_orders_per_minute",),
    "REPEATED_EXECUTIONS": ("max_repeated_executions", "repeated_executions_window_seconds"),
    "DUPLICATE_CONTENT": ("duplicate_window_seconds",),
    "TICKER_NOT_ALLOWED": ("allowed_tickers", "restricted_tickers"),
}
"""By a check's name the limits that it measures by, where they may come from a strategy's or a ticker's row."""


def effective(account: LimitsRow, narrower: Sequence[LimitsRow]) -> EffectiveLimits:
    """Merge the rows in force; no field comes out wider than the account's, in whatever order they are given."""
    assert isinstance(account.document, Limits), "the account's row is a whole document"
    values = dict(account.document)
    sources = {field: [account] for field in values}
    for row in sorted(narrower, key=lambda row: (_ORDER.index(row.scope), row.name, row.version)):
        for field, given in row.document:
            if given is None or given == ():
                continue
            before = values[field]
            values[field] = TIGHTER[field](before, given)
            if field not in LISTS:
                if values[field] != before:
                    sources[field] = [row]
            elif set(values[field]) != set(before):
                # An empty list of the account's has no part in what comes out.
                sources[field] = [*(sources[field] if before else ()), row]
    return EffectiveLimits(
        limits=account.document.model_copy(update=values),
        version=max(row.version for row in (account, *narrower)),
        sources=tuple(_source(field, row) for field, rows in sources.items() for row in rows),
    )


def _source(field: str, row: LimitsRow) -> LimitSource:
    return LimitSource(
        field=field, scope=row.scope, name=row.name, version=row.version, expires_at=row.expires_at
    )


def with_sources(check: CheckResult, sources: Sequence[LimitSource]) -> CheckResult:
    """The check with the rows that its limits come from in its formula, where they are not the account's."""
    fields = TOLD_BY.get(check.name.value, ())
    told = "; ".join(source.text for source in sources if source.field in fields)
    return check.model_copy(update={"formula": f"{check.formula} ({told})"}) if told else check
