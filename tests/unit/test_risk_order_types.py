"""Stops, short sales, covers and orders of ours that could meet: refused for their own reason alone."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.arithmetic import exact
from risk.limits import assess
from risk.prices import buy_stop_limit, is_on_tick, stop_edge
from schemas.orders import Action, OrderType, Side
from schemas.risk import CheckName, Limits, Proposal, RiskFacts, WorkingOrder
from tests.unit.risk_builders import (
    LIMITS,
    D,
    any_speed,
    close,
    cover,
    facts,
    held,
    limits,
    market_order,
    outcome,
    proposal,
    quote,
    short,
    stop,
    working,
)

CENT = D("0.01")
STEP = D("0.000000001")
"""The smallest difference our numbers can have."""

BUY, SELL = Action.BUY_TO_OPEN, Action.SELL_TO_CLOSE
SHORT, COVER = Action.SELL_TO_OPEN, Action.BUY_TO_CLOSE
LONG = {"exposures": (held(10),)}
SHORTED = {"exposures": (held(-10),)}

shares = st.integers(1, 100_000).map(Decimal)
prices = st.decimals(D("1.00"), D(100_000), places=2)
percents = st.decimals(D("0.001"), D(90), places=3)


def reasons(asked: Proposal, **known: Any) -> set[CheckName]:
    return set(assess(asked, facts(**known)).reasons)


@pytest.mark.parametrize(
    ("asked", "known"),
    [
        (stop(BUY, "100.03"), {}),
        (stop(BUY, "100.03", "101.03"), {}),
        (stop(BUY, "100.03", "1.00"), {}),
        (stop(SELL, "99.97"), LONG),
        (stop(SELL, "99.97", "98.98"), LONG),
        (stop(SELL, "99.97", "150"), LONG),
        (stop(SHORT, "99.97"), {}),
        (stop(SHORT, "99.97", "98.98"), {}),
        (stop(COVER, "100.03"), SHORTED),
        (stop(COVER, "100.03", "101.03"), SHORTED),
        (short(), {}),
        (short(limit_price=D("98.98")), {}),
        (short(), SHORTED),
        (cover(strategy="momentum"), SHORTED),
        (market_order(action=SHORT, strategy="pairs"), {}),
        (market_order(action=COVER), SHORTED),
    ],
)
def test_each_type_passes_at_its_limit(asked: Proposal, known: dict[str, Any]) -> None:
    assert reasons(asked, **known) == set()


@pytest.mark.parametrize(
    ("asked", "known", "reason"),
    [
        (stop(BUY, "100.02"), {}, CheckName.STOP_SIDE),
        (stop(SELL, "99.98"), LONG, CheckName.STOP_SIDE),
        (stop(SHORT, "99.98", "99.50"), {}, CheckName.STOP_SIDE),
        (stop(COVER, "100.02", "100.50"), SHORTED, CheckName.STOP_SIDE),
        (stop(BUY, "110.00", "111.11"), {}, CheckName.PRICE_COLLAR),
        (stop(SELL, "90.00", "89.09"), LONG, CheckName.PRICE_COLLAR),
        (short(strategy="momentum"), {}, CheckName.SHORT_SELLING),
        (short(), LONG, CheckName.OPPOSITE_POSITION),
        (proposal(), SHORTED, CheckName.OPPOSITE_POSITION),
        (short(limit_price=D(101)), {"working": (working(BUY, "99.00"),)}, CheckName.OPPOSITE_POSITION),
        (proposal(), {"working": (working(SHORT, "101.00"),)}, CheckName.OPPOSITE_POSITION),
        (cover(quantity=D(11)), SHORTED, CheckName.COVER_MORE_THAN_SHORT),
        (cover(), LONG, CheckName.COVER_MORE_THAN_SHORT),
        (close(), SHORTED, CheckName.SELL_MORE_THAN_HELD),
        (
            cover(),
            {"exposures": (held(-10, reserved_buy=D(1), reserved_buy_notional=D(100)),)},
            CheckName.COVER_MORE_THAN_SHORT,
        ),
        (stop(SELL, "95", extended_hours=True, strategy="night"), LONG, CheckName.EXTENDED_HOURS),
    ],
)
def test_refused_for_one_reason_alone(asked: Proposal, known: dict[str, Any], reason: CheckName) -> None:
    assert reasons(asked, **known) == {reason}


@pytest.mark.parametrize(
    ("resting", "asked", "meets"),
    [
        (working(SELL, "100.00"), proposal(), True),
        (working(SELL, "100.01"), proposal(), False),
        (working(SELL, "101.02"), market_order(), True),
        (working(SELL, "101.03"), market_order(), False),
        (working(SELL, stop_price="90.00"), proposal(limit_price=D(1)), True),
        (working(SELL, "89.00", "90.00"), proposal(limit_price=D("88.99")), False),
        (working(SELL, "89.00", "90.00"), proposal(limit_price=D("89.00")), True),
        (working(SELL, "500.00"), stop(BUY, "101"), True),
        (working(SELL, "101.51"), stop(BUY, "101", "101.50"), False),
        (working(BUY, "100.00"), close(), True),
        (working(BUY, "99.99"), close(), False),
        (working(COVER, stop_price="120.00"), short(), True),
        (working(BUY, "100.00"), proposal(), False),
        (working(SELL, "99.00"), close(quantity=D(1)), False),
    ],
)
def test_orders_of_ours_that_could_trade_with_each_other(
    resting: WorkingOrder, asked: Proposal, meets: bool
) -> None:
    check = outcome(assess(asked, facts(exposures=(held(10),), working=(resting,))), CheckName.OPPOSITE_ORDER)
    assert check.passed is not meets
    assert check.value == ("resting" if meets else "none")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"order_type": OrderType.STOP}, "carries no limit price"),
        ({"order_type": OrderType.STOP, "limit_price": None}, "needs a stop price"),
        ({"order_type": OrderType.STOP_LIMIT}, "needs a stop price"),
        (
            {"order_type": OrderType.STOP_LIMIT, "limit_price": None, "stop_price": D(1)},
            "needs a limit price",
        ),
        ({"stop_price": D(101)}, "carries no stop price"),
        ({"order_type": OrderType.STOP, "limit_price": None, "stop_price": D(-1)}, "not a price"),
    ],
)
def test_prices_that_do_not_fit_the_type_are_refused_and_named(changes: dict[str, Any], text: str) -> None:
    check = outcome(assess(proposal(**changes), facts()), CheckName.PRICE_COLLAR)
    assert not check.passed
    assert text in check.formula


def test_without_a_quote_no_stop_can_be_placed() -> None:
    assert reasons(stop(BUY, "101"), quote=None) == {CheckName.MARKET_DATA}
    assert reasons(stop(SELL, "99"), quote=quote(None), **LONG) == {CheckName.MARKET_DATA}


def test_limits_of_the_first_release_still_load_and_allow_no_short() -> None:
    old = {name: value for name, value in LIMITS.model_dump(mode="json").items() if "short" not in name}
    stored = Limits.model_validate_json(json.dumps(old))
    assert stored.short_selling_strategies == ()
    assert reasons(short(), limits=stored) == {CheckName.SHORT_SELLING}


class TestWhatIsCountedAndWhatIsSent:
    """The two differ where no limit bounds the execution."""

    def sent(self, asked: Proposal, **known: Any) -> tuple[Decimal, Decimal | None, Decimal]:
        verdict = assess(asked, facts(**known))
        return verdict.worst_price, verdict.limit_price, verdict.reserve_price

    def test_a_buy_stop_counts_at_the_brokers_own_limit_where_the_collar_is_narrower(self) -> None:
        assert self.sent(stop(BUY, "110")) == (D("112.75"), None, D("112.75"))

    def test_and_at_the_collar_where_that_is_wider(self) -> None:
        wide = limits(price_collar_pct=D(10))
        assert self.sent(stop(BUY, "110"), limits=wide) == (D("121.00"), None, D("121.00"))

    def test_a_sell_stop_is_sent_without_a_limit(self) -> None:
        assert self.sent(stop(SELL, "95"), **LONG) == (D("94.05"), None, D("94.05"))

    def test_a_stop_limit_counts_at_its_limit(self) -> None:
        assert self.sent(stop(BUY, "110", "110.50")) == (D("110.50"), D("110.50"), D("110.50"))

    def test_a_short_sale_counts_at_103_per_cent_of_the_ask(self) -> None:
        """A sell at 99 executes where the market is, and the position is worth what it costs to cover."""
        assert self.sent(short(limit_price=D(99))) == (D(99), D(99), D("103.0206"))
        assert self.sent(stop(SHORT, "95")) == (D("94.05"), None, D("103.0206"))

    def test_or_at_its_own_price_where_that_is_higher(self) -> None:
        assert self.sent(short(limit_price=D("103.03"))) == (D("103.03"), D("103.03"), D("103.03"))


@any_speed
@given(quantity=shares, ask=prices, limit=prices)
def test_short_sales_at_their_limits(quantity: Decimal, ask: Decimal, limit: Decimal) -> None:
    """Notional, buying power and ticker exposure pass at max(limit, 103 % of ask) and not a cent below."""
    with exact():
        worth = quantity * max(limit, ask * D("1.03"))
    asked = short(quantity=quantity, limit_price=limit)

    def passes(name: CheckName, room: Decimal) -> bool:
        known: RiskFacts = facts(
            quote=quote(ask, ask),
            buying_power=room,
            equity=room,
            limits=limits(max_order_notional=room, max_ticker_exposure_pct=D(100)),
        )
        return outcome(assess(asked, known), name).passed

    for name in (CheckName.ORDER_NOTIONAL, CheckName.BUYING_POWER, CheckName.TICKER_EXPOSURE):
        assert passes(name, worth)
        assert not passes(name, worth - STEP)


@any_speed
@given(quantity=shares, bought=shares)
def test_cover_more_than_short(quantity: Decimal, bought: Decimal) -> None:
    known = facts(exposures=(held(-quantity - bought, reserved_buy=bought),))
    for extra, passes in ((D(0), True), (STEP, False), (D(1), False)):
        check = outcome(assess(cover(quantity=quantity + extra), known), CheckName.COVER_MORE_THAN_SHORT)
        assert check.passed is passes


@any_speed
@given(bid=prices, width=st.decimals(D(0), D(100), places=2), action=st.sampled_from(Action))
def test_stop_side(bid: Decimal, width: Decimal, action: Action) -> None:
    """A cent beyond the market passes, at the market it is refused."""
    known = facts(quote=quote(bid, bid + width))
    touch, away = (bid + width, CENT) if action.side is Side.BUY else (bid, -CENT)
    assert not outcome(assess(stop(action, touch), known), CheckName.STOP_SIDE).passed
    if touch + away > 0:
        assert outcome(assess(stop(action, touch + away), known), CheckName.STOP_SIDE).passed


@any_speed
@given(price=prices, collar=percents, action=st.sampled_from(Action))
def test_stop_limit_collar(price: Decimal, collar: Decimal, action: Action) -> None:
    """Measured from the stop: its edge passes, the smallest step beyond does not."""
    with exact():
        edge = stop_edge(price, collar, action.side)
        beyond = edge + STEP if action.side is Side.BUY else edge - STEP
    known = facts(limits=limits(price_collar_pct=collar))
    assert outcome(assess(stop(action, price, edge), known), CheckName.PRICE_COLLAR).passed
    assert not outcome(assess(stop(action, price, beyond), known), CheckName.PRICE_COLLAR).passed


@any_speed
@given(price=prices, collar=percents, action=st.sampled_from(Action))
def test_what_is_reserved_for_a_stop_covers_the_collar_and_the_brokers_limit(
    price: Decimal, collar: Decimal, action: Action
) -> None:
    verdict = assess(stop(action, price), facts(limits=limits(price_collar_pct=collar)))
    with exact():
        edge = stop_edge(price, collar, action.side)
    assert is_on_tick(verdict.worst_price)
    assert verdict.limit_price is None
    if action.side is Side.BUY:
        assert verdict.reserve_price == verdict.worst_price
        assert verdict.worst_price >= buy_stop_limit(price) >= price
        assert verdict.worst_price > edge - CENT
    else:
        assert edge <= verdict.worst_price <= price
