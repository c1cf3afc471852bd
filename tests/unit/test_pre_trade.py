"""Every pre-trade check, refused for its own reason alone, and what the user is told."""

from datetime import timedelta
from typing import Any

import pytest

from risk.messages import UserMessage
from risk.pre_trade import CHECKS, check
from schemas.market import Provider
from schemas.risk import CheckName
from tests.unit.risk_builders import MARKET_NOW, MICROSECOND, NOW, outcome, pre_trade, quote, second

STALE = MARKET_NOW - timedelta(seconds=15) - MICROSECOND
AHEAD = MARKET_NOW + timedelta(seconds=2) + MICROSECOND


def reasons(**changes: Any) -> set[CheckName]:
    verdict = check(pre_trade(**changes))
    assert verdict.passed is (not verdict.reasons)
    assert len(verdict.checks) == len(CHECKS), "every check runs even after one failed"
    assert all(each.value and each.limit and each.formula for each in verdict.checks)
    return set(verdict.reasons)


def test_a_sound_order_passes() -> None:
    verdict = check(pre_trade())
    assert (verdict.passed, verdict.user_message) == (True, None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"approved_at": NOW - timedelta(minutes=5) - MICROSECOND}, CheckName.STALENESS),
        ({"approved_at": NOW + timedelta(seconds=2) + MICROSECOND}, CheckName.STALENESS),
        ({"is_open": False, "seconds_to_close": None}, CheckName.TRADING_HOURS),
        ({"is_open": False}, CheckName.TRADING_HOURS),
        ({"hours_doubt": "calendars differ"}, CheckName.TRADING_HOURS),
        ({"seconds_to_close": 900.0}, CheckName.CLOSING_BELL),
        ({"seconds_to_close": 0.0}, CheckName.CLOSING_BELL),
        ({"seconds_to_close": -5.0}, CheckName.CLOSING_BELL),
        ({"seconds_to_close": float("nan")}, CheckName.CLOSING_BELL),
        ({"seconds_to_close": None}, CheckName.CLOSING_BELL),
        ({"primary": None}, CheckName.STALE_MARKET_DATA),
        ({"primary": quote(quoted_at=STALE)}, CheckName.STALE_MARKET_DATA),
        ({"primary": quote(quoted_at=AHEAD)}, CheckName.STALE_MARKET_DATA),
        (
            {"primary": quote(quoted_at=STALE), "secondary": second(quoted_at=STALE)},
            CheckName.STALE_MARKET_DATA,
        ),
        ({"late_providers": (Provider.PRIMARY,)}, CheckName.STALE_MARKET_DATA),
        ({"primary": quote(None)}, CheckName.QUOTE_INTEGRITY),
        ({"primary": quote(ask=None)}, CheckName.QUOTE_INTEGRITY),
        ({"primary": quote(0)}, CheckName.QUOTE_INTEGRITY),
        ({"primary": quote("100.03", "100.02")}, CheckName.QUOTE_INTEGRITY),
        ({"primary": quote("98.99", "101.00")}, CheckName.SPREAD),
        ({"secondary": second("97.99", "98.01")}, CheckName.PROVIDERS_DISAGREE),
    ],
)
def test_refused_for_one_reason_alone(changes: dict[str, Any], reason: CheckName) -> None:
    assert reasons(**changes) == {reason}


@pytest.mark.parametrize(
    "changes",
    [
        {"approved_at": NOW - timedelta(minutes=5)},
        {"approved_at": NOW + timedelta(seconds=2)},
        {"seconds_to_close": 900.000001},
        {"primary": quote(quoted_at=MARKET_NOW - timedelta(seconds=15))},
        {"primary": quote(quoted_at=MARKET_NOW + timedelta(seconds=2))},
        {"primary": quote("99", "101")},
        {"primary": quote("100", "100")},
        {"secondary": second("97.98", "98.06")},
    ],
)
def test_at_the_limit_it_passes(changes: dict[str, Any]) -> None:
    assert reasons(**changes) == set()


@pytest.mark.parametrize("primary", [None, quote(quoted_at=STALE), quote(quoted_at=AHEAD)])
def test_the_secondary_stands_in_for_a_stale_or_absent_primary(primary: Any) -> None:
    assert reasons(primary=primary, secondary=second()) == set()


