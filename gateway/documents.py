"""What /openapi.json says beside what the routes themselves say: examples, errors, the body's schema."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from gateway.body import BODY_BYTES_MAX, BODY_SECONDS_MAX
from gateway.meanings import add_meanings
from gateway.problems import Problem
from schemas.events import PAYLOADS
from schemas.signals import SignalIn

DESCRIPTION: Final = """\
Strategies propose trades here; they decide nothing. Every accepted signal becomes one durable workflow: risk,
pre-trade checks, one order at the broker, its fills. **Paper trading**, unless `/healthz` says `live`.
Not financial advice.

- Send each signal with an id of your own and repeat the request as often as you like: it is taken once.
- Times need a zone. Prices and quantities are decimal strings; a JSON number is taken digit by digit.
- A signal is valid for at most five minutes from `created_at`.
- Every error has the one shape of `Problem`.
"""

_LIMIT_BUY: Final = {
    "signal_id": "mom-2026-11-23-0001",
    "strategy": "momentum",
    "ticker": "AAPL",
    "action": "BUY_TO_OPEN",
    "order_type": "LIMIT",
    "time_in_force": "DAY",
    "quantity": "10",
    "limit_price": "180.50",
    "created_at": "2026-11-23T15:15:00Z",
    "rationale": "Breakout above the 20-day high.",
    "references": ["RsiIndicator_v2"],
}
_MARKET_SELL: Final = {
    "signal_id": "mom-2026-11-23-0002",
    "strategy": "momentum",
    "ticker": "AAPL",
    "action": "SELL_TO_CLOSE",
    "order_type": "MARKET",
    "quantity": "10",
    "created_at": "2026-11-23T15:20:00Z",
    "valid_until": "2026-11-23T15:21:00Z",
}
_STOP_LIMIT_BUY: Final = {
    "signal_id": "mom-2026-11-23-0003",
    "strategy": "momentum",
    "ticker": "AAPL",
    "action": "BUY_TO_OPEN",
    "order_type": "STOP_LIMIT",
    "time_in_force": "GTC",
    "quantity": "10",
    "stop_price": "181.00",
    "limit_price": "181.50",
    "created_at": "2026-11-23T15:25:00Z",
}
_SHORT: Final = {
    "signal_id": "pairs-2026-11-23-0001",
    "strategy": "pairs",
    "ticker": "MSFT",
    "action": "SELL_TO_OPEN",
    "order_type": "LIMIT",
    "quantity": "10",
    "limit_price": "415.00",
    "created_at": "2026-11-23T15:30:00Z",
}
SIGNAL_EXAMPLES: Final = {
    "limit buy": {"summary": "Buy at a limit", "value": _LIMIT_BUY},
    "market sell": {
        "summary": "Sell at market: goes out as a limit at the worst price that the collar allows",
        "value": _MARKET_SELL,
    },
    "stop-limit buy": {
        "summary": "Buy once the market has risen to the stop, at the limit or better",
        "value": _STOP_LIMIT_BUY,
    },
    "short sale": {"summary": "Sell short, for a strategy that may; BUY_TO_CLOSE covers", "value": _SHORT},
}
ACCEPTED_EXAMPLE: Final = {
    "signal_id": "mom-2026-11-23-0001",
    "status": "ACCEPTED",
    "workflow_id": "order-mom-2026-11-23-0001",
    "links": {
        "signal": "/v1/signals/mom-2026-11-23-0001",
        "order": "/v1/orders/mom-2026-11-23-0001",
        "timeline": "/v1/signals/mom-2026-11-23-0001/timeline",
    },
}

STREAM: Final = "text/event-stream"

_ERRORS: Final = {
    401: ("UNAUTHORIZED", "The token is missing, unknown, expired or revoked."),
    403: (
        "STRATEGY_FORBIDDEN",
        "The token may not propose for this strategy, or in this ticker (`TICKER_FORBIDDEN`).",
    ),
    404: ("NOT_FOUND", "It does not exist, or is not this token's."),
    408: ("REQUEST_TIMEOUT", f"The body did not arrive within {BODY_SECONDS_MAX:g} s."),
    409: ("SIGNAL_CONFLICT", "The id was used before: with other content, or by another token."),
    413: ("TOO_LARGE", f"The body has more than {BODY_BYTES_MAX} bytes."),
    415: ("UNSUPPORTED_MEDIA_TYPE", "The body is not sent as plain application/json."),
    422: ("INVALID_SIGNAL", "Not accepted; `fields` names what to correct."),
    429: (
        "RATE_LIMITED",
        "This token has made as many requests as it may; `Retry-After` says when it may again.",
    ),
    500: ("INTERNAL", "A fault of ours. Sending the same request again is safe."),
    503: (
        "UNAVAILABLE",
        "The database does not answer, or this machine's clock is wrong. Send the same request again.",
    ),
}
TOO_MANY_STREAMS: Final = (
    "TOO_MANY_STREAMS",
    "This token, or everyone together, follows as many streams as there may be; or the token has made as many "
    "requests as it may (`RATE_LIMITED`).",
)
INVALID_REQUEST: Final = ("INVALID_REQUEST", "A parameter is wrong; `fields` names it.")
TOPIC_FORBIDDEN: Final = ("TOPIC_FORBIDDEN", "The token may not be told of this topic.")
BAD_SIGNATURE: Final = (
    "BAD_SIGNATURE", "The signature is missing or wrong, its time is too far from ours, or it was used before.",
)  # fmt: skip
TOO_MANY_WAKES: Final = (
    "TOO_MANY_WAKES",
    "Too many pushes. The catch-up is awake, and runs each minute anyway.",
)
NO_WAKES: Final = (
    "WAKE_NOT_CONFIGURED",
    "No secret is set for pushes of the broker: TRADING_BROKER_WAKE_SECRET.",
)


def problems(
    *statuses: int, own: Mapping[int, tuple[str, str]] = MappingProxyType({})
) -> dict[int | str, dict[str, Any]]:
    """The documented error answers of one route; ``own``: code and words where a status means something else."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in (*statuses, *own):
        code, description = own.get(status) or _ERRORS[status]
        error: dict[str, Any] = {"code": code, "message": description, "fields": []}
        if code == "INVALID_SIGNAL":
            error["fields"] = [{"field": "limit_price", "message": "a LIMIT order needs one"}]
        content = {"application/json": {"example": {"error": error}}}
        found[status] = {"model": Problem, "description": description, "content": content}
        if status == 401:
            found[status]["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
        if status in (429, 503):
            found[status]["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
    return found


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the schema of the body that the route parses itself."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        schemas = document["components"]["schemas"]
        own = SignalIn.model_json_schema(mode="validation", ref_template="#/components/schemas/{model}")
        schemas.update(own.pop("$defs", {}))
        schemas["SignalIn"] = own
        _describe_stream(document)
        add_meanings(schemas)
        _drop_generated_422(document)
        app.openapi_schema = document
    return app.openapi_schema


def _describe_stream(document: dict[str, Any]) -> None:
    """Which payload each topic of the stream carries; its refusals are JSON all the same."""
    _, models = models_json_schema(
        [(payload, "serialization") for payload in PAYLOADS.values()],
        ref_template="#/components/schemas/{model}",
    )
    document["components"]["schemas"].update(models["$defs"])
    answers = document["paths"]["/v1/events"]["get"]["responses"]
    answers["200"]["content"][STREAM]["itemSchema"]["oneOf"] = [
        {"properties": {"event": {"const": topic.value}, "data": _json_text(payload.__name__)}}
        for topic, payload in PAYLOADS.items()
    ]
    for status, answer in answers.items():
        if status != "200":
            answer["content"]["application/json"] |= answer["content"].pop(STREAM)


def _json_text(model: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model}"}
    return {"contentMediaType": "application/json", "contentSchema": schema}


def _drop_generated_422(document: dict[str, Any]) -> None:
    """FastAPI adds a 422 of its own shape to each route with a parameter; ours are documented by hand."""
    for operations in document["paths"].values():
        for operation in operations.values():
            if "HTTPValidationError" in str(operation["responses"].get("422", "")):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
