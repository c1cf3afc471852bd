"""Alpaca's bodies and errors in our terms: exact numbers, bad quotes left out, every status named."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market import errors
from market.alpaca_parse import BadQuoteError, http_error, quote_from, read_json, stream_error
from schemas.base import decimal_text
from schemas.market import Provider, Quote
from tests.unit.risk_builders import any_speed

ARRIVED = datetime(2026, 11, 23, 15, 15, 4, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "t": "2026-11-23T15:15:03.900123456Z", "bx": "V", "bp": Decimal("180.44"), "bs": Decimal(200),
    "ax": "V", "ap": Decimal("180.48"), "as": Decimal(100), "c": ["R"], "z": "C",
}  # fmt: skip


def parsed(ticker: object = "AAPL", **changes: Any) -> Quote:
    return quote_from(ticker, {**GOOD, **changes}, Provider.SECONDARY, ARRIVED)


def test_a_quote_as_documented() -> None:
    assert parsed() == Quote(
        ticker="AAPL",
        provider=Provider.SECONDARY,
        bid=Decimal("180.44"),
        ask=Decimal("180.48"),
        bid_size=Decimal(200),
        ask_size=Decimal(100),
        quoted_at=datetime(2026, 11, 23, 15, 15, 3, 900123, tzinfo=UTC),
        received_at=ARRIVED,
    )


@pytest.mark.parametrize("nobody", [0, 0.0, Decimal(0), Decimal("0.00"), None])
def test_a_price_of_zero_means_nobody_is_there(nobody: object) -> None:
    quote = parsed(bp=nobody, ap=nobody)
    assert (quote.bid, quote.ask) == (None, None)


@any_speed
@given(st.decimals(Decimal("0.0001"), Decimal(1_000_000), places=4))
def test_a_price_is_the_number_that_was_written(price: Decimal) -> None:
    """As JSON text, and as the double that MessagePack carries."""
    written = decimal_text(price)
    body = read_json(f'{{"bp": {written}}}'.encode())
    assert parsed(bp=body["bp"]).bid == price
    assert parsed(bp=float(written)).bid == price


def test_any_offset_becomes_utc() -> None:
    at = datetime(2026, 11, 23, 10, 15, tzinfo=timezone(timedelta(hours=-5)))
    for moment in (at, at.isoformat()):
        assert parsed(t=moment).quoted_at == datetime(2026, 11, 23, 15, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    "changes",
    [
        {"bp": "180.44"},
        {"bp": True},
        {"bp": float("nan")},
        {"ap": float("inf")},
        {"ap": Decimal(-1)},
        {"ap": Decimal("1000000.01")},
        {"ap": Decimal("1e400000000")},
        {"ap": Decimal("1e-400000000")},
        {"ap": Decimal("1.0000000001")},
        {"bs": Decimal("1e13")},
        {"as": [1]},
        {"t": None},
        {"t": "yesterday"},
        {"t": "2026-11-23T15:15:03"},
        {"t": "0001-01-01T00:00:00+05:00"},
        {"t": 1764000000},
        {"ticker": 7},
    ],
)
def test_a_quote_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BadQuoteError):
        parsed(**changes)


def test_no_object_is_no_quote() -> None:
    with pytest.raises(BadQuoteError):
        quote_from("AAPL", None, Provider.PRIMARY, ARRIVED)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"a": NaN}',
        b"Infinity",
        b"[" * 100_000,
        b'{"a": 1e99999999999999999999}',
        b"\xff\xfe\x00",
    ],
)
def test_what_is_not_json_is_one_kind_of_error(body: bytes) -> None:
    with pytest.raises(ValueError):
        read_json(body)


@given(status=st.integers(0, 999), body=st.text(), retry_after=st.none() | st.text())
def test_every_http_status_has_a_meaning(status: int, body: str, retry_after: str | None) -> None:
    error = http_error(status, body, retry_after)
    assert isinstance(error, errors.MarketDataError)
    assert error.http_status == status
    assert error.retryable is (status in {408, 429} or not 400 <= status < 500)
    assert len(error.message) < 300


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.FeedRequestError),
        (401, errors.FeedUnauthorizedError),
        (403, errors.FeedNotEntitledError),
        (404, errors.FeedRequestError),
        (422, errors.FeedRequestError),
        (429, errors.FeedRateLimitError),
        (500, errors.FeedNetworkError),
        (504, errors.FeedNetworkError),
    ],
)
def test_http_statuses(status: int, kind: type[errors.MarketDataError]) -> None:
    assert type(http_error(status, "", None)) is kind


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), (None, None), ("Wed, 21 Oct 2026", None), ("-1", None)]
)
def test_retry_after_is_read_where_it_is_seconds(header: str | None, seconds: float | None) -> None:
    error = http_error(429, "", header)
    assert isinstance(error, errors.FeedRateLimitError)
    assert error.retry_after_seconds == seconds


@given(code=st.integers() | st.none() | st.text() | st.floats() | st.decimals(), text=st.none() | st.text())
def test_every_stream_error_has_a_meaning(code: object, text: object) -> None:
    assert isinstance(stream_error(code, text), errors.MarketDataError)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (402, errors.FeedUnauthorizedError),
        (406, errors.FeedRateLimitError),
        (409, errors.FeedNotEntitledError),
        (500, errors.FeedNetworkError),
        (777, errors.FeedNetworkError),
    ],
)
def test_stream_errors(code: int, kind: type[errors.MarketDataError]) -> None:
    assert type(stream_error(code, "x")) is kind


def test_every_error_has_a_code_of_its_own() -> None:
    kinds = errors.MarketDataError.__subclasses__()
    assert len({kind.code for kind in kinds}) == len(kinds) == 8
