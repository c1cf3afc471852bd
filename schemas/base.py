"""Foundations of every model: frozen, exact in money, aware in time."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

PRICE_MAX = Decimal("1000000")
"""US dollars a share; nothing listed trades above it, so a larger number is a typing error."""

QUANTITY_MAX = Decimal("1000000")
"""Shares in one order."""

CENTS = 2
"""Decimals of a price in dollars."""

DECIMAL_PATTERN = r"^-?\d{1,15}(\.\d{1,9})?$"

NUMBER_PATTERN = r"^-?\d+(\.\d+)?$"
"""Of what we have computed: an average price has as many digits as its division."""


def decimal_text(value: Decimal) -> str:
    """Write ``value`` without exponent and without trailing zeros: ``180.5``, ``10``, ``0``.

    One text for one number, so that hashes and signatures over it are stable.
    """
    if not value.is_finite():
        raise ValueError(f"{value} is not a number that can be sent")
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def dollars_text(price: Decimal) -> str:
    """A price for people: at least two decimals, more only where it has them."""
    whole, _, decimals = decimal_text(price).partition(".")
    return f"{whole}.{decimals.ljust(CENTS, '0')}"


def storable(text: str) -> str:
    """``text`` as PostgreSQL can store it: half a surrogate pair becomes ``?``, code zero a blank."""
    return text.encode("utf-8", "replace").decode().replace("\x00", " ")


def _aware_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time needs its zone, e.g. 2026-11-23T15:15:00Z")
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("a time outside the years 1 to 9999 in UTC") from error


DecimalText = Annotated[
    Decimal,
    Field(allow_inf_nan=False),
    PlainSerializer(decimal_text, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": DECIMAL_PATTERN}),
]
"""A Decimal that travels as a JSON string. Never built from a float."""

NumberText = Annotated[
    Decimal,
    Field(allow_inf_nan=False),
    PlainSerializer(decimal_text, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": NUMBER_PATTERN}),
]
"""A Decimal that we tell, however long it is."""

UtcTime = Annotated[datetime, AfterValidator(_aware_utc)]
"""An aware time, kept in UTC."""


class Wire(BaseModel):
    """A model that crosses Temporal or is read back from storage.

    Unknown fields are ignored so that an older worker can read a newer payload; new fields have
    defaults and none is ever renamed.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")


class Edge(BaseModel):
    """A model that a stranger fills in. Unknown fields are refused by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")
