"""What a request is answered, and what a fault leaves of the answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.responses import Response

from simulation import errors
from simulation.faults import Fault
from simulation.wire import json_bytes

GATEWAY_TIMEOUT_PAGE = b"<html><head><title>504 Gateway Time-out</title></head></html>"
BAD_GATEWAY_PAGE = b"<html><head><title>502 Bad Gateway</title></head></html>"


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer; ``body`` is JSON unless it is bytes; ``noted`` goes into the ledger only."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    noted: Mapping[str, Any] = field(default_factory=dict)


def refused(refusal: errors.Refusal) -> Reply:
    duplicate = refusal.message == errors.duplicate_client_order_id().message
    return Reply(refusal.status, refusal.body(), noted={"duplicate": True} if duplicate else {})


def bad_gateway() -> Reply:
    return _html(502, BAD_GATEWAY_PAGE)


def gateway_timeout() -> Reply:
    return _html(504, GATEWAY_TIMEOUT_PAGE)


def _html(status: int, page: bytes) -> Reply:
    return Reply(status, page, headers={"Content-Type": "text/html"})


def after_landing(fault: Fault | None, reply: Reply | None) -> Reply | None:
    """What really goes back over the wire; None: nothing ever does."""
    match fault.action if fault else None:
        case "status_504_after_landing":
            return gateway_timeout()
        case "drop_before_landing" | "drop_after_landing" | "hang_before_landing" | "hang_after_landing":
            return None
        case "short_list" if reply is not None and isinstance(reply.body, list):
            return replace(reply, body=reply.body[: len(reply.body) // 2])
        case "empty_list" if reply is not None and isinstance(reply.body, list):
            return replace(reply, body=[])
    return reply


def response(reply: Reply, headers: Mapping[str, str]) -> Response:
    if reply.body is None:
        return Response(status_code=reply.status, headers=headers)
    return Response(content(reply), reply.status, headers, media_type=media_type(headers))


def content(reply: Reply) -> bytes:
    if reply.body is None:
        return b""
    return reply.body if isinstance(reply.body, bytes) else json_bytes(reply.body)


def media_type(headers: Mapping[str, str]) -> str:
    return headers.get("Content-Type", "application/json")
