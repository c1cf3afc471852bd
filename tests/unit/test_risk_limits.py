"""Every risk check, refused for its own reason alone."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from risk.arithmetic import InexactNumberError
from risk.limits import CHECKS, assess
from schemas.orders import Action, OrderType, Side, TimeInForce
from schemas.risk import CheckName, Proposal, RiskFacts
from tests.unit.risk_builders import (
    MARKET_NOW,
    MICROSECOND,
    NOW,
    D,
    close,
    facts,
    held,
    limits,
    market_order,
    outcome,
    proposal,
    quote,
)


def reasons(asked: Proposal, known: RiskFacts) -> set[CheckName]:
    verdict = assess(asked, known)
    assert verdict.approved is (not verdict.reasons)
    assert len(verdict.checks) == len(CHECKS), "every check runs even after one failed"
    assert all(check.value and check.limit and check.formula for check in verdict.checks)
    return set(verdict.reasons)


def test_a_sound_signal_passes_every_check() -> None:
    verdict = assess(proposal(), facts())
    assert verdict.approved
    assert (verdict.quantity, verdict.worst_price, verdict.side) == (D(10), D(100), Side.BUY)
    assert verdict.account_exposure_pct == D("1.00")


OLD = quote(quoted_at=MARKET_NOW - timedelta(seconds=15) - MICROSECOND)
AHEAD = quote(quoted_at=MARKET_NOW + timedelta(seconds=2) + MICROSECOND)
NIGHT = {"extended_hours": True, "strategy": "night"}
REFUSED: list[tuple[str, dict[str, Any], dict[str, Any], CheckName]] = [
    ("kill switch", {}, {"kill_engaged": True, "kill_reason": "drift"}, CheckName.KILL_SWITCH),
    (
        "waited for the release",
        {},
        {"received_at": NOW - MICROSECOND, "kill_changed_at": NOW},
        CheckName.KILL_SWITCH,
    ),
    ("late", {"valid_until": NOW - MICROSECOND}, {}, CheckName.SIGNAL_EXPIRED),
    ("unknown order", {}, {"unknown_outcomes": ("ti-1",)}, CheckName.UNKNOWN_OUTCOME),
    ("stop at its limit", {"hard_stop_loss": D("99.98"), "limit_price": D("99.98")}, {}, CheckName.HARD_STOP_LOSS),
    ("stop at the bid", {"hard_stop_loss": D("99.98")}, {}, CheckName.HARD_STOP_LOSS),
    ("stop off the tick", {"hard_stop_loss": D("90.001")}, {}, CheckName.HARD_STOP_LOSS),
    ("stop for parts", {"hard_stop_loss": D(90), "quantity": D("1.5")}, {}, CheckName.HARD_STOP_LOSS),
    ("short", {"action": Action.SELL_TO_OPEN}, {}, CheckName.SHORT_SELLING),
    ("cover of nothing", {"action": Action.BUY_TO_CLOSE}, {}, CheckName.COVER_MORE_THAN_SHORT),
    ("night, not listed", {"extended_hours": True}, {}, CheckName.EXTENDED_HOURS),
    ("night, gtc", {**NIGHT, "time_in_force": TimeInForce.GTC}, {}, CheckName.EXTENDED_HOURS),
    ("night, parts of a share", {**NIGHT, "quantity": D("1.5")}, {}, CheckName.EXTENDED_HOURS),
    (
        "night, market",
        {**NIGHT, "order_type": OrderType.MARKET, "limit_price": None},
        {},
        CheckName.EXTENDED_HOURS,
    ),
    ("old quote", {}, {"quote": OLD}, CheckName.STALE_MARKET_DATA),
    ("quote from the future", {}, {"quote": AHEAD}, CheckName.STALE_MARKET_DATA),
    ("notional", {"quantity": D("100.01")}, {}, CheckName.ORDER_NOTIONAL),
    ("quantity", {"quantity": D(501), "limit_price": D(1)}, {}, CheckName.ORDER_QUANTITY),
    ("no quantity", {"quantity": D(0)}, {}, CheckName.ORDER_QUANTITY),
    ("negative quantity", {"quantity": D(-1)}, {}, CheckName.ORDER_QUANTITY),
    ("price", {"limit_price": D("101.03")}, {}, CheckName.PRICE_COLLAR),
    ("ticker exposure", {}, {"exposures": (held(191),)}, CheckName.TICKER_EXPOSURE),
    ("strategy exposure", {}, {"exposures": (held(491, ticker="MSFT"),)}, CheckName.STRATEGY_EXPOSURE),
    ("gross exposure", {}, {"exposures": (held(991, ticker="F", strategy="x"),)}, CheckName.GROSS_EXPOSURE),
    ("worth unknown", {}, {"exposures": (held(0, ticker="F", unpriced_orders=1),)}, CheckName.GROSS_EXPOSURE),
    ("buying power", {}, {"buying_power": D("999.99")}, CheckName.BUYING_POWER),
]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "known", "reason"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED]
)
def test_refused_for_one_reason_alone(
    asked: dict[str, Any], known: dict[str, Any], reason: CheckName
) -> None:
    assert reasons(proposal(**asked), facts(**known)) == {reason}


@pytest.mark.parametrize(
    ("asked", "known"),
    [
        ({"valid_until": NOW}, {}),
        (NIGHT, {}),
        ({}, {"quote": quote(quoted_at=MARKET_NOW - timedelta(seconds=15))}),
        ({}, {"quote": quote(quoted_at=MARKET_NOW + timedelta(seconds=2))}),
        ({"limit_price": D("101.02")}, {}),
        ({"limit_price": D("0.01"), "quantity": D(500)}, {}),
        ({}, {"exposures": (held(190),)}),
        ({}, {"exposures": (held(490, ticker="MSFT"),)}),
        ({}, {"exposures": (held(990, ticker="F", strategy="x"),)}),
        ({}, {"buying_power": D(1000)}),
        ({}, {"exposures": (held(190, mark=90), held(0, mark=100, strategy="x"))}),
    ],
)
def test_at_the_limit_it_passes(asked: dict[str, Any], known: dict[str, Any]) -> None:
    assert reasons(proposal(**asked), facts(**known)) == set()


@pytest.mark.parametrize("missing", ["bid", "ask"])
@pytest.mark.parametrize("price", [None, "0", "-1"])
def test_a_quote_without_a_side_is_no_market(missing: str, price: str | None) -> None:
    broken = quote(**{missing: price})
    assert reasons(proposal(), facts(quote=broken)) == {CheckName.MARKET_DATA}


def test_a_crossed_quote_is_no_market_and_a_locked_one_is() -> None:
    crossed, locked = quote("100.01", "100.00"), quote("100.00", "100.00")
    assert CheckName.MARKET_DATA in reasons(proposal(), facts(quote=crossed))
    assert reasons(proposal(), facts(quote=locked)) == set()


def test_a_quote_of_another_ticker_is_no_quote() -> None:
    assert reasons(proposal(), facts(quote=quote(ticker="MSFT"))) == {CheckName.MARKET_DATA}


def test_without_any_quote_a_market_order_has_no_price_and_nothing_passes_that_needs_one() -> None:
    verdict = assess(market_order(), facts(quote=None))
    assert verdict.worst_price == 0
    assert verdict.reasons == (CheckName.MARKET_DATA,), "the cause, not what could not be computed for it"
    assert {check.name for check in verdict.checks if not check.passed and not check.computed} == {
        CheckName.STALE_MARKET_DATA,
        CheckName.PRICE_COLLAR,
        CheckName.ORDER_NOTIONAL,
        CheckName.TICKER_EXPOSURE,
        CheckName.STRATEGY_EXPOSURE,
        CheckName.GROSS_EXPOSURE,
        CheckName.BUYING_POWER,
    }


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"limit_price": None}, "needs a limit price"),
        ({"limit_price": D(0)}, "not a price"),
        ({"limit_price": D(-5)}, "not a price"),
        ({"order_type": OrderType.MARKET}, "carries no limit price"),
    ],
)
def test_a_price_that_cannot_be_is_refused_and_named(changes: dict[str, Any], text: str) -> None:
    check = outcome(assess(proposal(**changes), facts()), CheckName.PRICE_COLLAR)
    assert not check.passed
    assert text in check.formula


def test_beside_an_order_of_unknown_worth_nothing_is_opened_and_closes_pass() -> None:
    found = reasons(proposal(), facts(exposures=(held(0, strategy="EXTERNAL", unpriced_orders=1),)))
    assert found == {CheckName.TICKER_EXPOSURE, CheckName.GROSS_EXPOSURE}
    assert not reasons(close(), facts(exposures=(held(10, unpriced_orders=1),)))


@pytest.mark.parametrize("equity", [D(0), D(-1)])
def test_without_equity_nothing_is_opened(equity: Decimal) -> None:
    assert reasons(proposal(), facts(equity=equity)) == {
        CheckName.TICKER_EXPOSURE,
        CheckName.STRATEGY_EXPOSURE,
        CheckName.GROSS_EXPOSURE,
        CheckName.DAILY_LOSS,
        CheckName.DRAWDOWN,
    }


class TestClose:
    """A close of held shares passes limits that it can only improve."""

    def test_passes_when_everything_is_over_its_limit(self) -> None:
        known = facts(
            exposures=(held(400, mark=300), held(1000, ticker="MSFT", strategy="other")),
            equity=D(-5),
            buying_power=D(-5),
            unknown_outcomes=("ti-1",),
            limits=limits(max_order_notional=D(1)),
        )
        assert reasons(close(quantity=D(400), limit_price=D("99.50")), known) == set()

    @pytest.mark.parametrize(
        ("known", "reason"),
        [
            ({"kill_engaged": True}, CheckName.KILL_SWITCH),
            ({"quote": quote(None)}, CheckName.MARKET_DATA),
            ({"quote": None}, CheckName.MARKET_DATA),
            ({"limits": limits(max_order_quantity=D(9))}, CheckName.ORDER_QUANTITY),
            ({"exposures": (held("9.999999999"),)}, CheckName.SELL_MORE_THAN_HELD),
        ],
    )
    def test_is_refused_by_what_it_does_not_improve(self, known: dict[str, Any], reason: CheckName) -> None:
        assert reason in reasons(close(), facts(**{"exposures": (held(10),), **known}))

    def test_price_has_a_floor_and_no_ceiling(self) -> None:
        known = facts(exposures=(held(10),))
        assert reasons(close(limit_price=D("98.97")), known) == {CheckName.PRICE_COLLAR}
        assert reasons(close(limit_price=D("98.98")), known) == set()
        assert reasons(close(limit_price=D(5000)), known) == set()

    def test_counts_the_account_and_not_the_strategy(self) -> None:
        known = facts(exposures=(held(6, strategy="a"), held(4, strategy="b")))
        assert reasons(close(strategy="c"), known) == set()

    def test_shares_that_working_sells_may_take_are_not_there(self) -> None:
        known = facts(exposures=(held(15, reserved_sell=D(6)), held(50, ticker="MSFT")))
        assert reasons(close(quantity=D(9)), known) == set()
        assert reasons(close(quantity=D(10)), known) == {CheckName.SELL_MORE_THAN_HELD}

    def test_shares_that_working_buys_may_bring_are_not_there_yet(self) -> None:
        known = facts(exposures=(held(5, reserved_buy=D(50), reserved_buy_notional=D(5000)),))
        assert reasons(close(quantity=D(6)), known) == {CheckName.SELL_MORE_THAN_HELD}


class TestMarketOrder:
    """Goes out as a limit at the collar's edge, rounded inwards."""

    def test_buy_rounds_down(self) -> None:
        # 100.0150 + 1 % of 100.0050
        verdict = assess(market_order(), facts(quote=quote("99.9950", "100.0150")))
        assert (verdict.approved, verdict.worst_price) == (True, D("101.01"))
        assert outcome(verdict, CheckName.PRICE_COLLAR).limit == "101.01505"

    def test_sell_rounds_up(self) -> None:
        known = facts(exposures=(held(10),), quote=quote("99.9950", "100.0150"))
        # 99.9950 − 1 % of 100.0050 = 98.99495
        verdict = assess(market_order(action=Action.SELL_TO_CLOSE), known)
        assert (verdict.approved, verdict.worst_price) == (True, D("99.00"))

    def test_is_sized_at_its_worst_price(self) -> None:
        # 99 × 101.02 = 10,000.98, though at the ask it would be 9,901.98
        assert reasons(market_order(quantity=D(99)), facts()) == {CheckName.ORDER_NOTIONAL}


