"""Everything the gateway can say no with: one shape, one code for each meaning.

{"error": {"code": "INVALID_SIGNAL", "message": "...", "fields": [{"field": "ticker", "message": "..."}]}}
"""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

FIELD_NAME_CHARACTERS_MAX: Final = 64
FIELD_MESSAGE_CHARACTERS_MAX: Final = 300
FIELDS_MAX: Final = 20
RETRY_AFTER_SECONDS: Final = 1


class Code(StrEnum):
    """Error codes; a code never changes its meaning."""

    INVALID_SIGNAL = "INVALID_SIGNAL"
    INVALID_REQUEST = "INVALID_REQUEST"
    """A query parameter is wrong."""
    UNAUTHORIZED = "UNAUTHORIZED"
    STRATEGY_FORBIDDEN = "STRATEGY_FORBIDDEN"
    TICKER_FORBIDDEN = "TICKER_FORBIDDEN"
    TOPIC_FORBIDDEN = "TOPIC_FORBIDDEN"
    RATE_LIMITED = "RATE_LIMITED"
    """This token has made as many requests as it may; `Retry-After` says when it may make the next."""
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    REQUEST_TIMEOUT = "REQUEST_TIMEOUT"
    SIGNAL_CONFLICT = "SIGNAL_CONFLICT"
    TOO_LARGE = "TOO_LARGE"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    TOO_MANY_STREAMS = "TOO_MANY_STREAMS"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    TOO_MANY_WAKES = "TOO_MANY_WAKES"
    WAKE_NOT_CONFIGURED = "WAKE_NOT_CONFIGURED"
    INTERNAL = "INTERNAL"
    UNAVAILABLE = "UNAVAILABLE"


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    model_config = ConfigDict(frozen=True)

    field: str
    """Its name; ``references[2]`` for an element, ``body`` for the whole."""
    message: str


class ProblemDetail(BaseModel):
    """A refusal in words, for programs by its code."""

    model_config = ConfigDict(frozen=True)

    code: Code
    message: str
    fields: tuple[FieldProblem, ...] = ()


class Problem(BaseModel):
    """The body of every answer that is not a success."""

    model_config = ConfigDict(frozen=True)

    error: ProblemDetail


class ApiError(Exception):
    """Raised anywhere below a route; becomes the response."""

    def __init__(
        self,
        status: int,
        code: Code,
        message: str,
        *,
        fields: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.detail = ProblemDetail(code=code, message=message, fields=tuple(fields))
        self.headers = dict(headers or {})


def invalid_signal(problems: Sequence[FieldProblem]) -> ApiError:
    """422: the body is not a signal that may be proposed. At most ``FIELDS_MAX`` problems are told."""
    named = ", ".join(dict.fromkeys(problem.field for problem in problems[:FIELDS_MAX]))
    return ApiError(
        422,
        Code.INVALID_SIGNAL,
        f"not accepted, nothing was stored; correct and send again: {named}",
        fields=[_cut(problem) for problem in problems[:FIELDS_MAX]],
    )


def _cut(problem: FieldProblem) -> FieldProblem:
    return FieldProblem(
        field=problem.field[:FIELD_NAME_CHARACTERS_MAX],
        message=problem.message[:FIELD_MESSAGE_CHARACTERS_MAX],
    )


def unauthorized() -> ApiError:
    """401. The same words whether the token is missing, unknown, expired or revoked."""
    return ApiError(
        401,
        Code.UNAUTHORIZED,
        "send a valid token: Authorization: Bearer <token>",
        headers={"WWW-Authenticate": 'Bearer realm="trading"'},
    )


def not_found(what: str) -> ApiError:
    """404. The same words whether it does not exist or belongs to another token."""
    return ApiError(404, Code.NOT_FOUND, f"no such {what}")


def unavailable(message: str) -> ApiError:
    """503: nothing was accepted; the same request may be sent again."""
    return ApiError(503, Code.UNAVAILABLE, message, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def response(error: ApiError) -> Response:
    """The HTTP answer. ASCII only, so that a lone surrogate in a field's name cannot break it."""
    body: dict[str, Any] = Problem(error=error.detail).model_dump(mode="python")
    return Response(
        json.dumps(body), status_code=error.status, headers=error.headers, media_type="application/json"
    )
