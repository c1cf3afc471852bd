"""Pre-trade checks at their edges, for any quote and any moment."""

from datetime import timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from risk.pre_trade import CHECKS, check
from schemas.market import Provider, Quote
from schemas.risk import CheckName
from tests.unit.risk_builders import MARKET_NOW, NOW, D, any_speed, outcome, pre_trade, quote, second

microseconds = st.integers(-(10**9), 10**9).map(lambda number: timedelta(microseconds=number))
mids = st.integers(1, 10**9).map(lambda cents: Decimal(cents) / 100)
any_price = st.none() | st.decimals(D(-10), D(1_000_000), places=4)
STEP = D("0.000000001")


@any_speed
@given(age=microseconds)
def test_staleness_of_the_approval(age: timedelta) -> None:
    verdict = check(pre_trade(approved_at=NOW - age))
    assert outcome(verdict, CheckName.STALENESS).passed is (
        timedelta(seconds=-2) <= age <= timedelta(minutes=5)
    )


@any_speed
@given(age=microseconds)
def test_staleness_of_the_quote(age: timedelta) -> None:
    verdict = check(pre_trade(primary=quote(quoted_at=MARKET_NOW - age)))
    passed = timedelta(seconds=-2) <= age <= timedelta(seconds=15)
    assert outcome(verdict, CheckName.STALE_MARKET_DATA).passed is passed


@any_speed
@given(remaining=st.integers(0, 24 * 3600 * 10**6))
def test_closing_bell(remaining: int) -> None:
    """To the microsecond, though seconds travel as a float."""
    seconds = timedelta(microseconds=remaining).total_seconds()
    verdict = check(pre_trade(seconds_to_close=seconds))
    assert outcome(verdict, CheckName.CLOSING_BELL).passed is (remaining > 900 * 10**6)


@any_speed
@given(mid=mids)
def test_spread(mid: Decimal) -> None:
    """1 % to either side of the mid is 2 %; the smallest step more on one side is too wide."""
    bid, ask = mid * D("0.99"), mid * D("1.01")
    assert outcome(check(pre_trade(primary=quote(bid, ask))), CheckName.SPREAD).passed
    assert not outcome(check(pre_trade(primary=quote(bid, ask + STEP))), CheckName.SPREAD).passed
    assert not outcome(check(pre_trade(primary=quote(bid - STEP, ask))), CheckName.SPREAD).passed


@any_speed
@given(middle=mids)
def test_distance_of_two_providers(middle: Decimal) -> None:
    low, high = middle * D("0.99"), middle * D("1.01")
    at = pre_trade(primary=quote(low, low), secondary=second(high, high))
    over = pre_trade(primary=quote(low, low), secondary=second(high + STEP, high + STEP))
    assert outcome(check(at), CheckName.PROVIDERS_DISAGREE).passed
    assert not outcome(check(over), CheckName.PROVIDERS_DISAGREE).passed


@st.composite
def quotes(draw: st.DrawFn, provider: Provider) -> Quote | None:
    return draw(
        st.none()
        | st.builds(
            quote,
            any_price,
            any_price,
            provider=st.just(provider),
            quoted_at=microseconds.map(lambda age: MARKET_NOW - age),
        )
    )


@any_speed
@given(
    age=microseconds,
    is_open=st.booleans(),
    seconds_to_close=st.none() | st.floats(),
    primary=quotes(Provider.PRIMARY),
    secondary=quotes(Provider.SECONDARY),
    late=st.sets(st.sampled_from(Provider)).map(tuple),
)
def test_total_and_never_passing_without_a_fresh_usable_quote(
    age: timedelta,
    is_open: bool,
    seconds_to_close: float | None,
    primary: Quote | None,
    secondary: Quote | None,
    late: tuple[Provider, ...],
) -> None:
    verdict = check(
        pre_trade(
            approved_at=NOW - age,
            is_open=is_open,
            seconds_to_close=seconds_to_close,
            primary=primary,
            secondary=secondary,
            late_providers=late,
        )
    )
    assert len(verdict.checks) == len(CHECKS) == len({each.name for each in verdict.checks})
    if verdict.passed:
        assert is_open
        assert any(
            one is not None
            and one.provider not in late
            and one.bid
            and one.ask
            and 0 < one.bid <= one.ask
            and abs(MARKET_NOW - one.quoted_at) <= timedelta(seconds=15)
            for one in (primary, secondary)
        )
