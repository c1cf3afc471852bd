"""What every request must pass and every answer carries: host, origin, size, security headers."""

from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.web.access import SAFE_METHODS
from console.web.problems import Code

BODY_BYTES_MAX: Final = 64 * 1024
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=(), "
    "publickey-credentials-get=(self), publickey-credentials-create=(self)",
}
STRICT_TRANSPORT: Final = "max-age=63072000"
FOR_PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked by address, not by name, and by no browser."""


class Guard:
    """Refuses what a browser was made to send by another site, and what is not meant for this host."""

    def __init__(self, app: ASGIApp, origin: str) -> None:
        """``origin``: the only one that may change anything here."""
        self._app = app
        self._origin = origin
        self._host = urlsplit(origin).netloc

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return
        with_headers = self._sender(send)
        refusal = self._refusal(scope["method"], scope["path"], Headers(scope=scope))
        if refusal is not None:
            await refusal(scope, receive, with_headers)
            return
        await self._app(scope, _bounded(receive), with_headers)

    def _sender(self, send: Send) -> Send:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-store")
                if self._origin.startswith("https://"):
                    headers["Strict-Transport-Security"] = STRICT_TRANSPORT
            await send(message)

        return with_headers

    def _refusal(self, method: str, path: str, headers: Headers) -> JSONResponse | None:
        if headers.get("host") != self._host and path not in FOR_PROBES:
            return _no(421, Code.WRONG_HOST, f"the console is at {self._origin}")
        if method not in SAFE_METHODS and not self._is_own(headers):
            return _no(403, Code.CROSS_SITE, "this did not come from a page of the console: nothing was done")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > BODY_BYTES_MAX:
            return _no(413, Code.TOO_LARGE, f"at most {BODY_BYTES_MAX} bytes")
        return None

    def _is_own(self, headers: Headers) -> bool:
        """Whether a page of ours has sent it. A browser says so; who says nothing is refused."""
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is not None:
            return site == "same-origin" and origin in (None, self._origin)
        return origin == self._origin


class BodyTooLarge(Exception):
    """More came than Content-Length had said."""


def _bounded(receive: Receive) -> Receive:
    taken = 0

    async def bounded() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > BODY_BYTES_MAX:
            raise BodyTooLarge
        return message

    return bounded


def _no(status: int, code: Code, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)
