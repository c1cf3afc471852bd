"""Risk's rules against the paper exchange's own: what the exchange would refuse, risk has refused before."""

from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from risk.limits import assess
from risk.prices import buy_stop_limit, is_on_tick, tick
from schemas.orders import Action, OrderType, Side
from schemas.risk import CheckName, Proposal, WorkingOrder
from simulation.account_rules import check_wash_trade, reserve_price
from simulation.errors import Refusal
from simulation.order_making import buy_stop_limit as exchanges_buy_stop_limit
from simulation.order_request import OrderRequest
from simulation.order_rules import check_stop_side
from tests.unit.risk_builders import D, any_speed, facts, outcome, proposal, quote

prices = st.decimals(D("90.00"), D("110.00"), places=2)
wide_prices = st.decimals(D("0.01"), D("1000.00"), places=2)
SENT = {OrderType.MARKET: "limit", OrderType.LIMIT: "limit", OrderType.STOP: "stop"}
BID, ASK = D("99.98"), D("100.02")


@st.composite
def proposals(draw: st.DrawFn) -> Proposal:
    kind = draw(st.sampled_from(OrderType))
    return proposal(
        action=draw(st.sampled_from(Action)),
        order_type=kind,
        limit_price=draw(prices) if kind.has_limit else None,
        stop_price=draw(prices) if kind.has_stop else None,
        strategy="pairs",
    )


def as_sent(asked: Proposal, limit_price: Decimal | None) -> OrderRequest:
    """The proposal as it would arrive at the exchange."""
    return OrderRequest(
        symbol=asked.ticker,
        side=cast(Any, asked.action.side.value),
        type=cast(Any, SENT.get(asked.order_type, "stop_limit")),
        time_in_force="day",
        qty=asked.quantity,
        limit_price=limit_price,
        stop_price=asked.stop_price,
    )


def as_resting(asked: Proposal, limit_price: Decimal | None) -> SimpleNamespace:
    """The proposal as it would stand at the exchange: a buy stop has become a stop-limit."""
    sent = as_sent(asked, limit_price)
    kind, limit = sent.type, sent.limit_price
    if kind == "stop" and sent.side == "buy" and sent.stop_price is not None:
        kind, limit = "stop_limit", exchanges_buy_stop_limit(sent.stop_price)
    return SimpleNamespace(id="resting", side=sent.side, type=kind, status="new", limit_price=limit)


def refuses(check: Any, *arguments: Any) -> bool:
    try:
        check(*arguments)
    except Refusal:
        return True
    return False


@any_speed
@given(first=proposals(), second=proposals())
def test_no_wash_trade_is_left_for_the_exchange_to_find(first: Proposal, second: Proposal) -> None:
    """And what is refused beyond that is only a buy stop that rests as the broker's stop-limit."""
    resting_limit = assess(first, facts()).limit_price
    resting = WorkingOrder(
        signal_id="resting", action=first.action, order_type=first.order_type, limit_price=resting_limit,
        stop_price=first.stop_price,
    )  # fmt: skip
    verdict = assess(second, facts(working=(resting,)))
    ours = not outcome(verdict, CheckName.OPPOSITE_ORDER).passed
    book = SimpleNamespace(open_orders=lambda symbol: [as_resting(first, resting_limit)])
    theirs = refuses(check_wash_trade, book, as_sent(second, verdict.limit_price))
    assert ours or not theirs
    if first.order_type is not OrderType.STOP or first.action.side is Side.SELL:
        assert ours is theirs


@any_speed
@given(asked=proposals())
def test_no_stop_on_the_wrong_side_is_left_for_the_exchange_to_find(asked: Proposal) -> None:
    passed = outcome(assess(asked, facts()), CheckName.STOP_SIDE).passed
    touch = ASK if asked.action.side is Side.BUY else BID
    assert passed is not refuses(check_stop_side, as_sent(asked, asked.limit_price), touch)


@any_speed
@given(asked=proposals())
def test_never_less_is_reserved_than_the_exchange_reserves(asked: Proposal) -> None:
    """However the exchange takes the market's price: by the touch of the order's side, or by the ask."""
    verdict = assess(asked, facts(quote=quote(BID, ASK)))
    if asked.action.opens and verdict.reserve_price:
        request = as_sent(asked, verdict.limit_price)
        assert verdict.reserve_price >= reserve_price(request, ASK) >= reserve_price(request, BID)


@any_speed
@given(stop=wide_prices)
def test_the_brokers_limit_for_a_buy_stop(stop: Decimal) -> None:
    """Ours is on the grid and never lower; just below $1 the exchange's limit may lie between two cents."""
    ours = buy_stop_limit(stop)
    assert is_on_tick(ours)
    assert 0 <= ours - exchanges_buy_stop_limit(stop) < tick(ours)
