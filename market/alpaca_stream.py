"""Alpaca's quote stream: one WebSocket connection, MessagePack both ways.

The SDK's stream reconnects for ever by itself, owns its event loop and tells nobody; whoever holds a stream
here must know that it broke. So the protocol is spoken directly.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, Final, Self

import msgpack
from pydantic import SecretStr
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from market.alpaca_parse import BadQuoteError, http_error, quote_from, stream_error
from market.clock import utc_now
from market.constants import (
    STREAM_CLOSE_SECONDS,
    STREAM_FRAME_MAX_BYTES,
    STREAM_FRAMES_QUEUED_MAX,
    STREAM_OPEN_SECONDS,
    STREAM_PING_EVERY_SECONDS,
    STREAM_PONG_WITHIN_SECONDS,
)
from market.errors import FeedNetworkError, FeedUnreadableError, MarketDataError
from observability.logging import get_logger
from schemas.market import Provider, Quote

_HEADERS: Final = {"Content-Type": "application/msgpack"}
_TIMESTAMP_AS_DATETIME: Final = 3
_log = get_logger(__name__)


class AlpacaQuoteStream:
    """One connection: ``async with`` connects and logs in, ``async for`` gives quotes until it breaks."""

    def __init__(self, url: str, key_id: SecretStr, secret_key: SecretStr, provider: Provider) -> None:
        self._url = url
        self._key_id = key_id
        self._secret_key = secret_key
        self._provider = provider
        self._socket: ClientConnection | None = None
        self._subscribed: frozenset[str] = frozenset()

    async def __aenter__(self) -> Self:
        """Raises MarketDataError: no connection, or the login was refused."""
        self._socket = await self._connect()
        try:
            await self._expect("connected")
            await self._send(
                {
                    "action": "auth",
                    "key": self._key_id.get_secret_value(),
                    "secret": self._secret_key.get_secret_value(),
                }
            )
            await self._expect("authenticated")
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._socket is not None:
            await self._socket.close()

    async def subscribe(self, tickers: Collection[str]) -> None:
        """Make ``tickers`` the whole subscription. Raises FeedNetworkError when the connection is gone."""
        wanted = frozenset(tickers)
        for action, changed in (
            ("subscribe", wanted - self._subscribed),
            ("unsubscribe", self._subscribed - wanted),
        ):
            if changed:
                await self._send({"action": action, "quotes": sorted(changed)})
        self._subscribed = wanted

    async def __aiter__(self) -> AsyncIterator[Quote]:
        """Quotes as they come; one that cannot be read is left out. Raises MarketDataError at the end."""
        while True:
            frames = await self._receive()
            received_at = utc_now()
            for frame in frames:
                match frame.get("T"):
                    case "q":
                        try:
                            yield quote_from(frame.get("S"), frame, self._provider, received_at)
                        except BadQuoteError as error:
                            _log.warning("quote left out", ticker=frame.get("S"), reason=str(error))
                    case "error":
                        raise stream_error(frame.get("code"), frame.get("msg"))

    async def ping(self, timeout_seconds: float) -> None:
        """Prove that the peer answers. Raises FeedNetworkError."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await (await self._open_socket().ping())
        except (TimeoutError, ConnectionClosed) as error:
            raise FeedNetworkError(f"the quote stream does not answer: {error}") from error

    async def _connect(self) -> ClientConnection:
        try:
            return await connect(
                self._url,
                additional_headers=_HEADERS,
                compression=None,
                proxy=None,
                open_timeout=STREAM_OPEN_SECONDS,
                close_timeout=STREAM_CLOSE_SECONDS,
                ping_interval=STREAM_PING_EVERY_SECONDS,
                ping_timeout=STREAM_PONG_WITHIN_SECONDS,
                max_size=STREAM_FRAME_MAX_BYTES,
                max_queue=STREAM_FRAMES_QUEUED_MAX,
            )
        except InvalidStatus as error:
            raise _handshake_refused(error) from error
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, ValueError) as error:
            raise FeedNetworkError(f"no connection to the quote stream: {error}") from error

    async def _expect(self, word: str) -> None:
        try:
            async with asyncio.timeout(STREAM_OPEN_SECONDS):
                frames = await self._receive()
        except TimeoutError as error:
            raise FeedNetworkError(f"the quote stream never said {word!r}") from error
        first = frames[0] if frames else {}
        if first.get("T") == "error":
            raise stream_error(first.get("code"), first.get("msg"))
        if first.get("T") != "success" or first.get("msg") != word:
            raise FeedUnreadableError(f"the quote stream did not say {word!r}")

    async def _send(self, message: dict[str, Any]) -> None:
        try:
            await self._open_socket().send(msgpack.packb(message))
        except ConnectionClosed as error:
            raise FeedNetworkError(f"the quote stream is gone: {error}") from error

    async def _receive(self) -> Sequence[dict[str, Any]]:
        try:
            frame = await self._open_socket().recv()
        except ConnectionClosed as error:
            raise FeedNetworkError(f"the quote stream broke: {error}") from error
        if isinstance(frame, str):
            raise FeedUnreadableError("a text frame on a MessagePack connection")
        try:
            messages = msgpack.unpackb(frame, timestamp=_TIMESTAMP_AS_DATETIME)
        # OverflowError: a timestamp beyond what a datetime holds.
        except (msgpack.UnpackException, ValueError, TypeError, OverflowError) as error:
            raise FeedUnreadableError(f"a frame that is not MessagePack: {error}") from error
        if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
            raise FeedUnreadableError("a frame that is no list of messages")
        return messages

    def _open_socket(self) -> ClientConnection:
        if self._socket is None:
            raise FeedNetworkError("the quote stream was never opened: use it with 'async with'")
        return self._socket


def _handshake_refused(error: InvalidStatus) -> MarketDataError:
    response = error.response
    body = bytes(response.body or b"").decode("utf-8", "replace")
    return http_error(response.status_code, body, response.headers.get("Retry-After"))