def test_the_secondary_is_judged_as_strictly() -> None:
    stale = quote(quoted_at=STALE)
    assert reasons(primary=stale, secondary=second(None)) == {CheckName.QUOTE_INTEGRITY}
    assert reasons(primary=stale, secondary=second("98", "102")) == {CheckName.SPREAD}


def test_a_late_primary_gives_way_to_the_secondary_and_is_not_compared_with_it() -> None:
    verdict = check(pre_trade(late_providers=(Provider.PRIMARY,), secondary=second("50.00", "50.01")))
    assert verdict.passed
    assert "feed late" in outcome(verdict, CheckName.STALE_MARKET_DATA).formula


def test_a_stale_or_broken_secondary_does_not_stop_a_fresh_primary() -> None:
    assert reasons(secondary=second("50.00", "50.01", quoted_at=STALE)) == set()
    assert reasons(secondary=second(None, "50.01")) == set()


def test_a_closed_market_is_not_also_near_its_close() -> None:
    assert reasons(is_open=False, seconds_to_close=60.0) == {CheckName.TRADING_HOURS}


def test_the_user_is_told_the_failure_tables_words() -> None:
    verdict = check(pre_trade(primary=None))
    assert verdict.user_message == "Signal rejected due to stale market data. Required < 15s latency."


def test_the_message_is_that_of_the_first_failed_check() -> None:
    assert check(pre_trade(primary=None, is_open=False)).user_message is None


def test_the_arithmetic_can_be_done_again_by_hand() -> None:
    spread = outcome(check(pre_trade(primary=quote("98.99", "101.00"))), CheckName.SPREAD)
    assert spread.value == "2.010101 %"
    assert spread.formula == "(ask 101 − bid 98.99) ÷ mid 99.995 > 2.000 %"


def test_the_messages_are_the_specifications_word_for_word() -> None:
    assert {message.name: message.value for message in UserMessage} == {
        "BROKER_API_DOWN": "Broker API unreachable. Trading sequence halted to prevent duplicate execution.",
        "MARKET_DATA_STALE": "Signal rejected due to stale market data. Required < 15s latency.",
        "RATE_LIMITING": "Broker rate limit hit. Throttling execution speed.",
        "PARTIAL_FILLS": "Order partially filled. Awaiting liquidity for remainder.",
        "NETWORK_TIMEOUTS": "Network degradation. Resubmitting with idempotent key validation.",
        "CLOCK_SKEW": "Critical Time Sync Error. Halting to prevent market-open anomalies.",
    }


@pytest.mark.parametrize(
    ("changes", "name", "formula"),
    [
        ({}, CheckName.TRADING_HOURS, "regular session is open at 2013-10-08T15:15:00+00:00"),
        (
            {"is_open": False, "extended_hours": True},
            CheckName.TRADING_HOURS,
            "extended session is closed at 2013-10-08T15:15:00+00:00",
        ),
        ({"hours_doubt": "they differ"}, CheckName.TRADING_HOURS, "they differ"),
        ({}, CheckName.CLOSING_BELL, "3600.000000 s to the bell > 900 s"),
        ({"seconds_to_close": 1.5}, CheckName.CLOSING_BELL, "1.500000 s to the bell ≤ 900 s"),
        (
            {"late_providers": (Provider.SECONDARY,), "secondary": second()},
            CheckName.STALE_MARKET_DATA,
            "last quote's age in market time: primary 1.000000 s; secondary 1.000000 s, feed late",
        ),
        ({}, CheckName.QUOTE_INTEGRITY, "primary: both sides present and not crossed"),
        ({"primary": quote(None)}, CheckName.QUOTE_INTEGRITY, "primary: no bid"),
        (
            {"secondary": second("97.99", "98.01")},
            CheckName.PROVIDERS_DISAGREE,
            "|primary mid 100 − secondary mid 98| ÷ 99 > 2.000 %",
        ),
    ],
)
def test_the_formula_tells_what_was_compared(changes: dict[str, Any], name: CheckName, formula: str) -> None:
    assert outcome(check(pre_trade(**changes)), name).formula == formula
