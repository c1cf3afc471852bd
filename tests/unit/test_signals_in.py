"""Whatever bytes arrive, they become a signal or a refusal that names its fields; nothing else."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.body import BODY_BYTES_MAX
from gateway.problems import FIELDS_MAX, ApiError, Code
from gateway.signals_in import FUTURE_MAX, check_times, parse_signal
from schemas.audit import sha256_hex
from schemas.signals import VALIDITY_MAX, SignalIn

NOW = datetime(2026, 11, 23, 15, 15, tzinfo=UTC)

GOOD: dict[str, Any] = {
    "signal_id": "sig-1",
    "strategy": "momentum",
    "ticker": "AAPL",
    "action": "BUY_TO_OPEN",
    "quantity": "10",
    "limit_price": "180.50",
    "created_at": NOW.isoformat(),
}

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=40),
    st.sampled_from(
        ["", "10", "-0", "1e5", "0x10", "１０", "AAPL", "2026-11-23T15:15:00Z", "null", "\0", "\ud800"]
    ),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.datetimes().map(str),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


def parsed(**changes: Any) -> SignalIn:
    return parse_signal(json.dumps(GOOD | changes).encode())


def refused(body: bytes) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parse_signal(body)
    return caught.value


@given(changes=st.dictionaries(st.sampled_from(sorted(SignalIn.model_fields)) | st.text(max_size=10), VALUES))
def test_mangled_signals_are_taken_or_refused_by_field(changes: dict[str, Any]) -> None:
    outcome = taken_or_refused(json.dumps(GOOD | changes).encode())
    if isinstance(outcome, SignalIn):
        # What passes can be stored and sent: exact, whole shares, with a zone.
        assert outcome.model_dump_json().encode()
        assert outcome.quantity == outcome.quantity.to_integral_value()
        assert outcome.created_at.tzinfo is UTC
        return
    assert outcome.detail.code is Code.INVALID_SIGNAL
    assert 0 < len(outcome.detail.fields) <= FIELDS_MAX
    assert all(problem.message for problem in outcome.detail.fields)


def taken_or_refused(body: bytes) -> SignalIn | ApiError:
    try:
        return parse_signal(body)
    except ApiError as error:
        return error


@given(body=st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(body: bytes) -> None:
    assert refused(body).detail.code is Code.INVALID_SIGNAL


@given(text=st.text(alphabet='{}[]":,0123456789eE.-+ntfu\\ ', max_size=200))
def test_almost_json_is_refused(text: str) -> None:
    assert refused(text.encode()).detail.code is Code.INVALID_SIGNAL


@given(number=st.decimals(min_value="0.01", max_value="999999.99", places=2))
def test_a_price_keeps_every_digit_as_number_and_as_text(number: Decimal) -> None:
    as_text = parsed(limit_price=str(number))
    as_number = parse_signal(json.dumps(GOOD | {"limit_price": "@"}).replace('"@"', f"{number:f}").encode())
    assert as_text.limit_price == as_number.limit_price == number


def test_a_body_full_of_brackets_is_refused_not_recursed_into() -> None:
    for opening in (b"[", b'{"a":'):
        error = refused(opening * (BODY_BYTES_MAX // len(opening)))
        assert error.detail.fields[0].field == "body"


@pytest.mark.parametrize("ahead", [timedelta(0), FUTURE_MAX])
def test_a_clock_a_little_ahead_passes(ahead: timedelta) -> None:
    signal = parsed(created_at=(NOW + ahead).isoformat())
    assert check_times(signal, NOW).valid_until == NOW + VALIDITY_MAX


def test_a_clock_too_far_ahead_is_refused() -> None:
    signal = parsed(created_at=(NOW + FUTURE_MAX + timedelta(milliseconds=1)).isoformat())
    with pytest.raises(ApiError) as caught:
        check_times(signal, NOW)
    assert caught.value.detail.fields[0].field == "created_at"


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        (None, VALIDITY_MAX),
        (timedelta(seconds=10), timedelta(seconds=10)),
        (VALIDITY_MAX, VALIDITY_MAX),
        (timedelta(days=365), VALIDITY_MAX),
    ],
)
def test_no_signal_is_valid_for_longer_than_its_five_minutes(asked: timedelta | None, got: timedelta) -> None:
    created = NOW - timedelta(minutes=3)
    until = None if asked is None else (created + asked).isoformat()
    signal = parsed(created_at=created.isoformat(), valid_until=until)
    assert check_times(signal, NOW).valid_until == created + got


def test_an_offset_is_the_same_instant_in_utc() -> None:
    assert parsed(created_at="2026-11-23T10:15:00-05:00").created_at == NOW


def test_the_content_hash_of_an_older_signal_stays_what_it_was() -> None:
    """Recorded with the first release, which knew no stop price: a repeat must still be the same signal."""
    recorded = "f167a3352d201f51df3dc5fb16afb445d2a3deb30e5b3be474ef4d3da1e23559"
    assert sha256_hex(parsed().content) == recorded
    stop = parsed(order_type="STOP_LIMIT", stop_price="180.00")
    other = parsed(order_type="STOP_LIMIT", stop_price="180.01")
    assert len({sha256_hex(each.content) for each in (parsed(), stop, other)}) == 3
