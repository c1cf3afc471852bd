"""Money is exact and times know their zone, on every way in and out of a model."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from schemas.base import DECIMAL_PATTERN, PRICE_MAX, DecimalText, Edge, UtcTime, Wire, decimal_text

# 15 digits before and 6 after the point: more than a float's 15 to 17 can hold.
EXACT = "123456789012345.123456"


class Priced(Wire):
    """A model with money."""

    price: DecimalText


class Bounded(Edge):
    """A model at the edge, with the bounds a price has there."""

    price: Annotated[DecimalText, Field(gt=0, le=PRICE_MAX)]


class Timed(Wire):
    """A model with a time."""

    at: UtcTime


def from_body(body: str) -> Priced:
    """As the gateway reads a request: numbers become Decimals before any model sees them."""
    return Priced.model_validate(json.loads(body, parse_float=Decimal))


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15, places=6))
def test_every_amount_survives_json_exactly(amount: Decimal) -> None:
    text = Priced(price=amount).model_dump_json()
    again = Priced.model_validate_json(text)
    assert again.price == amount
    assert again.model_dump_json() == text


def test_21_digits_survive_json() -> None:
    assert Priced.model_validate_json(f'{{"price": "{EXACT}"}}').model_dump_json() == f'{{"price":"{EXACT}"}}'


def test_a_json_number_loses_digits_in_pydantic_so_the_edge_parses_with_decimal() -> None:
    """pydantic reads JSON numbers through float. Red in the first line: no longer so, simplify the edge."""
    assert Priced.model_validate_json(f'{{"price": {EXACT}}}').price != Decimal(EXACT)
    assert from_body(f'{{"price": {EXACT}}}').price == Decimal(EXACT)
    assert from_body(f'{{"price": "{EXACT}"}}').price == Decimal(EXACT)
    assert from_body('{"price": 0.1}').price == Decimal("0.1")


def test_in_memory_it_is_a_decimal_and_only_json_is_text() -> None:
    priced = Priced(price=Decimal("180.50"))
    assert priced.model_dump() == {"price": Decimal("180.50")}
    assert json.loads(priced.model_dump_json()) == {"price": "180.5"}


@pytest.mark.parametrize(
    "value", ["NaN", "sNaN", "-NaN", "Infinity", "-Infinity", "inf", "", " ", "ten", "0x10", "1,000", "1.2.3"]
)
def test_what_is_no_number_is_refused_by_name(value: str) -> None:
    for read in (
        lambda: Priced.model_validate({"price": value}),
        lambda: Priced.model_validate_json(json.dumps({"price": value})),
    ):
        with pytest.raises(ValidationError) as refused:
            read()
        assert [error["loc"] for error in refused.value.errors()] == [("price",)]


@pytest.mark.parametrize(
    "value",
    [Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), float("nan"), float("inf"), True, None, [], {}],
)
def test_what_is_no_number_in_memory_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        Priced.model_validate({"price": value})


@pytest.mark.parametrize("body", ['{"price": NaN}', '{"price": Infinity}', '{"price": -Infinity}'])
def test_json_s_non_numbers_are_refused_on_both_ways_in(body: str) -> None:
    for read in (from_body, Priced.model_validate_json):
        with pytest.raises(ValidationError, match="finite number"):
            read(body)


@pytest.mark.parametrize("value", ["1e308", "1E+7", "1000000.01", "0", "-0", "-1", "-0.00"])
def test_bounds_hold_for_every_spelling(value: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Bounded.model_validate({"price": value})
    assert refused.value.errors()[0]["loc"] == ("price",)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("180.50", "180.5"),
        ("180.00", "180"),
        ("100", "100"),
        ("1E+5", "100000"),
        ("1e-9", "0.000000001"),
        ("0", "0"),
        ("-0", "0"),
        ("0E+3", "0"),
        ("-0.00", "0"),
        ("-12.340", "-12.34"),
        (EXACT, EXACT),
    ],
)
def test_one_number_has_one_text(value: str, text: str) -> None:
    """Hashes and signatures are made over it: no exponent, no trailing zeros, no minus on zero."""
    assert decimal_text(Decimal(value)) == text
    assert re.fullmatch(DECIMAL_PATTERN, text)


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, min_value=-(10**15) + 1, max_value=10**15 - 1, places=9
    )
)
def test_the_published_pattern_holds_for_all_we_write(amount: Decimal) -> None:
    text = decimal_text(amount)
    assert re.fullmatch(DECIMAL_PATTERN, text)
    assert Decimal(text) == amount
    assert decimal_text(amount.normalize()) == text


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "sNaN"])
def test_what_is_no_number_is_never_written(value: str) -> None:
    with pytest.raises(ValueError, match="not a number that can be sent"):
        decimal_text(Decimal(value))


def test_the_json_schema_says_text() -> None:
    schema = Priced.model_json_schema()["properties"]["price"]
    assert (schema["type"], schema["pattern"]) == ("string", DECIMAL_PATTERN)


@pytest.mark.parametrize("value", ["2026-11-23T15:15:00", "2026-11-23", datetime(2026, 11, 23, 15, 15)])  # noqa: DTZ001
def test_a_time_without_zone_is_refused_and_told_how_to_write_one(value: object) -> None:
    with pytest.raises(ValidationError, match="2026-11-23T15:15:00Z"):
        Timed.model_validate({"at": value})


@pytest.mark.parametrize(
    "value", ["2026-11-23T15:15:00Z", "2026-11-23T10:15:00-05:00", "2026-11-23T16:15:00+01:00"]
)
def test_one_instant_in_three_zones_is_one_time_in_utc(value: str) -> None:
    at = Timed.model_validate_json(json.dumps({"at": value})).at
    assert at == datetime(2026, 11, 23, 15, 15, tzinfo=UTC)
    assert at.tzinfo is UTC


@pytest.mark.parametrize("value", ["9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+05:00"])
def test_a_time_that_utc_cannot_hold_is_refused_not_a_crash(value: str) -> None:
    with pytest.raises(ValidationError):
        Timed.model_validate({"at": value})


@given(
    at=st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2100, 1, 1)),  # noqa: DTZ001
    minutes=st.integers(-14 * 60, 14 * 60),
)
def test_times_survive_json_to_the_microsecond(at: datetime, minutes: int) -> None:
    aware = at.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    timed = Timed(at=aware)
    again = Timed.model_validate_json(timed.model_dump_json())
    assert again.at == aware
    assert again.model_dump_json() == timed.model_dump_json()


def test_models_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Priced(price=Decimal(1)).price = Decimal(2)  # type: ignore[misc]


def test_what_crosses_temporal_ignores_a_newer_field_and_the_edge_names_an_unknown_one() -> None:
    assert Priced.model_validate({"price": "1", "from_tomorrow": 1}) == Priced(price=Decimal(1))
    with pytest.raises(ValidationError) as refused:
        Bounded.model_validate({"price": "1", "prize": 2})
    assert refused.value.errors()[0]["loc"] == ("prize",)