def test_working_orders_count_at_their_worst_price() -> None:
    resting = held(0, reserved_buy=D(10), reserved_buy_notional=D("19000.01"))
    assert reasons(proposal(), facts(exposures=(resting,))) == {CheckName.TICKER_EXPOSURE}
    assert reasons(proposal(limit_price=D("99.999")), facts(exposures=(resting,))) == set()


def test_a_working_sell_gives_no_relief() -> None:
    selling = held(191, reserved_sell=D(191), reserved_sell_notional=D(19100))
    assert reasons(proposal(), facts(exposures=(selling,))) == {CheckName.TICKER_EXPOSURE}


def test_strategies_share_the_tickers_limit() -> None:
    other = held(191, strategy="other")
    assert reasons(proposal(), facts(exposures=(other,))) == {CheckName.TICKER_EXPOSURE}


def test_a_short_position_counts_by_its_size() -> None:
    short = held(-995, ticker="MSFT", strategy="other")
    assert reasons(proposal(), facts(exposures=(short,))) == {CheckName.GROSS_EXPOSURE}


def test_exposure_is_shown_with_this_order_in_it() -> None:
    known = facts(
        exposures=(held(50), held(100, ticker="MSFT", strategy="x", reserved_buy_notional=D("123.45")))
    )
    assert assess(proposal(), known).account_exposure_pct == D("16.12")
    assert assess(close(), known).account_exposure_pct == D("15.12")
    assert assess(close(), facts(equity=D(0))).account_exposure_pct == D(1_000_000)


