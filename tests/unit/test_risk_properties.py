"""Risk limits at their edges, for any numbers: the limit passes, the smallest step over it does not."""

from decimal import Decimal
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from risk.arithmetic import exact
from risk.limits import CHECKS, assess
from risk.prices import Market, collar_edge, is_on_tick, tick, usable, worst_tick
from schemas.orders import Action, OrderType, Side, TimeInForce
from schemas.risk import CheckName, Exposure, RiskFacts, WorkingOrder
from tests.unit.risk_builders import (
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
)

CENT = D("0.01")
STEP = D("0.000000001")
"""The smallest difference our numbers can have."""

prices = st.decimals(D("0.0001"), D(1_000_000), places=4)
tick_prices = st.decimals(D("1.00"), D(100_000), places=2)
shares = st.integers(1, 1_000_000).map(Decimal)
percents = st.decimals(D("0.001"), D(1000), places=3)
money = st.decimals(D("-1e12"), D("1e12"), places=2)
numbers = st.decimals(D("-1e14"), D("1e14"), places=9)
maybe_prices = st.none() | prices | st.sampled_from([D(0), D(-1)])


@st.composite
def exposures(draw: st.DrawFn) -> Exposure:
    return held(
        draw(numbers),
        mark=draw(numbers),
        ticker=draw(st.sampled_from(["AAPL", "MSFT", "F"])),
        strategy=draw(st.sampled_from(["momentum", "other"])),
        **{
            name: draw(numbers.map(abs))
            for name in ("reserved_buy", "reserved_sell", "reserved_buy_notional", "reserved_sell_notional")
        },
    )


def working_orders() -> st.SearchStrategy[WorkingOrder]:
    return st.builds(
        WorkingOrder,
        signal_id=st.just("resting"),
        action=st.sampled_from(Action),
        order_type=st.sampled_from(OrderType),
        limit_price=st.none() | prices,
        stop_price=st.none() | prices,
    )


@st.composite
def any_facts(draw: st.DrawFn) -> RiskFacts:
    return facts(
        equity=draw(numbers),
        buying_power=draw(numbers),
        quote=draw(st.none() | st.builds(quote, maybe_prices, maybe_prices)),
        exposures=draw(st.lists(exposures(), max_size=4).map(tuple)),
        kill_engaged=draw(st.booleans()),
        working=draw(st.lists(working_orders(), max_size=3).map(tuple)),
        limits=limits(
            max_order_notional=draw(numbers.filter(lambda n: n > 0)),
            max_order_quantity=draw(numbers.filter(lambda n: n > 0)),
            price_collar_pct=draw(percents),
        ),
    )


@any_speed
@given(
    known=any_facts(),
    action=st.sampled_from(Action),
    order_type=st.sampled_from(OrderType),
    time_in_force=st.sampled_from(TimeInForce),
    quantity=numbers,
    limit_price=st.none() | numbers,
    stop_price=st.none() | numbers,
    hard_stop_loss=st.none() | prices,
    extended_hours=st.booleans(),
)
def test_total_for_any_numbers(known: RiskFacts, **asked: object) -> None:
    """Every combination gets a verdict with every check in it, and none passes without a usable quote."""
    verdict = assess(proposal(**asked), known)
    assert len(verdict.checks) == len(CHECKS) == len({check.name for check in verdict.checks})
    assert verdict.approved is all(check.passed for check in verdict.checks)
    if verdict.approved:
        assert usable(known.quote) is not None
        assert verdict.worst_price > 0
        assert verdict.reserve_price >= verdict.worst_price
        assert (verdict.limit_price is None) is (asked["order_type"] is OrderType.STOP)
        assert not known.kill_engaged


@any_speed
@given(quantity=shares, price=tick_prices)
def test_order_notional(quantity: Decimal, price: Decimal) -> None:
    asked, notional = proposal(quantity=quantity, limit_price=price), quantity * price
    at = facts(limits=limits(max_order_notional=notional))
    under = facts(limits=limits(max_order_notional=notional - CENT / 2))
    assert outcome(assess(asked, at), CheckName.ORDER_NOTIONAL).passed
    assert not outcome(assess(asked, under), CheckName.ORDER_NOTIONAL).passed


@any_speed
@given(quantity=shares)
def test_order_quantity(quantity: Decimal) -> None:
    known = facts(limits=limits(max_order_quantity=quantity))
    for asked in (proposal, close):
        assert outcome(assess(asked(quantity=quantity), known), CheckName.ORDER_QUANTITY).passed
        assert not outcome(assess(asked(quantity=quantity + STEP), known), CheckName.ORDER_QUANTITY).passed
        assert not outcome(assess(asked(quantity=quantity + 1), known), CheckName.ORDER_QUANTITY).passed


@any_speed
@given(quantity=shares, price=tick_prices)
def test_buying_power(quantity: Decimal, price: Decimal) -> None:
    asked = proposal(quantity=quantity, limit_price=price)
    assert outcome(assess(asked, facts(buying_power=quantity * price)), CheckName.BUYING_POWER).passed
    short = facts(buying_power=quantity * price - CENT)
    assert not outcome(assess(asked, short), CheckName.BUYING_POWER).passed


