"""Route /v1/broker/wake: a broker that pushes says that there is news. What the news is, the catch-up reads itself.

The signature proves who pushes and when; the body is part of what is signed and is never read for anything else, so
whoever has the secret can make us look and cannot make us book.
"""

import hashlib
import hmac
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Header, Request, Response

from gateway.body import read_bytes
from gateway.deps import Deps, GatewayDeps
from gateway.documents import BAD_SIGNATURE, NO_WAKES, TOO_MANY_WAKES, problems
from gateway.problems import RETRY_AFTER_SECONDS, ApiError, Code
from storage.wake import wake

SIGNATURE: Final = "X-Broker-Signature"
TOLERANCE: Final = timedelta(seconds=60)
"""How far the time of a signature may be from ours, either way."""
WAKES_PER_SECOND: Final = 10.0
WAKES_AT_ONCE: Final = 50.0
"""Signed pushes that are taken; beyond them the catch-up is awake already, and runs each minute anyway."""

_SIGNED: Final = re.compile(r"t=(?P<time>\d{1,12}),v1=(?P<digest>[0-9a-f]{64})", re.ASCII)

router = APIRouter(prefix="/v1/broker", tags=["broker"])

_BODY: Final[dict[str, Any]] = {
    "description": "Anything up to 64 KiB. It is signed, and never read.",
    "content": {"*/*": {"schema": {}}},
}

Signature = Annotated[
    str | None,
    Header(
        alias=SIGNATURE,
        description="`t=SECONDS,v1=HEX`: the Unix time, and HMAC-SHA256 with the shared secret over `SECONDS.` and "
        "the body's bytes. Each signature is taken once, within 60 s of its time.",
    ),
]


class Pushes:
    """Those that this process has let through: each once, and so many a second."""

    def __init__(self) -> None:
        self._left = WAKES_AT_ONCE
        self._at = time.monotonic()
        self._seen: dict[bytes, float] = {}
        """Signature → when it came, oldest first."""

    def is_known(self, digest: bytes) -> bool:
        """Whether it came before. A repeat takes nobody's turn; the database knows those of other processes."""
        return digest in self._seen

    def take(self, digest: bytes) -> bool:
        """Whether one more may come through now."""
        now = time.monotonic()
        self._left = min(WAKES_AT_ONCE, self._left + (now - self._at) * WAKES_PER_SECOND)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        self._seen[digest] = now
        while now - next(iter(self._seen.values())) > 2 * TOLERANCE.total_seconds():
            del self._seen[next(iter(self._seen))]
        return True

    def forget(self, digest: bytes) -> None:
        """It could not be noted: its sender may repeat it."""
        self._seen.pop(digest, None)


@router.post(
    "/wake",
    status_code=204,
    summary="Say that the broker has news",
    response_class=Response,
    responses={
        204: {"description": "The catch-up runs within seconds; several pushes share one."},
        **problems(408, 413, 500, 503, own={401: BAD_SIGNATURE, 429: TOO_MANY_WAKES, 501: NO_WAKES}),
    },
    openapi_extra={"requestBody": _BODY},
)
async def wake_catch_up(request: Request, deps: Deps, signature: Signature = None) -> Response:
    """Make the catch-up read the broker's executions now. For the broker's webhook alone: no token of a strategy
    opens it, and nothing that is sent is booked."""
    if deps.wake_secret is None:
        raise ApiError(501, Code.WAKE_NOT_CONFIGURED, NO_WAKES[1])
    now = deps.now()
    signed_at, digest = _parsed(signature, now)
    body = await read_bytes(request, "a push")
    expected = signed(deps.wake_secret.get_secret_value(), signed_at, body)
    if not hmac.compare_digest(expected, digest):
        raise _bad_signature()
    pushes = cast(Pushes, request.app.state.pushes)
    if pushes.is_known(digest):
        raise _bad_signature()
    if not pushes.take(digest):
        raise ApiError(
            429, Code.TOO_MANY_WAKES, TOO_MANY_WAKES[1], headers={"Retry-After": str(RETRY_AFTER_SECONDS)}
        )
    try:
        new = await _note(deps, digest, signed_at, now)
    except BaseException:
        pushes.forget(digest)
        raise
    if not new:
        raise _bad_signature()
    return Response(status_code=204)


async def _note(deps: GatewayDeps, digest: bytes, signed_at: int, now: datetime) -> bool:
    async with deps.database.transaction("gateway.wake") as connection:
        return await wake(
            connection,
            digest,
            signed_at=datetime.fromtimestamp(signed_at, UTC),
            now=now,
            forget_before=now - 2 * TOLERANCE,
        )


def signed(secret: str, at_seconds: int, body: bytes) -> bytes:
    """HMAC-SHA256 over ``SECONDS.`` and the body."""
    return hmac.digest(secret.encode(), b"%d." % at_seconds + body, hashlib.sha256)


def _parsed(signature: str | None, now: datetime) -> tuple[int, bytes]:
    """Unix time and digest, before a byte of the body is read."""
    match = _SIGNED.fullmatch(signature or "")
    if match is None:
        raise _bad_signature()
    at_seconds = int(match["time"])
    if abs(now.timestamp() - at_seconds) > TOLERANCE.total_seconds():
        raise _bad_signature()
    return at_seconds, bytes.fromhex(match["digest"])


def _bad_signature() -> ApiError:
    """The same words whether it is missing, forged, late or used: nobody learns which."""
    return ApiError(401, Code.BAD_SIGNATURE, BAD_SIGNATURE[1], headers={"WWW-Authenticate": "Signature"})