def test_the_arithmetic_can_be_done_again_by_hand() -> None:
    verdict = assess(proposal(), facts(exposures=(held(50),)))
    assert outcome(verdict, CheckName.TICKER_EXPOSURE).formula == (
        "AAPL: 5000 held and working, with this order of 1000 6000 ≤ 20 % of equity 100000 = 20000"
    )
    assert outcome(verdict, CheckName.ORDER_NOTIONAL).formula == "10 × 100 = 1000 ≤ 10000"
    assert outcome(verdict, CheckName.PRICE_COLLAR).formula == (
        "limit price 100 ≤ ask 100.02 + 1 % of mid 100 = 101.02"
    )


def test_a_number_too_long_to_be_exact_decides_nothing() -> None:
    with pytest.raises(InexactNumberError, match="200 digits"):
        assess(proposal(quantity=D("1." + "7" * 120), limit_price=D("1." + "3" * 120)), facts())


FORMULAS: list[tuple[Proposal, RiskFacts, CheckName, str]] = [
    (proposal(quantity=D(101)), facts(), CheckName.ORDER_NOTIONAL, "101 × 100 = 10100 > 10000"),
    (proposal(quantity=D(500)), facts(), CheckName.ORDER_QUANTITY, "500 ≤ 500"),
    (proposal(quantity=D(501)), facts(), CheckName.ORDER_QUANTITY, "501 > 500"),
    (proposal(quantity=D(0)), facts(), CheckName.ORDER_QUANTITY, "0 is no quantity"),
    (
        proposal(limit_price=D("101.03")),
        facts(),
        CheckName.PRICE_COLLAR,
        "limit price 101.03 > ask 100.02 + 1 % of mid 100 = 101.02",
    ),
    (close(), facts(), CheckName.PRICE_COLLAR, "limit price 100 ≥ bid 99.98 − 1 % of mid 100 = 98.98"),
    (
        close(limit_price=D(98)),
        facts(),
        CheckName.PRICE_COLLAR,
        "limit price 98 < bid 99.98 − 1 % of mid 100 = 98.98",
    ),
    (proposal(), facts(), CheckName.BUYING_POWER, "order 1000 ≤ buying power 100000"),
    (proposal(), facts(buying_power=D(1)), CheckName.BUYING_POWER, "order 1000 > buying power 1"),
    (
        close(),
        facts(exposures=(held(15, reserved_sell=D(5)),)),
        CheckName.SELL_MORE_THAN_HELD,
        "10 ≤ held 15 − working sells 5 = 10",
    ),
    (
        close(),
        facts(exposures=(held(15, reserved_sell=D(6)),)),
        CheckName.SELL_MORE_THAN_HELD,
        "10 > held 15 − working sells 6 = 9",
    ),
    (
        proposal(),
        facts(exposures=(held(999, ticker="F", strategy="x"),)),
        CheckName.GROSS_EXPOSURE,
        "account: 99900 held and working, with this order of 1000 100900 > 100 % of equity 100000 = 100000",
    ),
]


