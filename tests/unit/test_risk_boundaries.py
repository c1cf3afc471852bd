"""Every check at its edge: at the limit it passes, one cent, share, second or order over it fails."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.limits import CHECKS, assess
from schemas.conduct import StopCause, StrategyStop
from schemas.locks import SymbolLock
from schemas.orders import Action
from schemas.risk import CheckName, CheckResult, FundsRefusal, Proposal, RiskFacts
from tests.unit.risk_builders import (
    MARKET_NOW,
    MICROSECOND,
    NOW,
    D,
    any_speed,
    close,
    conduct,
    cover,
    facts,
    held,
    limits,
    outcome,
    proposal,
    quote,
    short,
    stop,
    working,
)

CENT = D("0.01")
Case = tuple[Proposal, RiskFacts]

STOPPED = StrategyStop(
    strategy="momentum", since=NOW, cause=StopCause.BY_HAND, reason="a test", stopped_by="a person"
)


def poor(power: str, *, seconds_later: int = 1) -> RiskFacts:
    """A strategy whose order for $1,000 the broker refused."""
    refusal = FundsRefusal(strategy="momentum", client_order_id="ti-1", needed=D(1000), refused_at=NOW)
    snapshot_at = NOW + timedelta(seconds=seconds_later)
    return facts(funds_refusal=refusal, buying_power=D(power), snapshot_at=snapshot_at)


def locked(**what: Any) -> RiskFacts:
    """A person has locked the ticker, for good."""
    lock = SymbolLock(
        lock_id=UUID(int=1), ticker="AAPL", locked_at=NOW, reason="earnings tonight", locked_by="ana", **what
    )
    return facts(locks=(lock,))


def doing(**what: Any) -> RiskFacts:
    return facts(conduct=conduct(**what))


def worth(equity: str, **changes: Any) -> RiskFacts:
    return facts(**{"equity": D(equity), "conduct": conduct(), **changes})


NIGHT = {"extended_hours": True, "strategy": "night"}
EDGES: dict[CheckName, tuple[tuple[Case, Case], ...]] = {
    CheckName.KILL_SWITCH: (
        (
            (proposal(), facts(received_at=NOW, kill_changed_at=NOW)),
            (proposal(), facts(received_at=NOW - MICROSECOND, kill_changed_at=NOW)),
        ),
        ((proposal(), facts()), (close(), facts(kill_engaged=True))),
    ),
    CheckName.BROKER_HALT: (
        ((close(), doing(broker_halt="5 calls failed")), (proposal(), doing(broker_halt="5 calls failed"))),
    ),
    CheckName.STRATEGY_DISABLED: (
        ((close(), doing(stopped=STOPPED)), (proposal(), doing(stopped=STOPPED))),
        ((proposal(), doing()), (short(), doing(stopped=STOPPED))),
    ),
    CheckName.SIGNAL_EXPIRED: (
        ((proposal(valid_until=NOW), facts()), (proposal(valid_until=NOW - MICROSECOND), facts())),
    ),
    CheckName.DUPLICATE_CONTENT: (
        ((proposal(), doing()), (proposal(), doing(duplicate_of="s-0"))),
        ((close(), doing()), (close(), doing(duplicate_of="s-0"))),
    ),
    CheckName.ORDER_RATE: (
        ((proposal(), doing(approvals=59)), (proposal(), doing(approvals=60))),
        ((close(), doing(approvals=10**6)), (short(), doing(approvals=60))),
    ),
    CheckName.STRATEGY_ORDER_RATE: (
        ((proposal(), doing(strategy_approvals=29)), (proposal(), doing(strategy_approvals=30))),
        ((close(), doing(strategy_approvals=29)), (close(), doing(strategy_approvals=30))),
    ),
    CheckName.REPEATED_EXECUTIONS: (
        ((proposal(), doing(executed=9)), (proposal(), doing(executed=10))),
        ((close(), doing(executed=10)), (short(), doing(executed=10))),
    ),
    CheckName.TICKER_LISTS: (
        (
            (proposal(), facts(limits=limits(allowed_tickers=("MSFT", "AAPL")))),
            (proposal(), facts(limits=limits(allowed_tickers=("MSFT", "AAPLE")))),
        ),
        (
            (close(), facts(limits=limits(restricted_tickers=("AAPL",), allowed_tickers=("F",)))),
            (proposal(), facts(limits=limits(restricted_tickers=("AAPL",), allowed_tickers=("AAPL",)))),
        ),
    ),
    CheckName.SYMBOL_LOCKED: (
        ((proposal(), facts()), (proposal(), locked())),
        ((close(), locked()), (short(), locked(until=NOW + MICROSECOND))),
        ((cover(), locked()), (short(), locked())),
    ),
    CheckName.DAILY_LOSS: (
        ((proposal(), worth("95000.00")), (proposal(), worth("94999.99"))),
        ((close(), worth("1")), (proposal(), doing(session_equity=None))),
        (
            (proposal(), facts(conduct=conduct(session_equity=CENT))),
            (proposal(), facts(conduct=conduct(session_equity=D(0)))),
        ),
    ),
    CheckName.DRAWDOWN: (
        ((proposal(), worth("90000.00")), (proposal(), worth("89999.99"))),
        ((cover(), worth("1")), (short(), doing(peak_equity=None))),
    ),
    CheckName.UNKNOWN_OUTCOME: (((proposal(), facts()), (proposal(), facts(unknown_outcomes=("ti-1",)))),),
    CheckName.SHORT_SELLING: (((short(), facts()), (short(strategy="momentum"), facts())),),
    CheckName.EXTENDED_HOURS: (
        ((proposal(**NIGHT), facts()), (proposal(**NIGHT, quantity=D("1.000000001")), facts())),
        ((proposal(**NIGHT), facts()), (proposal(extended_hours=True), facts())),
    ),
    CheckName.MARKET_DATA: (
        ((proposal(), facts(quote=quote(100, 100))), (proposal(), facts(quote=quote("100.01", 100)))),
        ((proposal(), facts(quote=quote("0.0001", 100))), (proposal(), facts(quote=quote(0, 100)))),
    ),
    CheckName.STALE_MARKET_DATA: (
        (
            (proposal(), facts(quote=quote(quoted_at=MARKET_NOW - timedelta(seconds=15)))),
            (proposal(), facts(quote=quote(quoted_at=MARKET_NOW - timedelta(seconds=15) - MICROSECOND))),
        ),
    ),
    CheckName.ORDER_NOTIONAL: (
        ((proposal(quantity=D(100)), facts()), (proposal(quantity=D(100), limit_price=D("100.01")), facts())),
        ((proposal(quantity=D(100)), facts()), (proposal(quantity=D(101)), facts())),
    ),
    CheckName.ORDER_QUANTITY: (
        ((close(quantity=D(500)), facts()), (close(quantity=D(501)), facts())),
        ((proposal(quantity=D("1e-9")), facts()), (proposal(quantity=D(0)), facts())),
    ),
    CheckName.PRICE_COLLAR: (
        ((proposal(limit_price=D("101.02")), facts()), (proposal(limit_price=D("101.03")), facts())),
        ((close(limit_price=D("98.98")), facts()), (close(limit_price=D("98.97")), facts())),
    ),
    CheckName.STOP_SIDE: (
        (
            (stop(Action.BUY_TO_OPEN, "100.03"), facts()),
            (stop(Action.BUY_TO_OPEN, "100.02"), facts()),
        ),
        (
            (stop(Action.SELL_TO_CLOSE, "99.97"), facts()),
            (stop(Action.SELL_TO_CLOSE, "99.98"), facts()),
        ),
    ),
    CheckName.HARD_STOP_LOSS: (
        (
            (proposal(hard_stop_loss=D("99.97")), facts()),
            (proposal(hard_stop_loss=D("99.98")), facts()),
        ),
        ((short(hard_stop_loss=D("100.03")), facts()), (short(hard_stop_loss=D("100.02")), facts())),
    ),
    CheckName.TICKER_EXPOSURE: (
        ((proposal(), facts(exposures=(held(190),))), (proposal(), facts(exposures=(held(191),)))),
        (
            (proposal(), facts(exposures=(held(190),))),
            (proposal(), facts(exposures=(held(190, reserved_buy_notional=CENT),))),
        ),
    ),
    CheckName.STRATEGY_EXPOSURE: (
        (
            (proposal(), facts(exposures=(held(490, ticker="MSFT"),))),
            (proposal(), facts(exposures=(held(490, ticker="MSFT", reserved_buy_notional=CENT),))),
        ),
    ),
    CheckName.GROSS_EXPOSURE: (
        (
            (proposal(), facts(exposures=(held(990, ticker="F", strategy="x"),))),
            (proposal(), facts(exposures=(held(990, ticker="F", strategy="x", reserved_buy_notional=CENT),))),
        ),
    ),
    CheckName.OPEN_ORDERS: (
        ((proposal(), doing(open_orders=19)), (proposal(), doing(open_orders=20))),
        ((close(), doing(open_orders=20)), (short(), doing(open_orders=20))),
    ),
    CheckName.BUYING_POWER: (
        ((proposal(), facts(buying_power=D(1000))), (proposal(), facts(buying_power=D("999.99")))),
    ),
    CheckName.INSUFFICIENT_FUNDS: (
        ((proposal(), poor("1000")), (proposal(), poor("999.99"))),
        ((proposal(), poor("1000")), (proposal(), poor("1000", seconds_later=0))),
    ),
    CheckName.SELL_MORE_THAN_HELD: (
        (
            (close(), facts(exposures=(held(15, reserved_sell=D(5)),))),
            (close(quantity=D(11)), facts(exposures=(held(15, reserved_sell=D(5)),))),
        ),
    ),
    CheckName.COVER_MORE_THAN_SHORT: (
        (
            (cover(), facts(exposures=(held(-15, reserved_buy=D(5)),))),
            (cover(quantity=D(11)), facts(exposures=(held(-15, reserved_buy=D(5)),))),
        ),
    ),
    CheckName.OPPOSITE_POSITION: (
        ((proposal(), facts(exposures=(held(0),))), (proposal(), facts(exposures=(held(-1),)))),
        ((short(), facts(exposures=(held(0),))), (short(), facts(exposures=(held(1),)))),
    ),
    CheckName.OPPOSITE_ORDER: (
        (
            (proposal(limit_price=D("100.00")), facts(working=(working(Action.SELL_TO_CLOSE, "100.01"),))),
            (proposal(limit_price=D("100.01")), facts(working=(working(Action.SELL_TO_CLOSE, "100.01"),))),
        ),
    ),
}
"""Check → pairs of what just passes it and what just does not."""


def names() -> set[CheckName]:
    """Of every check that there is."""
    verdict = assess(proposal(), facts())
    assert len(verdict.checks) == len(CHECKS)
    return {check.name for check in verdict.checks}


def test_every_check_has_its_edge() -> None:
    assert set(EDGES) == names(), "give the check a pair in EDGES: what just passes it, what just does not"


@pytest.mark.parametrize(
    ("name", "at", "over"), [(name, at, over) for name, pairs in EDGES.items() for at, over in pairs]
)
def test_at_the_limit_it_passes_and_over_it_fails(name: CheckName, at: Case, over: Case) -> None:
    passed, failed = (outcome(assess(*case), name) for case in (at, over))
    assert passed.passed, passed.formula
    assert not failed.passed, failed.formula
    assert failed.computed
    for check in (passed, failed):
        assert check.value
        assert check.limit
        assert check.formula


def test_all_checks_run_and_a_refusal_lists_every_reason() -> None:
    """One order that is wrong in everything that one order can be wrong in."""
    tight = limits(max_order_notional=D(1), max_order_quantity=D(1), restricted_tickers=("AAPL",))
    known = facts(
        equity=D(1000),
        buying_power=D(1),
        exposures=(held(-1), held(100, ticker="MSFT")),
        working=(working(Action.SELL_TO_OPEN, 90),),
        kill_engaged=True,
        unknown_outcomes=("ti-1",),
        limits=tight,
        quote=quote(quoted_at=MARKET_NOW - timedelta(minutes=1)),
        funds_refusal=poor("1").funds_refusal,
        snapshot_at=NOW,
        locks=locked().locks,
        conduct=conduct(
            open_orders=20, approvals=60, strategy_approvals=30, executed=10, duplicate_of="s-0",
            stopped=STOPPED, broker_halt="5 calls failed",
        ),
    )  # fmt: skip
    asked = proposal(
        limit_price=D(150), valid_until=NOW - MICROSECOND, hard_stop_loss=D(200), extended_hours=True
    )
    verdict = assess(asked, known)
    spared = {
        CheckName.SHORT_SELLING,
        CheckName.SELL_MORE_THAN_HELD,
        CheckName.COVER_MORE_THAN_SHORT,
        CheckName.STOP_SIDE,
        CheckName.MARKET_DATA,
    }
    assert set(verdict.reasons) == names() - spared
    assert len(verdict.checks) == len(CHECKS)


counts = st.integers(0, 999_998)
money = st.decimals(D("0.01"), D("1e12"), places=2)
RATES = (
    (CheckName.OPEN_ORDERS, "max_open_orders", "open_orders"),
    (CheckName.ORDER_RATE, "max_orders_per_minute", "approvals"),
    (CheckName.STRATEGY_ORDER_RATE, "max_strategy_orders_per_minute", "strategy_approvals"),
    (CheckName.REPEATED_EXECUTIONS, "max_repeated_executions", "executed"),
)


@any_speed
@given(which=st.sampled_from(RATES), count=counts)
def test_the_limits_last_order_passes_and_the_next_one_fails(
    which: tuple[CheckName, str, str], count: int
) -> None:
    name, limit, counted = which

    def told(before: int) -> CheckResult:
        known = facts(conduct=conduct(**{counted: before}), limits=limits(**{limit: count + 1}))
        return outcome(assess(proposal(), known), name)

    at, over = told(count), told(count + 1)
    assert (at.passed, at.value, at.limit) == (True, str(count + 1), str(count + 1))
    assert (over.passed, over.value, over.limit) == (False, str(count + 2), str(count + 1))


LOSSES = (
    (CheckName.DAILY_LOSS, "max_daily_loss_pct", "session_equity"),
    (CheckName.DRAWDOWN, "max_drawdown_pct", "peak_equity"),
)


@any_speed
@given(which=st.sampled_from(LOSSES), hundreds=money, percent=st.decimals(D("0.01"), D("99.99"), places=2))
def test_a_loss_of_exactly_the_limit_passes_and_a_cent_more_fails(
    which: tuple[CheckName, str, str], hundreds: Decimal, percent: Decimal
) -> None:
    name, limit, of = which
    base = hundreds * 100  # so that the limit is whole in the smallest unit compared
    equity = base - hundreds * percent

    def told(now: Decimal) -> CheckResult:
        known = facts(equity=now, conduct=conduct(**{of: base}), limits=limits(**{limit: percent}))
        return outcome(assess(proposal(), known), name)

    assert told(equity).passed
    assert not told(equity - CENT).passed
    assert not told(equity - D("1e-9")).passed
    assert told(equity + CENT).passed
