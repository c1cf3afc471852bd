"""Every kind of change to a payload that would break somebody is named with its topic and field; growth is fine."""

from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, create_model

from schemas.base import DecimalText, NumberText, UtcTime, Wire
from schemas.compatibility import incompatibilities

TOPIC = "trading.example"


class Side(StrEnum):
    BUY = "BUY"
    SELL = "SELL"


class Wider(StrEnum):
    BUY = "BUY"
    SELL = "SELL"
    HOLD = "HOLD"


class Narrower(StrEnum):
    BUY = "BUY"


class Inner(Wire):
    size: DecimalText
    note: str | None = None


class InnerWithout(Wire):
    note: str | None = None


BASE: dict[str, Any] = {
    "ticker": (str, ...),
    "price": (DecimalText, ...),
    "stop": (DecimalText | None, None),
    "at": (UtcTime, ...),
    "count": (int, 0),
    "side": (Side, ...),
    "action": (Literal["A", "B"], "A"),
    "flags": (tuple[str, ...], ()),
    "orders": (dict[str, str], {}),
    "inner": (Inner, ...),
    "name": (Annotated[str, Field(max_length=10)], "x"),
    "number": (NumberText, "0"),
}


def schema(changed: dict[str, Any] | None = None, *, without: str = "") -> dict[str, Any]:
    fields = {name: field for name, field in (BASE | (changed or {})).items() if name != without}
    return create_model("Payload", __base__=Wire, **fields).model_json_schema()


@pytest.mark.parametrize(
    ("changed", "without", "told"),
    [
        ({}, "ticker", "ticker was removed"),
        ({}, "stop", "stop was removed"),
        ({"inner": (InnerWithout, ...)}, "", "inner.size was removed"),
        ({"added": (str, ...)}, "", "added is newly required"),
        ({"stop": (DecimalText | None, ...)}, "", "stop is newly required"),
        ({"ticker": (str, "none")}, "", "ticker may be missing now"),
        ({"stop": (DecimalText, "0")}, "", "stop is narrowed: it may no longer be null"),
        ({"ticker": (int, ...)}, "", "ticker is narrowed: it may no longer be string"),
        ({"flags": (tuple[int, ...], ())}, "", "flags[] is narrowed: it may no longer be string"),
        ({"orders": (dict[str, int], {})}, "", "orders.* is narrowed: it may no longer be string"),
        ({"ticker": (DecimalText, ...)}, "", "ticker is narrowed: pattern none became"),
        ({"ticker": (UtcTime, ...)}, "", "ticker is narrowed: format none became date-time"),
        ({"number": (DecimalText, "0")}, "", "number is narrowed: pattern"),
        ({"name": (Annotated[str, Field(max_length=5)], "x")}, "", "name is narrowed: maxLength 10 became 5"),
        ({"count": (Annotated[int, Field(ge=0)], 0)}, "", "count is narrowed: minimum none became 0"),
        ({"side": (Narrower, ...)}, "", "side is narrowed: no longer SELL"),
        ({"action": (Literal["A"], "A")}, "", "action is narrowed: no longer B"),
        ({"ticker": (Side, ...)}, "", "ticker is narrowed: only BUY, SELL"),
    ],
)
def test_what_would_break_is_named(changed: dict[str, Any], without: str, told: str) -> None:
    found = incompatibilities(TOPIC, schema(), schema(changed, without=without))
    assert len(found) == 1, found
    assert found[0].startswith(f"{TOPIC}: {told}")


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"added": (str | None, None)},
        {"added": (int, 1)},
        {"side": (Wider, ...)},
        {"action": (Literal["A", "B", "C"], "A")},
        {"ticker": (str | int, ...)},
        {"name": (str, "x")},
        {"name": (Annotated[str, Field(max_length=20)], "x")},
        {"price": (DecimalText | None, ...)},
        {"price": (NumberText, ...)},
    ],
)
def test_growth_is_fine(changed: dict[str, Any]) -> None:
    assert incompatibilities(TOPIC, schema(), schema(changed)) == []


def test_several_breaks_are_all_told() -> None:
    found = incompatibilities(TOPIC, schema(), schema({"added": (str, ...)}, without="ticker"))
    assert len(found) == 2


def test_a_closed_payload_is_narrower() -> None:
    found = incompatibilities(TOPIC, schema(), schema() | {"additionalProperties": False})
    assert found == [f"{TOPIC}: * is narrowed: not everything is allowed any more"]