@pytest.mark.parametrize(("asked", "known", "name", "formula"), FORMULAS)
def test_the_formula_tells_what_was_compared(
    asked: Proposal, known: RiskFacts, name: CheckName, formula: str
) -> None:
    assert outcome(assess(asked, known), name).formula == formula


def test_where_marks_differ_the_highest_values_the_net_position() -> None:
    rows = held(191, mark=90), held(0, mark=100, strategy="other")
    assert reasons(proposal(), facts(exposures=rows[:1])) == set()
    assert reasons(proposal(), facts(exposures=rows)) == {CheckName.TICKER_EXPOSURE}


def test_a_short_sale_is_also_counted_on_the_selling_side() -> None:
    working = held(0, reserved_sell_notional=D("19000.01"))
    asked = proposal(action=Action.SELL_TO_OPEN)
    assert reasons(asked, facts(exposures=(working,))) == {CheckName.SHORT_SELLING, CheckName.TICKER_EXPOSURE}


def test_a_market_below_the_smallest_tick_gives_no_price() -> None:
    verdict = assess(market_order(), facts(quote=quote("0.00001", "0.00002")))
    assert verdict.worst_price == 0
    assert not outcome(verdict, CheckName.PRICE_COLLAR).passed


def test_an_exposure_beyond_showing_is_shown_as_the_largest() -> None:
    def shown(equity: str) -> Decimal:
        return assess(proposal(), facts(equity=D(equity))).account_exposure_pct

    assert shown("0.1") == D(1_000_000)
    assert shown("0.2") == D(500_000)
    assert shown("0.01") == D(1_000_000)
