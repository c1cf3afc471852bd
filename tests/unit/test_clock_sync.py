"""What several time servers say, of which some may be wrong or lie: whom we believe, and what follows."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.ntp import address_of
from risk.clock_sync import NtpAnswer, bracketed, halts, judge, refusal, unusable
from schemas.clock import ClockReading, ClockSource, ClockVerdict

SECOND = timedelta(seconds=1)
MICROSECOND = timedelta(microseconds=1)
SKEWED, IN_SYNC, NO_SOURCE = ClockVerdict.SKEWED, ClockVerdict.IN_SYNC, ClockVerdict.NO_SOURCE


def answer(offset: timedelta = timedelta(0), **fields: Any) -> NtpAnswer:
    """An answer with nothing wrong about it but what is named."""
    good = {
        "delay": timedelta(milliseconds=20),
        "stratum": 2,
        "leap": 0,
        "distance": timedelta(milliseconds=30),
    }
    return NtpAnswer(server="a", offset=offset, **{**good, **fields})


@pytest.mark.parametrize(
    ("offset", "verdict"),
    [
        (2 * SECOND, IN_SYNC),
        (-2 * SECOND, IN_SYNC),
        (2 * SECOND + MICROSECOND, SKEWED),
        (-2 * SECOND - MICROSECOND, SKEWED),
    ],
)
def test_exactly_two_seconds_pass_and_a_microsecond_more_does_not(
    offset: timedelta, verdict: ClockVerdict
) -> None:
    found = judge([answer(offset)] * 3, 3)
    assert (found.verdict, found.offset, found.source) == (verdict, offset, ClockSource.NTP)
    assert (refusal(found, is_live=False) is None) == (verdict is IN_SYNC)
    assert (halts(found, timedelta(0)) is None) == (verdict is IN_SYNC)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"stratum": 0}, "kiss of death"),
        ({"stratum": 16}, "stratum 16"),
        ({"leap": 3}, "not synchronised"),
        ({"delay": SECOND + MICROSECOND}, "delay"),
        ({"delay": -0.1 * SECOND}, "delay"),
        ({"distance": 1.5 * SECOND + MICROSECOND}, "distance"),
        ({"distance": -MICROSECOND}, "distance"),
    ],
)
def test_what_is_not_listened_to(wrong: dict[str, Any], why: str) -> None:
    bad = answer(5 * SECOND, **wrong)
    assert why in (unusable(bad) or "")
    assert judge([bad, bad, bad], 3).verdict is NO_SOURCE
    assert judge([answer(), answer(), bad], 3).verdict is IN_SYNC
    assert judge([answer(), bad, bad], 3).verdict is NO_SOURCE, "one alone is not believed"


@pytest.mark.parametrize(
    ("offsets", "asked", "verdict"),
    [
        ([0, 0, 9], 3, IN_SYNC),  # One liar moves nothing.
        ([5, 5, -9], 3, SKEWED),  # Nor does it save a clock that is off.
        ([0, 9, -9], 3, NO_SOURCE),  # Two that lie differently leave nobody to believe.
        ([0, 5, 5], 3, SKEWED),  # Two that lie alike stop us: never the other way round.
        ([0, 0, 5, 5, 0], 5, IN_SYNC),
        ([0, 0, 5, 5], 5, NO_SOURCE),
        ([0, 0], 5, NO_SOURCE),
        ([0, 0, 0], 5, IN_SYNC),
        ([], 3, NO_SOURCE),
    ],
)
def test_whom_we_believe(offsets: list[int], asked: int, verdict: ClockVerdict) -> None:
    assert judge([answer(offset * SECOND) for offset in offsets], asked).verdict is verdict


@settings(deadline=None)
@given(
    honest=st.lists(st.integers(-400_000, 400_000), min_size=3, max_size=5),
    lies=st.lists(st.integers(-(10**9), 10**9), max_size=5),
    off=st.integers(-(10**8), 10**8),
)
def test_fewer_liars_than_half_move_the_median_no_further_than_the_honest_disagree(
    honest: list[int], lies: list[int], off: int
) -> None:
    told = [off + each for each in honest] + lies[: len(honest) - 1]
    found = judge([answer(each * MICROSECOND) for each in told], len(told))
    assert found.offset is not None, "those who are honest agree"
    assert abs(found.offset - off * MICROSECOND) <= 0.4 * SECOND


@pytest.mark.parametrize(
    ("told", "error", "verdict"),
    [
        (2.3, 0.3, IN_SYNC),  # It may have been read where it is 2 s off.
        (2.300001, 0.3, SKEWED),
        (-2.300001, 0.3, SKEWED),
        (0.0, 0.5, IN_SYNC),
        (60.0, 0.500001, NO_SOURCE),
    ],
)
def test_the_brokers_clock_is_believed_as_far_as_it_is_certain(
    told: float, error: float, verdict: ClockVerdict
) -> None:
    assert bracketed(told * SECOND, error * SECOND).verdict is verdict


def test_who_may_start_without_a_source() -> None:
    silent = judge([], 3)
    broker = bracketed(timedelta(0), timedelta(0))
    assert refusal(silent, is_live=False) is None
    assert refusal(silent, is_live=True)
    assert refusal(broker, is_live=False) is None
    assert refusal(broker, is_live=True), "live asks time servers"
    assert refusal(judge([answer()] * 3, 3), is_live=True) is None
    not_asked = ClockReading(verdict=ClockVerdict.NOT_ASKED, detail="")
    assert refusal(not_asked, is_live=True)
    assert halts(not_asked, timedelta(days=1)) is None


def test_running_without_a_source_halts_after_ten_minutes() -> None:
    silent = judge([], 3)
    assert halts(silent, timedelta(minutes=10)) is None
    assert "10 minutes" in (halts(silent, timedelta(minutes=10, microseconds=1)) or "")


@pytest.mark.parametrize(
    ("server", "address"),
    [
        ("pool.example", ("pool.example", 123)),
        ("127.0.0.1:11123", ("127.0.0.1", 11123)),
        ("[::1]", ("::1", 123)),
        ("[::1]:11123", ("::1", 11123)),
    ],
)
def test_addresses(server: str, address: tuple[str, int]) -> None:
    assert address_of(server) == address
