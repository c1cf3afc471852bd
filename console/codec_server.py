"""The codec server: decrypts payloads for the Temporal Web UI and command line, for who may read them.

It speaks the protocol of Temporal's codec servers: ``POST /decode`` (and ``/encode``, where switched on) with a
``Payloads`` message as JSON. Whoever gets through reads every payload of the installation, so nobody does unnamed,
and each answer is preceded by an audit row that says who read how many.
"""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from temporalio.api.common.v1 import Payload, Payloads

from console.codec_audit import PayloadReads, Reading
from observability.logging import get_logger
from security.payloads import KeyRing, UnreadablePayload, is_sealed
from storage.database import DATABASE_ERRORS
from storage.sessions import read_session

if TYPE_CHECKING:
    from storage.database import Database

BODY_BYTES_MAX: Final = 8 * 1024 * 1024
"""Four of the largest payloads that Temporal takes."""
BODY_SECONDS_MAX: Final = 10.0
PAYLOADS_MAX: Final = 2_000
"""Of one request; a page of the Web UI asks for one payload at a time, or for those of one event."""
PREFLIGHT_SECONDS: Final = 600
"""How long a browser may remember what it may ask."""
TOKEN_LENGTH_MIN: Final = 32
NAMESPACE_HEADER: Final = "X-Namespace"
COOKIES: Final = ("__Host-console", "console")
"""The console's session, over https and on this machine."""
COOKIE_CHARACTERS_MAX: Final = 128
ALLOWED_HEADERS: Final = "authorization, authorization-extras, content-type, x-namespace"

Doorkeeper = Callable[[Request], Awaitable[str | None]]
"""Says who asks, for the audit log; None: nobody that it knows."""

_log = get_logger(__name__)


class CodecRefused(Exception):
    """The request is not answered; told to whoever asks."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class CodecDeps:
    """What the server works with. ``origins`` are the Web UI's, ``https://temporal.example.com``."""

    ring: KeyRing
    reads: PayloadReads
    namespace: str
    doorkeepers: Sequence[Doorkeeper]
    origins: frozenset[str] = frozenset()
    encodes: bool = False


def bearer(token: str, name: str = "codec token") -> Doorkeeper:
    """Lets in who sends ``Authorization: Bearer TOKEN``.

    Raises:
        ValueError: the token can be guessed.
    """
    if len(token) < TOKEN_LENGTH_MIN:
        raise ValueError(f"TRADING_CODEC_TOKEN: at least {TOKEN_LENGTH_MIN} characters")
    expected = hashlib.sha256(token.encode()).digest()

    async def known(request: Request) -> str | None:
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        found = hashlib.sha256(sent.strip().encode("utf-8", "replace")).digest()
        matches = hmac.compare_digest(found, expected)
        return name if matches and scheme.lower() == "bearer" else None

    return known


def signed_in(database: "Database") -> Doorkeeper:
    """Lets in who is signed in to the console in the same browser, second factor shown, whatever the role.

    A browser sends the console's cookie to this host alone, and says which page asks: without that nobody is known.
    """

    async def known(request: Request) -> str | None:
        secret = next((request.cookies[name] for name in COOKIES if name in request.cookies), "")
        if "origin" not in request.headers or not 0 < len(secret) <= COOKIE_CHARACTERS_MAX:
            return None
        async with database.connection() as connection:
            session = await read_session(connection, secret, datetime.now(UTC))
        return None if session is None or session.mfa_at is None else session.name

    return known


def build_codec(deps: CodecDeps) -> Starlette:
    """The application."""
    app = Starlette(
        routes=[
            Route("/decode", _answering(deps, _decode), methods=["POST"]),
            Route("/encode", _answering(deps, _encode), methods=["POST"]),
            Route("/decode", _preflight(deps), methods=["OPTIONS"]),
            Route("/encode", _preflight(deps), methods=["OPTIONS"]),
        ]
    )
    app.state.deps = deps
    return app


Work = Callable[[CodecDeps, list[Payload]], list[Payload]]


def _answering(deps: CodecDeps, work: Work) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            body = await _answer(deps, request, work)
            response = JSONResponse(body)
        except CodecRefused as refusal:
            told = {"error": {"code": refusal.code, "message": str(refusal)}}
            response = JSONResponse(told, status_code=refusal.status)
            if refusal.status == 401:
                response.headers["WWW-Authenticate"] = 'Bearer realm="codec"'
        except ClientDisconnect:
            return Response(status_code=499)
        _set_headers(deps, request, response)
        return response

    return answer


