"""The trade-updates stream, one connection at a time, every frame read by us.

Not built on alpaca-py's TradingStream: it reconnects for ever by itself (also with refused keys), tells
nobody that updates were missed meanwhile, and logs and drops any frame it cannot read.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final, Self

from broker.alpaca import parse
from broker.alpaca.errors import UnreadableError, read_json
from broker.errors import NetworkError, RateLimited, Unauthorized
from broker.keys import BrokerKeys
from observability.crash_points import calling
from schemas.base import storable
from schemas.broker import TradeUpdate

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

CONNECT_TIMEOUT_SECONDS: Final = 5.0
ANSWER_TIMEOUT_SECONDS: Final = 5.0
"""For each of the two answers of the greeting."""

CLOSE_TIMEOUT_SECONDS: Final = 2.0
PING_INTERVAL_SECONDS: Final = 20.0
PING_TIMEOUT_SECONDS: Final = 20.0
FRAME_MAX_BYTES: Final = 1 << 20
QUEUE_MAX_FRAMES: Final = 1024

_STREAM = "trade_updates"


class AlpacaTradeUpdateStream:
    """``TradeUpdateStream``. Redelivered updates are passed on; ``broker.lifecycle`` knows repeats."""

    def __init__(self, url: str, keys: BrokerKeys) -> None:
        self._url = url
        self._keys = keys
        self._pair = keys.current
        self._closing: asyncio.Task[None] | None = None
        self._connection: ClientConnection | None = None
        self._early: list[TradeUpdate] = []

    async def __aenter__(self) -> Self:
        """Connect, authenticate and listen.

        Raises:
            Unauthorized: the keys are not accepted.
            RateLimited: another connection of these keys still counts (for up to 90 s).
            NetworkError: anything else.
        """
        with calling("stream.listen"):
            self._connection = await self._connect()
            try:
                await self._authenticate()
                await self._listen()
            except BaseException as error:
                await self._connection.close()
                if isinstance(error, Unauthorized):
                    self._keys.tell_refused(self._pair)
                raise
        self._keys.on_replaced(self._drop)
        if self._pair is not self._keys.current:
            self._drop()
        return self

    def _drop(self) -> None:
        """The keys it was opened with are replaced: whoever reads it connects again, with the new ones."""
        if self._connection is not None:
            self._closing = asyncio.ensure_future(self._connection.close())

    async def __aexit__(self, *exc_info: object) -> None:
        self._keys.forget(self._drop)
        if self._closing is not None:
            await self._closing
        if self._connection is not None:
            await self._connection.close()

    async def __aiter__(self) -> AsyncIterator[TradeUpdate]:
        for update in self._early:
            yield update
        self._early.clear()
        while (frame := await self._receive()) is not None:
            update_or_none = _update_in(frame)
            if update_or_none is not None:
                yield update_or_none

    async def ping(self, timeout_seconds: float) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            async with asyncio.timeout(timeout_seconds):
                await (await self._open().ping())
        except (TimeoutError, ConnectionClosed):
            raise NetworkError("the update stream does not answer a ping") from None

    def _open(self) -> "ClientConnection":
        if self._connection is None:
            raise NetworkError("the update stream is not open: enter it with 'async with'")
        return self._connection

    async def _connect(self) -> "ClientConnection":
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidStatus, WebSocketException

        url = self._url
        try:
            return await connect(
                url,
                ssl=ssl.create_default_context() if url.startswith("wss:") else None,
                proxy=None,
                open_timeout=CONNECT_TIMEOUT_SECONDS,
                close_timeout=CLOSE_TIMEOUT_SECONDS,
                ping_interval=PING_INTERVAL_SECONDS,
                ping_timeout=PING_TIMEOUT_SECONDS,
                max_size=FRAME_MAX_BYTES,
                max_queue=QUEUE_MAX_FRAMES,
            )
        except InvalidStatus as error:
            status = error.response.status_code
        except (OSError, WebSocketException) as error:
            raise NetworkError(f"the update stream cannot be opened: {type(error).__name__}") from None
        message = f"the update stream was refused with HTTP {status}"
        if status in (401, 403):
            raise Unauthorized(message, http_status=status)
        if status == 429:
            raise RateLimited(message)
        raise NetworkError(message, http_status=status)

    async def _authenticate(self) -> None:
        self._pair = self._keys.current
        await self._send(
            {
                "action": "authenticate",
                "data": {
                    "key_id": self._pair.key_id.get_secret_value(),
                    "secret_key": self._pair.secret_key.get_secret_value(),
                },
            }
        )
        frame = await self._answer()
        if frame.get("stream") != "authorization" or _data(frame).get("status") != "authorized":
            raise NetworkError("the update stream greets in an unknown way")

    async def _listen(self) -> None:
        await self._send({"action": "listen", "data": {"streams": [_STREAM]}})
        while (frame := await self._answer()).get("stream") != "listening":
            update = _update_in(frame)
            if update is not None:
                self._early.append(update)
        if _STREAM not in (_data(frame).get("streams") or ()):
            raise NetworkError("the update stream does not listen to trade updates")

    async def _send(self, message: dict[str, Any]) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            await self._open().send(json.dumps(message))
        except ConnectionClosed:
            raise NetworkError("the update stream was closed during its greeting") from None

    async def _answer(self) -> parse.Json:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
                frame = await self._receive()
        except TimeoutError:
            raise NetworkError("the update stream does not answer its greeting") from None
        if frame is None:
            raise NetworkError("the update stream was closed during its greeting")
        return frame

    async def _receive(self) -> parse.Json | None:
        """The next frame, text or binary; None once the peer has closed in good order."""
        from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK

        try:
            raw = await self._open().recv()
            frame = parse.as_object(read_json(raw))
        except ConnectionClosedOK:
            return None
        except ConnectionClosedError:
            raise NetworkError("the update stream broke") from None
        except UnreadableError as error:
            raise NetworkError(f"the update stream sent a frame that cannot be read: {error}") from None
        if frame.get("stream") == "authorization" and _data(frame).get("status") == "unauthorized":
            raise Unauthorized("the update stream does not accept the keys")
        if frame.get("action") == "error":
            raise NetworkError(
                storable(f"the update stream failed: {_data(frame).get('error_message')}"[:300])
            )
        return frame


def _data(frame: parse.Json) -> parse.Json:
    data = frame.get("data")
    return data if isinstance(data, dict) else {}


def _update_in(frame: parse.Json) -> TradeUpdate | None:
    """The trade update in a frame; None for frames of other streams."""
    if frame.get("stream") != _STREAM:
        return None
    try:
        return parse.trade_update(frame.get("data"))
    except UnreadableError as error:
        raise NetworkError(f"the update stream sent an update that cannot be read: {error}") from None
