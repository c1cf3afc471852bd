"""Request bodies: read within bounds, parsed without a float ever being made."""

import asyncio
import json
from decimal import Decimal, InvalidOperation
from typing import Final

from starlette.requests import Request

from gateway.problems import ApiError, Code, FieldProblem, invalid_signal

BODY_BYTES_MAX: Final = 64 * 1024
BODY_SECONDS_MAX: Final = 10.0
DRAIN_BYTES_MAX: Final = 16 * 1024 * 1024
"""How much of an oversized body is read and thrown away, so that the sender gets to read the refusal."""

NESTING_MAX: Final = 8
NUMBER_CHARACTERS_MAX: Final = 40


async def read_body(request: Request) -> bytes:
    """The body of a signal. Raises ApiError as `read_bytes`, and 415 where it is not sent as JSON."""
    _check_headers(request)
    return await read_bytes(request, "a signal")


async def read_bytes(request: Request, what: str) -> bytes:
    """The body, at most ``BODY_BYTES_MAX``, whatever Content-Length says or does not say. ``what`` it should be.

    Raises:
        ApiError: 413 too large, 408 not sent within ``BODY_SECONDS_MAX``.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            return await _collect(request, what)
    except TimeoutError as error:
        raise ApiError(
            408, Code.REQUEST_TIMEOUT, f"the body did not arrive within {BODY_SECONDS_MAX:g} s",
            headers={"Connection": "close"},
        ) from error  # fmt: skip


def _check_headers(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if media_type != "application/json" or encoding != "identity":
        raise ApiError(
            415, Code.UNSUPPORTED_MEDIA_TYPE, "send plain JSON with Content-Type: application/json"
        )


async def _collect(request: Request, what: str) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > DRAIN_BYTES_MAX:
            break
        if size <= BODY_BYTES_MAX:
            chunks.append(chunk)
        else:
            chunks.clear()
    if size > BODY_BYTES_MAX:
        raise ApiError(
            413, Code.TOO_LARGE, f"{what} has at most {BODY_BYTES_MAX} bytes; send one a request",
            fields=[FieldProblem(field="body", message=f"larger than {BODY_BYTES_MAX} bytes")],
            headers={"Connection": "close"},
        )  # fmt: skip
    return b"".join(chunks)


class LongNumber:
    """Stands where a number was too long to be kept; whoever knows the field refuses it by name."""


class _RepeatedKey(ValueError):
    pass


def parse_object(body: bytes) -> dict[str, object]:
    """The JSON object in ``body``. Numbers are Decimals, NaN and Infinity too: each field refuses its own.

    Raises:
        ApiError: 422, naming the field or ``body``: not UTF-8, not JSON, not an object, a key given twice,
            nesting too deep.
    """
    if not body.strip():
        raise _refuse("body", "empty: send one signal as a JSON object")
    try:
        value: object = json.loads(
            body.decode("utf-8"),
            parse_float=_number,
            parse_int=_number,
            parse_constant=Decimal,
            object_pairs_hook=_unique,
        )
    except UnicodeDecodeError as error:
        raise _refuse("body", f"not UTF-8 at byte {error.start}") from error
    except _RepeatedKey as error:
        raise _refuse(str(error), "given twice: which one is meant?") from error
    except RecursionError as error:
        raise _refuse("body", f"nested deeper than {NESTING_MAX} levels") from error
    except json.JSONDecodeError as error:
        raise _refuse("body", f"not JSON: {error.msg} at line {error.lineno} column {error.colno}") from error
    if not isinstance(value, dict):
        raise _refuse("body", "must be one JSON object; send one signal a request")
    if _too_deep(value, NESTING_MAX):
        raise _refuse("body", f"nested deeper than {NESTING_MAX} levels")
    return value


def _refuse(field: str, message: str) -> ApiError:
    return invalid_signal([FieldProblem(field=field, message=message)])


def _number(text: str) -> Decimal | LongNumber:
    if len(text) > NUMBER_CHARACTERS_MAX:
        return LongNumber()
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond what Decimal itself can hold
        return LongNumber()


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise _RepeatedKey(key)
        found[key] = value
    return found


def _too_deep(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    if levels == 0:
        return True
    return any(_too_deep(item, levels - 1) for item in (value.values() if isinstance(value, dict) else value))
