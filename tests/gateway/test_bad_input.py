"""What a stranger may send: each is refused by type, names the field, stores nothing, shows no traceback."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.gateway.conftest import Gateway, bearer, signal

JSON = {"Content-Type": "application/json"}
FUTURE = (datetime.now(UTC) + timedelta(hours=1)).isoformat()


def text(**changes: Any) -> bytes:
    return json.dumps(signal(**changes)).encode()


def with_number(field: str, number: str) -> bytes:
    """A signal whose ``field`` is this JSON number, digit for digit."""
    return json.dumps(signal(**{field: "@"})).replace('"@"', number).encode()


def doubled(field: str) -> bytes:
    return text()[:-1] + f', "{field}": "MSFT"}}'.encode()


CASES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "body"),
    "spaces": (b"  \n", "body"),
    "not json": (b"buy 10 AAPL", "body"),
    "cut off": (text()[:-5], "body"),
    "two objects": (text() + text(), "body"),
    "a list": (b"[" + text() + b"]", "body"),
    "null": (b"null", "body"),
    "a text": (b'"buy"', "body"),
    "not utf-8": (text(rationale="@").replace(b"@", b"\xff"), "body"),
    "utf-16": (json.dumps(signal()).encode("utf-16"), "body"),
    "byte order mark": (b"\xef\xbb\xbf" + text(), "body"),
    "deep nesting": (b'{"a":' * 9_000 + b"1" + b"}" * 9_000, "body"),
    "nesting": (text(rationale=[[[[[[[[[1]]]]]]]]]), "body"),
    "key twice": (doubled("ticker"), "ticker"),
    "nested key twice": (text(rationale="@").replace(b'"@"', b'{"a":1,"a":2}'), "a"),
    "unknown field": (text(leverage="10"), "leverage"),
    "unknown field, look-alike": (text(tіcker="AAPL"), "tіcker"),
    "lone surrogate as field": (text()[:-1] + b', "\\ud800": 1}', "\ud800"),
    "missing field": (text(quantity=...), "quantity"),
    "null field": (text(ticker=None), "ticker"),
    "NaN": (with_number("quantity", "NaN"), "quantity"),
    "Infinity": (with_number("limit_price", "-Infinity"), "limit_price"),
    "NaN as text": (text(quantity="NaN"), "quantity"),
    "negative": (text(quantity="-10"), "quantity"),
    "negative number": (with_number("quantity", "-10"), "quantity"),
    "zero": (text(quantity="0"), "quantity"),
    "1e308": (with_number("quantity", "1e308"), "quantity"),
    "1e308 price": (with_number("limit_price", "1e308"), "limit_price"),
    "1e999999999": (with_number("limit_price", "1e999999999"), "limit_price"),
    "1e-999999999": (with_number("limit_price", "1e-999999999"), "limit_price"),
    "9000 digits": (with_number("quantity", "9" * 9_000), "quantity"),
    "9000 decimals": (with_number("limit_price", "1." + "0" * 9_000), "limit_price"),
    "long number as text": (with_number("rationale", "9" * 9_000), "rationale"),
    "exponent beyond any number": (with_number("quantity", "1e99999999999999999999"), "quantity"),
    "exponent beyond any number as text": (text(limit_price="1e99999999999999999999"), "limit_price"),
    "fraction of a share": (text(quantity="1.5"), "quantity"),
    "sub-penny": (text(limit_price="180.505"), "limit_price"),
    "sub-penny below a dollar": (text(limit_price="0.12345"), "limit_price"),
    "sub-penny stop": (text(hard_stop_loss="170.001"), "hard_stop_loss"),
    "digit separator": (text(quantity="1_000"), "quantity"),
    "full-width digits": (text(quantity="１０"), "quantity"),
    "number with spaces": (text(quantity=" 10 "), "quantity"),
    "exponent as text": (text(quantity="1e2"), "quantity"),
    "bool as number": (text(quantity=True), "quantity"),
    "list as number": (text(quantity=["10"]), "quantity"),
    "lower-case ticker": (text(ticker="aapl"), "ticker"),
    "Cyrillic ticker": (text(ticker="ААРL"), "ticker"),
    "full-width ticker": (text(ticker="ＡＡＰＬ"), "ticker"),
    "zero-width ticker": (text(ticker="AA\u200bPL"), "ticker"),
    "ticker with a line end": (text(ticker="AAPL\n"), "ticker"),
    "empty ticker": (text(ticker=""), "ticker"),
    "ticker as number": (with_number("ticker", "1"), "ticker"),
    "no zone": (text(created_at="2026-11-23T15:15:00"), "created_at"),
    "date only": (text(created_at="2026-11-23"), "created_at"),
    "epoch seconds": (with_number("created_at", "1763900000"), "created_at"),
    "epoch seconds as text": (text(created_at="1763900000"), "created_at"),
    "no such day": (text(created_at="2026-02-30T15:15:00Z"), "created_at"),
    "no such zone": (text(created_at="2026-11-23T15:15:00+25:00"), "created_at"),
    "year one": (text(created_at="0001-01-01T00:00:00+23:00"), "created_at"),
    "in the future": (text(created_at=FUTURE), "created_at"),
    "valid until before created": (text(valid_until="2020-01-01T00:00:00Z"), "valid_until"),
    "market order with a limit": (text(order_type="MARKET"), "limit_price"),
    "limit order without a limit": (text(limit_price=...), "limit_price"),
    "unknown action": (text(action="BUY"), "action"),
    "market order with a stop": (text(order_type="MARKET", limit_price=..., stop_price="181"), "stop_price"),
    "limit order with a stop": (text(stop_price="181"), "stop_price"),
    "stop order without a stop": (text(order_type="STOP", limit_price=...), "stop_price"),
    "stop order with a limit": (text(order_type="STOP", stop_price="181"), "limit_price"),
    "stop-limit order without a stop": (text(order_type="STOP_LIMIT"), "stop_price"),
    "stop-limit order without a limit": (
        text(order_type="STOP_LIMIT", limit_price=..., stop_price="181"),
        "limit_price",
    ),
    "stop that is immediate or cancelled": (
        text(order_type="STOP", limit_price=..., stop_price="181", time_in_force="IOC"),
        "time_in_force",
    ),
    "stop-limit that is fill or kill": (
        text(order_type="STOP_LIMIT", stop_price="181", time_in_force="FOK"),
        "time_in_force",
    ),
    "sub-penny stop price": (text(order_type="STOP_LIMIT", stop_price="181.001"), "stop_price"),
    "stop price of zero": (text(order_type="STOP_LIMIT", stop_price="0"), "stop_price"),
    "negative stop price": (text(order_type="STOP_LIMIT", stop_price="-1"), "stop_price"),
    "stop price too high": (text(order_type="STOP_LIMIT", stop_price="1000000.01"), "stop_price"),
    "stop price that is no number": (text(order_type="STOP_LIMIT", stop_price="1e2"), "stop_price"),
    "stop price as NaN": (with_number("stop_price", "NaN"), "stop_price"),
    "stop price as a list": (text(order_type="STOP_LIMIT", stop_price=["181"]), "stop_price"),
    "unknown type": (text(order_type="TRAILING_STOP"), "order_type"),
    "unknown time in force": (text(time_in_force="OPG"), "time_in_force"),
    "text as bool": (text(extended_hours="true"), "extended_hours"),
    "number as bool": (with_number("extended_hours", "1"), "extended_hours"),
    "signal id with a slash": (text(signal_id="a/b"), "signal_id"),
    "signal id with a line end": (text(signal_id="a\n"), "signal_id"),
    "signal id too long": (text(signal_id="a" * 65), "signal_id"),
    "strategy in capitals": (text(strategy="Momentum"), "strategy"),
    "rationale too long": (text(rationale="x" * 4_001), "rationale"),
    "NUL in the rationale": (text(rationale="a\0b"), "rationale"),
    "lone surrogate": (text(rationale="@").replace(b"@", b"\\ud800"), "rationale"),
    "too many references": (text(references=["x"] * 21), "references"),
    "reference too long": (text(references=["x", "y" * 201]), "references[1]"),
    "NUL in a reference": (text(references=["a\0b"]), "references"),
}


@pytest.mark.parametrize(("body", "field"), CASES.values(), ids=CASES)
async def test_is_refused_by_field(shared_gateway: Gateway, body: bytes, field: str) -> None:
    answer = await shared_gateway.http.post("/v1/signals", content=body, headers=bearer() | JSON)
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert error["code"] == "INVALID_SIGNAL"
    assert field in [problem["field"] for problem in error["fields"]], error
    assert all(problem["message"] for problem in error["fields"])
    assert "Traceback" not in answer.text
    for table in ("signals", "orders", "events"):
        assert await shared_gateway.count(table) == 0
    assert shared_gateway.starter.started == []


async def test_every_bad_field_is_named_at_once(shared_gateway: Gateway) -> None:
    answer = await shared_gateway.submit(
        signal(ticker="aapl", quantity="-1", created_at="yesterday", nonsense=1)
    )
    fields = {problem["field"] for problem in answer.json()["error"]["fields"]}
    assert fields == {"ticker", "quantity", "created_at", "nonsense"}


async def test_a_thousand_bad_fields_make_a_short_answer(shared_gateway: Gateway) -> None:
    answer = await shared_gateway.submit(signal(**{f"{number}" + "x" * 50: 1 for number in range(1000)}))
    assert answer.status_code == 422
    assert len(answer.content) < 8_000


async def _in_pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 65_536):
        yield b" " * 65_536


@pytest.mark.parametrize("size", [70_000, 10_000_000])
@pytest.mark.parametrize("counted", [True, False])
async def test_a_body_too_large_is_refused(gateway: Gateway, size: int, counted: bool) -> None:
    content = b" " * size if counted else _in_pieces(size + 65_536)
    answer = await gateway.http.post("/v1/signals", content=content, headers=bearer() | JSON)
    assert answer.status_code == 413
    assert answer.json()["error"]["fields"][0]["field"] == "body"


async def test_the_largest_allowed_body_is_read(gateway: Gateway) -> None:
    body = text()
    answer = await gateway.http.post(
        "/v1/signals", content=body + b" " * (65_536 - len(body)), headers=bearer() | JSON
    )
    assert answer.status_code == 202


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {},
        JSON | {"Content-Encoding": "gzip"},
    ],
)
async def test_anything_but_plain_json_is_refused(gateway: Gateway, headers: dict[str, str]) -> None:
    answer = await gateway.http.post("/v1/signals", content=text(), headers=bearer() | headers)
    assert answer.status_code == 415
    assert answer.json()["error"]["code"] == "UNSUPPORTED_MEDIA_TYPE"
    assert await gateway.count("signals") == 0


@pytest.mark.parametrize(
    ("number", "kept"),
    [("180.1", "180.1"), ("100000.01", "100000.01"), ("1.0e2", "100"), ("0.0003", "0.0003")],
)
async def test_numbers_are_taken_digit_by_digit(gateway: Gateway, number: str, kept: str) -> None:
    body = with_number("limit_price", number)
    assert (await gateway.http.post("/v1/signals", content=body, headers=bearer() | JSON)).status_code == 202
    (proposal,) = gateway.starter.started
    assert proposal.model_dump(mode="json")["limit_price"] == kept
