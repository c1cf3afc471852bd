"""Alpaca's market-data bodies and errors in our terms.

Prices come as JSON or MessagePack numbers. JSON text is read as Decimal; a MessagePack double is read through
its shortest decimal form, which is the number the provider wrote.
"""

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from market.errors import (
    FeedNetworkError,
    FeedNotEntitledError,
    FeedRateLimitError,
    FeedRequestError,
    FeedUnauthorizedError,
    MarketDataError,
)
from schemas.base import PRICE_MAX
from schemas.market import Provider, Quote

SIZE_MAX: Final = Decimal(10) ** 12
"""Shares; no displayed size comes near it."""
SMALLEST_STEP: Final = Decimal("1e-9")
"""Of a price or a size; our own numbers have at most nine decimals."""
MESSAGE_MAX_CHARACTERS: Final = 200
"""Of a provider's message that is kept in ours."""

_STREAM_ERRORS: Final[Mapping[int, Callable[[str], MarketDataError]]] = {
    400: FeedRequestError,
    401: FeedUnauthorizedError,
    402: FeedUnauthorizedError,
    403: FeedRequestError,
    404: FeedNetworkError,
    405: FeedNotEntitledError,
    406: FeedRateLimitError,
    407: FeedNetworkError,
    409: FeedNotEntitledError,
    410: FeedRequestError,
}
"""Codes of ``{"T":"error"}`` frames. 404: authentication took too long; 406: the key's one connection is
taken, for up to 90 s after it broke; 407: we read too slowly. Any other is the provider's trouble."""


class BadQuoteError(ValueError):
    """One quote cannot be read. It is left out, so that it ages until nobody trades on it."""


def read_json(body: bytes) -> Any:
    """JSON with exact numbers. Raises ValueError, also on NaN, Infinity and nesting without end."""
    try:
        return json.loads(body, parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse_constant)
    except (InvalidOperation, RecursionError) as error:
        raise ValueError(f"JSON beyond what is read here: {type(error).__name__}") from error


def quote_from(ticker: object, raw: object, provider: Provider, received_at: datetime) -> Quote:
    """One quote object (``bp``, ``bs``, ``ap``, ``as``, ``t``). A price of 0 means that nobody is there.

    Raises:
        BadQuoteError: a field is missing or is not what it should be.
    """
    if not isinstance(ticker, str) or not isinstance(raw, Mapping):
        raise BadQuoteError(f"no quote: {type(raw).__name__} for {ticker!r}")
    return Quote(
        ticker=ticker,
        provider=provider,
        bid=_number(raw, "bp", PRICE_MAX) or None,
        ask=_number(raw, "ap", PRICE_MAX) or None,
        bid_size=_number(raw, "bs", SIZE_MAX),
        ask_size=_number(raw, "as", SIZE_MAX),
        quoted_at=_time(raw.get("t")),
        received_at=received_at,
    )


def http_error(status: int, body: str, retry_after: str | None) -> MarketDataError:
    """What an HTTP status of a refused or failed request means. Total: every status has an answer."""
    message = f"HTTP {status}: {body[:MESSAGE_MAX_CHARACTERS]}"
    match status:
        case 401:
            return FeedUnauthorizedError(message, http_status=status)
        case 403:
            return FeedNotEntitledError(message, http_status=status)
        case 429:
            return FeedRateLimitError(message, http_status=status, retry_after_seconds=_seconds(retry_after))
        case _ if 400 <= status < 500 and status != 408:
            return FeedRequestError(message, http_status=status)
        case _:
            return FeedNetworkError(message, http_status=status)


def stream_error(code: object, text: object) -> MarketDataError:
    """What an error frame means. Total."""
    message = f"stream error {code}: {str(text)[:MESSAGE_MAX_CHARACTERS]}"
    known = _STREAM_ERRORS.get(code) if isinstance(code, int) else None
    return (known or FeedNetworkError)(message)


def _number(raw: Mapping[Any, Any], key: str, maximum: Decimal) -> Decimal | None:
    value = raw.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise BadQuoteError(f"{key} is {type(value).__name__}, not a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise BadQuoteError(f"{key} is {value}")
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    # Compared before anything is computed: an exponent can be a million digits long.
    if not 0 <= number <= maximum:
        raise BadQuoteError(f"{key} is out of range")
    if number.quantize(SMALLEST_STEP) != number:
        raise BadQuoteError(f"{key} has more decimals than {SMALLEST_STEP} allows")
    return number


def _time(value: object) -> datetime:
    """RFC 3339 with up to nine digits, or an aware datetime; cut to microseconds."""
    if isinstance(value, datetime):
        at = value
    elif isinstance(value, str):
        try:
            at = datetime.fromisoformat(value)
        except ValueError as error:
            raise BadQuoteError(f"t is not a time: {value[:MESSAGE_MAX_CHARACTERS]!r}") from error
    else:
        raise BadQuoteError(f"t is {type(value).__name__}, not a time")
    if at.tzinfo is None:
        raise BadQuoteError("t has no zone")
    try:
        return at.astimezone(UTC)
    except OverflowError as error:  # the first or last day of the calendar, in another zone
        raise BadQuoteError(f"t is beyond the calendar: {at.isoformat()}") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _seconds(value: str | None) -> float | None:
    return float(value) if value is not None and value.isascii() and value.isdigit() else None
