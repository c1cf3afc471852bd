"""When a refusal is one too many: the strategy is disabled, or the kill switch asked for."""

from datetime import timedelta
from typing import Any

import pytest

from risk.arithmetic import exact
from risk.limits import assess
from risk.losses import READINGS_APART, Judgement, judge, losses
from risk.runaway import Runaway, runaway
from schemas.conduct import Breach, EquityReading, LossKind, StopCause, StrategyStop
from tests.unit.risk_builders import MICROSECOND, NOW, D, conduct, facts, limits, proposal

STOPPED = StrategyStop(
    strategy="momentum", since=NOW, cause=StopCause.BY_HAND, reason="a test", stopped_by="a person"
)


def found(**done: Any) -> Runaway:
    known = facts(conduct=conduct(**done))
    return runaway(assess(proposal(), known), known.conduct, known.limits)


def test_whoever_repeats_itself_too_often_is_disabled_at_once() -> None:
    assert found(executed=9) == Runaway()
    assert found(executed=10).strategy is StopCause.REPEATED_EXECUTIONS
    assert "with this one 11 > 10" in found(executed=10).strategy_reason


def test_too_fast_is_refused_and_disabled_only_after_as_many_refusals_as_orders_are_allowed() -> None:
    """Thirty orders a minute are allowed: the thirty-first refusal is one too many."""
    assert found(strategy_approvals=30, strategy_rate_refusals=29) == Runaway()
    over = found(strategy_approvals=30, strategy_rate_refusals=30)
    assert (over.strategy, over.account_reason) == (StopCause.RUNAWAY_RATE, None)
    assert over.strategy_reason == "31 of its signals refused for their rate in 60 s > 30"
    assert found(strategy_approvals=29, strategy_rate_refusals=99) == Runaway(), "this one was not too fast"


def test_the_whole_account_too_fast_asks_for_the_kill_switch() -> None:
    assert found(approvals=60, rate_refusals=59).account_reason is None
    over = found(approvals=60, rate_refusals=60)
    assert over.account_reason == "61 signals refused for the account's rate in 60 s > 60"
    assert over.strategy is None


def test_who_is_disabled_stays_so_for_the_first_reason_and_nothing_runs_away_while_killed() -> None:
    assert found(executed=99, stopped=STOPPED) == Runaway()
    known = facts(kill_engaged=True, conduct=conduct(executed=99, approvals=99, rate_refusals=99))
    assert runaway(assess(proposal(), known), known.conduct, known.limits) == Runaway()


def judged(equity: str, *, after: timedelta = timedelta(0), **standing: Any) -> Judgement:
    reading = EquityReading(equity=D(equity), taken_at=NOW, session_equity=D(100_000), peak_equity=D(100_000))
    known = {kind: Breach(kind=kind, first_read_at=NOW - after, **standing) for kind in LossKind if after}
    with exact():
        allowed = limits(max_daily_loss_pct=D(5), max_drawdown_pct=D(10))
        return judge(losses(reading, allowed), NOW, known)


def kinds(judgement: Judgement) -> tuple[set[LossKind], set[LossKind], set[LossKind]]:
    begun, confirmed, over = (
        {each.kind for each in some} for some in (judgement.begun, judgement.confirmed, judgement.over)
    )
    return begun, confirmed, over


BOTH = set(LossKind)


@pytest.mark.parametrize(
    ("equity", "begun"),
    [
        ("95000.00", set()),
        ("94999.99", {LossKind.DAILY_LOSS}),
        ("90000.00", {LossKind.DAILY_LOSS}),
        ("89999.99", BOTH),
    ],
)
def test_exactly_the_limit_is_no_loss_over_it(equity: str, begun: set[LossKind]) -> None:
    assert kinds(judged(equity)) == (begun, set(), set())


def test_a_second_reading_confirms_five_seconds_after_the_first_and_not_sooner() -> None:
    assert not judged("1", after=READINGS_APART - MICROSECOND).changes
    assert kinds(judged("1", after=READINGS_APART)) == (set(), BOTH, set())


def test_a_reading_within_the_limit_ends_it_and_what_was_confirmed_stops_trading_once() -> None:
    assert kinds(judged("100000", after=READINGS_APART)) == (set(), set(), BOTH)
    assert not judged("1", after=timedelta(hours=1), confirmed_at=NOW).changes


def test_yesterdays_loss_is_not_todays() -> None:
    """How: nobody looked at the change of sessions; the daily loss stands confirmed with yesterday's close."""
    standing = {
        kind: Breach(kind=kind, first_read_at=NOW - READINGS_APART, confirmed_at=NOW, last_equity=D(200_000))
        for kind in LossKind
    }
    reading = EquityReading(equity=D(1), taken_at=NOW, session_equity=D(100_000), peak_equity=D(100_000))
    with exact():
        found = losses(reading, limits(max_daily_loss_pct=D(5), max_drawdown_pct=D(10)))
        assert not judge(found, NOW, standing, D(200_000)).changes
        assert kinds(judge(found, NOW, standing, D(100_000))) == (set(), set(), {LossKind.DAILY_LOSS})


def test_what_cannot_be_measured_confirms_nothing_and_ends_nothing() -> None:
    unknown = EquityReading(equity=None, taken_at=NOW, session_equity=None, peak_equity=D(1))
    standing = {kind: Breach(kind=kind, first_read_at=NOW - timedelta(hours=1)) for kind in LossKind}
    with exact():
        assert not judge(losses(unknown, limits()), NOW, standing).changes