@any_speed
@given(quantity=shares, working=shares)
def test_sell_more_than_held(quantity: Decimal, working: Decimal) -> None:
    known = facts(exposures=(held(quantity + working, reserved_sell=working),))
    assert outcome(assess(close(quantity=quantity), known), CheckName.SELL_MORE_THAN_HELD).passed
    assert not outcome(assess(close(quantity=quantity + 1), known), CheckName.SELL_MORE_THAN_HELD).passed
    assert not outcome(assess(close(quantity=quantity + STEP), known), CheckName.SELL_MORE_THAN_HELD).passed


EXPOSURE_CHECKS = (
    (CheckName.TICKER_EXPOSURE, "max_ticker_exposure_pct"),
    (CheckName.STRATEGY_EXPOSURE, "max_strategy_exposure_pct"),
    (CheckName.GROSS_EXPOSURE, "max_gross_exposure_pct"),
)


@any_speed
@given(
    name=st.sampled_from(EXPOSURE_CHECKS),
    quantity=shares,
    price=tick_prices,
    position=shares,
    mark=tick_prices,
    working=tick_prices,
)
def test_exposures(
    name: tuple[CheckName, str],
    quantity: Decimal,
    price: Decimal,
    position: Decimal,
    mark: Decimal,
    working: Decimal,
) -> None:
    """With 50 % allowed, equity of exactly twice the exposure passes and a cent less does not."""
    check, limit = name
    asked = proposal(quantity=quantity, limit_price=price)
    row = held(position, mark=mark, reserved_buy_notional=working)
    equity = 2 * (position * mark + working + quantity * price)
    half = limits(**{limit: D(50)})
    assert outcome(assess(asked, facts(exposures=(row,), equity=equity, limits=half)), check).passed
    poorer = facts(exposures=(row,), equity=equity - CENT, limits=half)
    assert not outcome(assess(asked, poorer), check).passed


@any_speed
@given(bid=prices, width=st.decimals(D(0), D(100), places=4), collar=percents, side=st.sampled_from(Side))
def test_price_collar(bid: Decimal, width: Decimal, collar: Decimal, side: Side) -> None:
    """A limit at the collar's edge passes, and beyond it by the smallest step fails."""
    with exact():
        edge = collar_edge(Market(bid, bid + width), collar, side)
    known = facts(
        quote=quote(bid, bid + width), limits=limits(price_collar_pct=collar), exposures=(held(10),)
    )
    build, beyond = (proposal, edge + STEP) if side is Side.BUY else (close, edge - STEP)
    if edge > 0:
        assert outcome(assess(build(limit_price=edge), known), CheckName.PRICE_COLLAR).passed
    assert not outcome(assess(build(limit_price=beyond), known), CheckName.PRICE_COLLAR).passed


@any_speed
@given(bid=prices, width=st.decimals(D(0), D(100), places=4), collar=percents, side=st.sampled_from(Side))
def test_a_market_orders_worst_price_is_the_last_tick_inside_the_collar(
    bid: Decimal, width: Decimal, collar: Decimal, side: Side
) -> None:
    known = facts(
        quote=quote(bid, bid + width), limits=limits(price_collar_pct=collar), exposures=(held(10),)
    )
    action = Action.BUY_TO_OPEN if side is Side.BUY else Action.SELL_TO_CLOSE
    verdict = assess(market_order(action=action), known)
    worst = verdict.worst_price
    assert outcome(verdict, CheckName.PRICE_COLLAR).passed
    assert worst > 0
    assert is_on_tick(worst)
    with exact():
        edge = collar_edge(Market(bid, bid + width), collar, side)
    if side is Side.BUY:
        assert worst <= edge < worst + tick(worst)
    else:
        # Below one dollar the step down is finer, so the next lower tick is that of the price below.
        assert edge <= worst
        assert worst - tick(worst - D("0.0001")) < max(edge, D("0.0001"))


@any_speed
@given(st.lists(prices, min_size=2, unique=True))
def test_rounding_a_price_keeps_the_order_of_prices(some: list[Decimal]) -> None:
    for side in Side:
        ticks = [worst_tick(price, side) for price in sorted(some)]
        assert all(low <= high for low, high in pairwise(ticks))


@any_speed
@given(quantity=shares, more=shares)
def test_a_larger_open_never_passes_where_a_smaller_is_refused(quantity: Decimal, more: Decimal) -> None:
    known = facts()
    small, large = (assess(proposal(quantity=q), known) for q in (quantity, quantity + more))
    assert set(small.reasons) <= set(large.reasons)


@any_speed
@given(known=any_facts(), quantity=shares)
def test_a_close_is_never_refused_by_what_it_can_only_improve(known: RiskFacts, quantity: Decimal) -> None:
    spared = {name for name, _ in EXPOSURE_CHECKS} | {
        CheckName.ORDER_NOTIONAL,
        CheckName.BUYING_POWER,
        CheckName.UNKNOWN_OUTCOME,
    }
    for asked in (close, cover):
        assert not spared & set(assess(asked(quantity=quantity), known).reasons)
