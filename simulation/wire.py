"""How numbers and moments look on the wire: plain decimal strings and RFC 3339."""

import json
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
NANOSECONDS = 1_000_000_000
AVERAGE_PLACES = Decimal("1e-9")


def plain(value: Decimal) -> str:
    """A decimal without exponent and without trailing zeros: ``Decimal('1E+1')`` is ``"10"``."""
    return format(value.normalize(), "f") if value else "0"


def plain_or_none(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


def rounded(value: Decimal, places: Decimal = AVERAGE_PLACES) -> Decimal:
    return value.quantize(places, rounding=ROUND_HALF_EVEN)


def json_number(value: Decimal) -> float:  # tidy: float because the wire has JSON numbers here
    """A decimal where the protocol wants a JSON number; with few digits a float prints it exactly."""
    return float(value)  # tidy: float because the wire has JSON numbers here


def rfc3339(moment: datetime) -> str:
    """UTC with microseconds, ``2026-11-23T15:15:03.951234Z``."""
    # isoformat is several times faster than strftime, and every order object has four moments.
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def rfc3339_or_none(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)


def rfc3339_ns(nanoseconds: int) -> str:
    """UTC with nine fractional digits from nanoseconds since the epoch."""
    seconds, fraction = divmod(nanoseconds, NANOSECONDS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


def to_ns(moment: datetime) -> int:
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * NANOSECONDS + delta.microseconds * 1_000


def from_ns(nanoseconds: int) -> datetime:
    seconds, fraction = divmod(nanoseconds, NANOSECONDS)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=fraction // 1_000)


def parse_moment(text: str) -> datetime:
    """RFC 3339 or a bare date; a moment without offset is UTC.

    Raises ValueError if the text is neither.
    """
    # A "+" that was not percent-encoded arrives as a space.
    moment = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text.strip())
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def json_bytes(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
