"""Merged limits are never wider than any of the rows they come from, and a raise's end never widens anything."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from risk.constants import RAISE_MAX
from risk.effective_limits import NO_TICKER, TIGHTER, TOLD_BY, effective
from risk.limit_changes import (
    LimitsDecision,
    RowState,
    changes,
    decision,
    in_force,
    is_wider,
    lasting,
    raise_fault,
    states,
)
from risk.limits import assess
from schemas.limits import LISTS, LimitsDocument, LimitsRow, StrategyLimits, TickerLimits, names_fault
from schemas.risk import CheckName, Limits, LimitScope
from tests.unit.risk_builders import LIMITS, D, facts, limits, proposal

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
NAMES = {LimitScope.ACCOUNT: "", LimitScope.STRATEGY: "momentum", LimitScope.TICKER: "AAPL"}
TICKERS = ("AAPL", "GME", "MSFT", "TSLA")

any_speed = settings(deadline=None, max_examples=40)
numbers = st.integers(1, 6).map(Decimal)
counts = st.integers(1, 6)
ticker_lists = st.lists(st.sampled_from(TICKERS), unique=True).map(tuple)
strategy_lists = st.lists(st.sampled_from(("night", "pairs")), unique=True).map(tuple)


def _values(model: type[LimitsDocument], *, optional: bool) -> st.SearchStrategy[Any]:
    fields = {}
    for field in model.model_fields:
        if field in LISTS:
            values = ticker_lists if "tickers" in field else strategy_lists
        else:
            values = (
                numbers if "pct" in field or field in {"max_order_notional", "max_order_quantity"} else counts
            )
        fields[field] = st.none() | values if optional else values
    return st.builds(model, **fields)


accounts = _values(Limits, optional=False)
of_strategies = _values(StrategyLimits, optional=True)
of_tickers = _values(TickerLimits, optional=True)


def row(document: LimitsDocument, version: int = 1, expires_at: datetime | None = None) -> LimitsRow:
    scopes = {StrategyLimits: LimitScope.STRATEGY, TickerLimits: LimitScope.TICKER}
    scope = scopes.get(type(document), LimitScope.ACCOUNT)
    return LimitsRow(
        version=version, scope=scope, name=NAMES[scope], document=document, author="a", reason="r",
        created_at=NOW, expires_at=expires_at,
    )  # fmt: skip


def may_open(document: LimitsDocument, ticker: str) -> bool:
    """What the lists of one row say, by themselves."""
    allowed = getattr(document, "allowed_tickers", None)
    return (not allowed or ticker in allowed) and ticker not in (
        getattr(document, "restricted_tickers", None) or ()
    )


@any_speed
@given(accounts, of_strategies, of_tickers)
def test_merged_limits_are_the_tightest_of_all_rows_in_any_order(
    account: Limits, strategy: StrategyLimits, ticker: TickerLimits
) -> None:
    rows = (row(account, 1), row(strategy, 3), row(ticker, 2))
    found = {effective(rows[0], order) for order in permutations(rows[1:])}
    [merged] = found
    assert merged.version == 3
    for field, value in merged.limits:
        given_values = [
            new for new in (getattr(each.document, field, None) for each in rows) if new is not None
        ]
        assert not any(is_wider(field, each, value) for each in given_values), field
        if field not in LISTS:
            assert value in given_values
    for name in TICKERS:
        assert may_open(merged.limits, name) is all(may_open(each.document, name) for each in rows), name


@any_speed
@given(accounts, of_strategies, of_tickers)
def test_every_limit_names_the_row_it_comes_from(
    account: Limits, strategy: StrategyLimits, ticker: TickerLimits
) -> None:
    rows = {each.version: each for each in (row(account, 1), row(strategy, 2), row(ticker, 3))}
    merged = effective(rows[1], [rows[2], rows[3]])
    for field, value in merged.limits:
        sources = [rows[each.version] for each in merged.sources if each.field == field]
        assert sources
        if field in LISTS:
            continue
        [source] = sources
        assert getattr(source.document, field) == value
        # Of equal limits the wider scope's is told.
        assert source.version == min(
            each.version for each in rows.values() if getattr(each.document, field, None) == value
        )


def test_two_lists_without_a_common_ticker_allow_none_and_not_every_one() -> None:
    merged = effective(
        row(limits(allowed_tickers=("AAPL",))), [row(StrategyLimits(allowed_tickers=("MSFT",)), 2)]
    )
    assert merged.limits.allowed_tickers == (NO_TICKER,)
    assert names_fault(LimitScope.ACCOUNT, "", merged.limits) is not None, "no ticker can be called so"


def test_what_is_measured_for_a_strategy_or_ticker_can_be_merged_and_is_the_accounts_too() -> None:
    partial = StrategyLimits.model_fields.keys() | TickerLimits.model_fields.keys()
    assert partial == TIGHTER.keys()
    assert partial < Limits.model_fields.keys()
    assert {field for fields in TOLD_BY.values() for field in fields} == partial, (
        "each has a check that names its row"
    )


def test_a_refusal_names_the_strategys_limit() -> None:
    merged = effective(row(LIMITS), [row(StrategyLimits(max_order_notional=D(999)), 7, NOW)])
    verdict = assess(proposal(), facts(limits=merged.limits, limit_sources=merged.narrowed))
    told = {check.name: check.formula for check in verdict.checks}
    words = "(max_order_notional of strategy momentum, version 7 until 2026-11-26 12:00:00 UTC)"
    assert not verdict.approved
    assert told[CheckName.ORDER_NOTIONAL].endswith(words)
    assert verdict.narrowed_limits == (words[1:-1],)
    assert not any("version" in told[name] for name in told.keys() - {CheckName.ORDER_NOTIONAL})


@pytest.mark.parametrize(
    ("field", "before", "after", "wider", "tighter"),
    [
        ("max_order_notional", D(1), D(2), True, False),
        ("max_open_orders", 2, 1, False, True),
        ("max_order_notional", D(1), None, True, False),
        ("max_order_notional", None, D(1), False, True),
        ("duplicate_window_seconds", 10, 5, True, False),
        ("repeated_executions_window_seconds", 5, 10, False, True),
        ("allowed_tickers", ("A",), (), True, False),
        ("allowed_tickers", (), ("A",), False, True),
        ("allowed_tickers", ("A",), ("B",), True, True),
        ("allowed_tickers", ("A", "B"), ("B", "A"), False, False),
        ("restricted_tickers", ("A",), ("A", "B"), False, True),
        ("restricted_tickers", ("A",), None, True, False),
        ("short_selling_strategies", (), ("pairs",), True, False),
        ("extended_hours_strategies", ("night",), (), False, True),
    ],
)
def test_wider_lets_something_through_that_was_refused(
    field: str, before: Any, after: Any, wider: bool, tighter: bool
) -> None:
    assert is_wider(field, before, after) is wider
    assert is_wider(field, after, before) is tighter


@any_speed
@given(accounts, accounts)
def test_changes_are_what_differs_and_say_so(before: Limits, after: Limits) -> None:
    found = {change.field: change for change in changes(before, after)}
    for field, new in after:
        old = getattr(before, field)
        same = set(old) == set(new) if field in LISTS else old == new
        assert (field in found) is not same
    expected = LimitsDecision.RAISED if any(each.wider for each in found.values()) else LimitsDecision.LOWERED
    assert decision(row(before), row(before), after) is (expected if found else LimitsDecision.SET)
    assert decision(None, None, after) is LimitsDecision.SET


steps = st.lists(
    st.tuples(st.integers(0, 30), accounts, st.none() | st.integers(-1, 60 * 26)), min_size=1, max_size=6
)


@any_speed
@given(steps)
def test_limits_never_get_wider_by_the_mere_passing_of_time(
    steps: list[tuple[int, Limits, int | None]],
) -> None:
    """Any history of rows that may be stored: between two changes the row in force is replaced by none wider."""
    rows: list[LimitsRow] = []
    now = NOW
    for version, (minutes, document, lasts) in enumerate(steps, 1):
        now += timedelta(minutes=minutes)
        until = None if lasts is None else now + timedelta(minutes=lasts)
        if until and raise_fault(lasting(rows), document, "account", expires_at=until, now=now):
            continue
        rows.append(row(document, version, until))
        assert in_force(rows, now) is rows[-1], "what is newest counts at once"
        became = states(rows, now)
        assert list(became.values()).count(RowState.IN_FORCE) == 1
        if until is None:
            assert in_force(rows, now + RAISE_MAX) is rows[-1]
            continue
        assert until - now <= RAISE_MAX
        last = in_force(rows, until - timedelta(microseconds=1))
        after = in_force(rows, until)
        assert (last, after) == (rows[-1], lasting(rows)), "at its end, not a moment later"
        assert after is not None
        assert not any(is_wider(field, getattr(document, field), new) for field, new in after.document)
        assert states(rows, until)[version] is RowState.EXPIRED


@pytest.mark.parametrize(
    ("change", "minutes", "fault"),
    [
        ({"max_order_notional": D(20_000)}, 60 * 24, None),
        ({"max_order_notional": D(20_000)}, 60 * 24 + 1, "24 hours at most"),
        ({"max_order_notional": D(20_000)}, 0, "is past"),
        ({"max_order_notional": D(10_000)}, 5, "raises nothing"),
        ({"max_order_notional": D(20_000), "max_open_orders": 19}, 5, "max_open_orders would be lower"),
        ({"short_selling_strategies": ("other",)}, 5, "short_selling_strategies would be lower"),
    ],
)
def test_only_a_raise_expires(change: dict[str, Any], minutes: int, fault: str | None) -> None:
    found = raise_fault(
        row(LIMITS), limits(**change), "account", expires_at=NOW + timedelta(minutes=minutes), now=NOW
    )
    assert (found is None) if fault is None else (found is not None and fault in found)
    unset = raise_fault(None, StrategyLimits(), "strategy x", expires_at=NOW + timedelta(minutes=1), now=NOW)
    assert unset == "nothing is set for strategy x that could be raised"


def test_tighter_than_the_raise_and_wider_than_what_would_follow_is_a_raise() -> None:
    below, over = row(LIMITS), row(limits(max_order_notional=D(90_000)), 2, NOW)
    assert decision(over, below, limits(max_order_notional=D(20_000))) is LimitsDecision.RAISED
    assert decision(over, below, limits(max_order_notional=D(9_000))) is LimitsDecision.LOWERED
    assert decision(over, below, LIMITS) is LimitsDecision.LOWERED
