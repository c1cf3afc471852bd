"""Alpaca's answers by meaning: status, body code and text to exactly one error class.

A refusal counts as proof that an order was not placed only if it is a 4xx with a JSON object that carries
Alpaca's 8-digit code. Everything else (proxies, HTML, empty bodies, server errors, codes nobody knows)
proves nothing: ``UnknownOutcome`` where the request may have changed something, ``NetworkError`` where it
only read. Statuses and codes are stable, texts may change (docs, "Error codes"); but one code covers many
causes, so the text picks the class within its code.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

from broker.errors import (
    BrokerError,
    DuplicateOrder,
    Forbidden,
    InsufficientFunds,
    InvalidTicker,
    MarketClosed,
    NetworkError,
    NotCancelable,
    NotFound,
    RateLimited,
    SharesHeld,
    StopThroughMarket,
    Unauthorized,
    UnknownOutcome,
    ValidationRefused,
    WashTrade,
)
from observability.redaction import redact_text
from schemas.base import storable

RETRY_AFTER_MAX_SECONDS = 60.0
"""The window is one minute, so no wait can usefully be longer."""

MESSAGE_MAX_CHARS = 300

_CODE_DIGITS = 8
_CODES_PER_STATUS = 100_000


class Kind(StrEnum):
    """What the request could do."""

    PLACE = "place"
    CANCEL = "cancel"
    READ = "read"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, whole."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @classmethod
    def of_json(cls, status: int, body: object) -> "Answer":
        """An answer told inside another one (207)."""
        return cls(status, json.dumps(body, default=str).encode(), {})

    @property
    def request_id(self) -> str | None:
        value = self.headers.get("X-Request-ID")
        return None if value is None else storable(value)


class UnreadableError(Exception):
    """The answer is not what the protocol promises."""


def read_json(body: bytes | str) -> Any:
    """Parse JSON with exact numbers: a fraction becomes a Decimal, never a float.

    Raises:
        UnreadableError: it is not JSON.
    """
    try:
        return json.loads(body, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError, InvalidOperation) as error:
        raise UnreadableError(f"not JSON ({type(error).__name__}, {len(body)} bytes)") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


@dataclass(frozen=True, slots=True)
class _Said:
    """What an error body says. ``code`` None: no 8-digit code in it."""

    code: int | None
    message: str
    text: str

    @property
    def family(self) -> int | None:
        """The status the code belongs to; not always the one it travelled with."""
        return None if self.code is None else self.code // _CODES_PER_STATUS


_DUPLICATE = "client_order_id must be unique"

_TABLE: tuple[tuple[str, type[BrokerError]], ...] = (
    (r"insufficient buying power", InsufficientFunds),
    (r"wash trade|opposite side|while a (short|long) \w+ order is open", WashTrade),
    (r"order is already in|order is not cancelable|cannot be cancel", NotCancelable),
    (r"insufficient qty available", SharesHeld),
    (r"stop price must be (less|greater) than current price", StopThroughMarket),
    (r"cannot be sold short", Forbidden),
    (r"fractionable|fractional", ValidationRefused),
    (r"(asset|us_equity|symbol)\b.*(not found|not tradable|not active)|could not find", InvalidTicker),
    (r"(opg|cls|market[- ]on[- ]close|market[- ]on[- ]open) orders? must be|market is closed", MarketClosed),
)
"""First match wins. Tried on the lower-case text of a refusal that carries a code."""

_WHATEVER_THE_BODY: dict[int, type[BrokerError]] = {401: Unauthorized, 429: RateLimited}

_BY_FAMILY: dict[int, type[BrokerError]] = {
    400: ValidationRefused,
    403: Forbidden,
    404: NotFound,
    422: ValidationRefused,
}
"""What a refusal is where the table knows no better."""


def classify(kind: Kind, answer: Answer) -> BrokerError:
    """The one error that an answer outside 2xx means. Total: any status and any body."""
    said = _read(answer)
    error_class = _error_class(kind, answer.status, said)
    # Before it is cut: half a secret would not be recognised.
    message = f"{answer.status}: {redact_text(said.message) or 'no readable body'}"[:MESSAGE_MAX_CHARS]
    if error_class is RateLimited:
        return RateLimited(
            message,
            retry_after_seconds=_retry_after_seconds(answer.headers),
            http_status=answer.status,
            request_id=answer.request_id,
        )
    return error_class(message, http_status=answer.status, request_id=answer.request_id)


def unproved(kind: Kind) -> type[BrokerError]:
    """The class of an answer that proves nothing."""
    return NetworkError if kind is Kind.READ else UnknownOutcome


def _error_class(kind: Kind, status: int, said: _Said) -> type[BrokerError]:
    if status in _WHATEVER_THE_BODY:
        return _WHATEVER_THE_BODY[status]
    if 400 <= status < 500 and _DUPLICATE in said.text:
        # Believed without a code too: it leads to a look-up, which is safe even if wrong.
        return DuplicateOrder if kind is Kind.PLACE else unproved(kind)
    if status == 403 and said.code is None and said.text == "forbidden.":
        # How Alpaca refused keys before it answered 401.
        return Unauthorized
    if status not in _BY_FAMILY or said.family not in _BY_FAMILY:
        return unproved(kind)
    return _refusal(kind, said)


def _refusal(kind: Kind, said: _Said) -> type[BrokerError]:
    """The class of a 4xx that carries one of Alpaca's codes."""
    if "endpoint" in said.text:
        # The route is unknown, not the order: a proxy or a changed API.
        return unproved(kind)
    if kind is Kind.READ and said.family == 404:
        return NotFound
    for pattern, error_class in _TABLE:
        if re.search(pattern, said.text, re.DOTALL):
            return error_class
    found = _BY_FAMILY[said.family or 400]
    # A placement names no existing thing, so "not found" is no verdict on it.
    return unproved(kind) if found is NotFound and kind is Kind.PLACE else found


def _read(answer: Answer) -> _Said:
    try:
        body = read_json(answer.body)
    except UnreadableError:
        return _Said(None, "", "")
    if not isinstance(body, dict):
        return _Said(None, "", "")
    message = body.get("message")
    message = message if isinstance(message, str) else ""
    reason = body.get("reject_reason")
    text = f"{message} {reason}" if isinstance(reason, str) else message
    # An answer that cannot be stored would leave its order open, to be sent again.
    return _Said(_code(body.get("code")), storable(message), storable(text).lower())


def _code(value: object) -> int | None:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return int(text) if len(text) == _CODE_DIGITS and text.isascii() and text.isdigit() else None


def _retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Seconds until the broker takes requests again, by its own clock; None where it does not say."""
    seconds = _number(headers.get("Retry-After"))
    if seconds is None:
        reset, now = _number(headers.get("X-RateLimit-Reset")), _http_date(headers.get("Date"))
        if reset is None or now is None:
            return None
        seconds = reset - now
    return min(max(seconds, 0), RETRY_AFTER_MAX_SECONDS)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _http_date(text: str | None) -> int | None:
    try:
        return None if text is None else int(parsedate_to_datetime(text).timestamp())
    except (ValueError, OverflowError):
        return None
