"""The HTTP session under the SDK: our timeouts, our limits, no environment, exact numbers."""

import time
from collections.abc import Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from market.alpaca_parse import read_json
from market.constants import BODY_MAX_BYTES, BODY_PIECE_BYTES, CONNECT_SECONDS, READ_SECONDS, TOTAL_SECONDS


class BoundedAdapter(HTTPAdapter):
    """Sends with our timeouts, whatever the caller passed, and reads the body against one deadline.

    ``requests`` only bounds the wait for each piece, so a body that drips would hold its thread for ever.
    """

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        del stream, timeout
        deadline = time.monotonic() + TOTAL_SECONDS
        response = super().send(
            request, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS), verify=verify, cert=cert,
            proxies=proxies,
        )  # fmt: skip
        try:
            response._content = _read_body(response, deadline)
        finally:
            # Also gives a connection that was read to its end back to the pool.
            response.close()
        response._content_consumed = True  # type: ignore[attr-defined]
        response.json = lambda **_: read_json(response.content)  # type: ignore[method-assign]
        return response


def bounded_session(session: requests.Session) -> None:
    """Put the SDK's session under our rules."""
    session.trust_env = False
    for scheme in ("http://", "https://"):
        session.mount(scheme, BoundedAdapter(max_retries=0))


def _read_body(response: requests.Response, deadline: float) -> bytes:
    body = bytearray()
    raw: Any = response.raw
    while piece := raw.read1(BODY_PIECE_BYTES, decode_content=True):
        body += piece
        if len(body) > BODY_MAX_BYTES:
            raise requests.exceptions.ContentDecodingError(f"a body of more than {BODY_MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            raise requests.exceptions.ReadTimeout(f"no whole answer within {TOTAL_SECONDS:g} s")
    return bytes(body)