def _preflight(deps: CodecDeps) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        response = Response(status_code=204 if _is_allowed(deps, request) else 403)
        _set_headers(deps, request, response)
        if _is_allowed(deps, request):
            response.headers["Access-Control-Allow-Methods"] = "POST"
            response.headers["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
            response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
        return response

    return answer


def _set_headers(deps: CodecDeps, request: Request, response: Response) -> None:
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Vary"] = "Origin"
    if _is_allowed(deps, request):
        response.headers["Access-Control-Allow-Origin"] = request.headers["origin"]
        response.headers["Access-Control-Allow-Credentials"] = "true"


def _is_allowed(deps: CodecDeps, request: Request) -> bool:
    return request.headers.get("origin") in deps.origins


async def _answer(deps: CodecDeps, request: Request, work: Work) -> dict[str, object]:
    if "origin" in request.headers and not _is_allowed(deps, request):
        raise CodecRefused(403, "ORIGIN_FORBIDDEN", "pages of this origin may not ask: TRADING_CODEC_ORIGINS")
    who = await _who(deps, request)
    if request.headers.get(NAMESPACE_HEADER, deps.namespace) != deps.namespace:
        raise CodecRefused(400, "OTHER_NAMESPACE", f"these are the keys of namespace {deps.namespace!r}")
    payloads = _parse(await _body(request))
    answers = work(deps, payloads)
    reading = Reading(who, decoded=sum(map(is_sealed, payloads)), encoded=sum(map(is_sealed, answers)))
    try:
        await deps.reads.record(reading)
    except DATABASE_ERRORS as error:
        _log.warning("not answered: what is read cannot be recorded", reason=type(error).__name__)
        raise CodecRefused(
            503, "NOT_RECORDED", "the audit log cannot be written: nothing is shown"
        ) from error
    found = MessageToDict(Payloads(payloads=answers))
    return {"payloads": found.get("payloads", [])}


async def _who(deps: CodecDeps, request: Request) -> str:
    for doorkeeper in deps.doorkeepers:
        try:
            who = await doorkeeper(request)
        except DATABASE_ERRORS as error:
            raise CodecRefused(503, "UNAVAILABLE", "the database does not answer: nobody is known") from error
        if who is not None:
            return who
    raise CodecRefused(
        401, "UNAUTHENTICATED", "send the codec token as bearer, or log in to the console in this browser"
    )


async def _body(request: Request) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        # Also what makes a browser ask first: a form of another page cannot send this.
        raise CodecRefused(415, "UNSUPPORTED_MEDIA_TYPE", "send JSON with Content-Type: application/json")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            async for chunk in request.stream():
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    raise CodecRefused(413, "TOO_LARGE", f"at most {BODY_BYTES_MAX} bytes a request")
    except TimeoutError as error:
        message = f"the body did not arrive within {BODY_SECONDS_MAX:g} s"
        raise CodecRefused(408, "REQUEST_TIMEOUT", message) from error
    return bytes(body)


def _parse(body: bytes) -> list[Payload]:
    try:
        found = json.loads(body)
        listed = found.get("payloads") if isinstance(found, dict) else None
        if not isinstance(listed, list) or len(listed) > PAYLOADS_MAX:
            raise CodecRefused(400, "NOT_PAYLOADS", f'send {{"payloads": […]}}, at most {PAYLOADS_MAX}')
        parsed = ParseDict({"payloads": listed}, Payloads(), ignore_unknown_fields=True)
    except (ValueError, RecursionError, ParseError) as error:
        raise CodecRefused(400, "NOT_PAYLOADS", "no Payloads message as protobuf JSON") from error
    return list(parsed.payloads)


def _decode(deps: CodecDeps, payloads: list[Payload]) -> list[Payload]:
    opened = []
    for number, payload in enumerate(payloads, start=1):
        try:
            opened.append(deps.ring.open(payload))
        except UnreadablePayload as error:
            known = ", ".join(deps.ring.ids)
            raise CodecRefused(
                422, "UNREADABLE_PAYLOAD", f"payload {number}: {error}; keys known here: {known}"
            ) from error
    return opened


def _encode(deps: CodecDeps, payloads: list[Payload]) -> list[Payload]:
    if not deps.encodes:
        raise CodecRefused(404, "NOT_ENCODING", "it only decodes: TRADING_CODEC_ENCODES is off")
    return [deps.ring.seal(payload) for payload in payloads]
