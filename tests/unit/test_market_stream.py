"""The quote stream against a server that speaks the protocol, and against ones that do not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgpack
import pytest
from pydantic import SecretStr
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from market import alpaca_stream
from market.alpaca_stream import AlpacaQuoteStream
from market.errors import (
    FeedNetworkError,
    FeedNotEntitledError,
    FeedRateLimitError,
    FeedUnauthorizedError,
    FeedUnreadableError,
    MarketDataError,
)
from schemas.market import Provider

QUOTED = datetime(2026, 11, 23, 15, 15, 3, 900000, tzinfo=UTC)
QUOTE = {
    "T": "q", "S": "AAPL", "bp": 180.44, "bs": 2, "ap": 180.48, "as": 1, "bx": "V", "ax": "V",
    "t": msgpack.Timestamp.from_datetime(QUOTED),
}  # fmt: skip
CONNECTED = [{"T": "success", "msg": "connected"}]
AUTHENTICATED = [{"T": "success", "msg": "authenticated"}]
Script = Callable[[ServerConnection], Awaitable[None]]


def pack(message: object) -> bytes:
    packed: bytes = msgpack.packb(message)
    return packed


async def login(peer: ServerConnection) -> Any:
    await peer.send(pack(CONNECTED))
    told = msgpack.unpackb(await peer.recv())
    await peer.send(pack(AUTHENTICATED))
    return told


@asynccontextmanager
async def served(script: Script, **options: Any) -> AsyncIterator[AlpacaQuoteStream]:
    async with serve(script, "127.0.0.1", 0, close_timeout=1, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield stream(f"ws://127.0.0.1:{port}/v2/iex")


def stream(url: str) -> AlpacaQuoteStream:
    return AlpacaQuoteStream(url, SecretStr("the-key"), SecretStr("the-secret"), Provider.PRIMARY)


def after_login(*frames: bytes | str) -> Script:
    async def script(peer: ServerConnection) -> None:
        await login(peer)
        for frame in frames:
            await peer.send(frame)
        await peer.wait_closed()

    return script


async def test_logs_in_subscribes_and_reads_quotes() -> None:
    heard: list[Any] = []

    async def script(peer: ServerConnection) -> None:
        assert peer.request is not None
        heard.append(peer.request.headers["Content-Type"])
        heard.append(await login(peer))
        heard.extend([msgpack.unpackb(await peer.recv()) for _ in range(3)])
        await peer.send(
            pack([{"T": "subscription", "quotes": ["AAPL"]}, QUOTE, {"T": "t", "S": "AAPL"}, QUOTE])
        )
        await peer.wait_closed()

    async with served(script) as server, server as connection:
        await connection.subscribe(["MSFT", "AAPL"])
        await connection.subscribe(["MSFT", "AAPL"])
        await connection.subscribe(["AAPL", "F"])
        quotes = aiter(connection)
        first, second = await anext(quotes), await anext(quotes)
    assert (first.ticker, first.bid, first.ask) == ("AAPL", Decimal("180.44"), Decimal("180.48"))
    assert first.quoted_at == second.quoted_at == QUOTED
    assert heard == [
        "application/msgpack",
        {"action": "auth", "key": "the-key", "secret": "the-secret"},
        {"action": "subscribe", "quotes": ["AAPL", "MSFT"]},
        {"action": "subscribe", "quotes": ["F"]},
        {"action": "unsubscribe", "quotes": ["MSFT"]},
    ]


async def test_a_quote_that_cannot_be_read_is_left_out() -> None:
    script = after_login(pack([{**QUOTE, "bp": "x"}, {**QUOTE, "t": "now"}, {**QUOTE, "S": None}, QUOTE]))
    async with served(script) as server, server as connection:
        assert (await anext(aiter(connection))).bid == Decimal("180.44")


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (pack([{"T": "error", "code": 407, "msg": "slow client"}]), FeedNetworkError),
        (pack([{"T": "error", "code": 409, "msg": "insufficient subscription"}]), FeedNotEntitledError),
        (pack([{"T": "error"}]), FeedNetworkError),
        (pack({"T": "q"}), FeedUnreadableError),
        (pack([1]), FeedUnreadableError),
        (b"\xc1", FeedUnreadableError),
        (b"\x91", FeedUnreadableError),
        (b"\x91\xc7\x0c\xff" + b"\xff" * 12, FeedUnreadableError),
        (b"", FeedUnreadableError),
        ('[{"T":"q"}]', FeedUnreadableError),
        (b"x" * (1024 * 1024 + 1), FeedNetworkError),
    ],
)
async def test_each_bad_frame_ends_the_stream_with_its_meaning(
    frame: bytes | str, kind: type[MarketDataError]
) -> None:
    async with served(after_login(frame)) as server, server as connection:
        with pytest.raises(kind) as caught:
            await anext(aiter(connection))
    assert type(caught.value) is kind


async def test_a_dropped_connection_is_told_and_nothing_reconnects() -> None:
    connections = 0

    async def script(peer: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        await login(peer)
        peer.transport.abort()

    async with served(script) as server, server as connection:
        with pytest.raises(FeedNetworkError):
            await anext(aiter(connection))
        with pytest.raises(FeedNetworkError):
            await connection.subscribe(["AAPL"])
        with pytest.raises(FeedNetworkError):
            await connection.ping(5)
    assert connections == 1


async def test_ping_proves_the_peer() -> None:
    async with served(after_login()) as server, server as connection:
        reading = asyncio.ensure_future(anext(aiter(connection)))
        await connection.ping(5)
        reading.cancel()


async def test_a_mute_peer_fails_the_ping() -> None:
    done = asyncio.Event()

    async def mute(peer: ServerConnection) -> None:
        await login(peer)
        peer.transport.pause_reading()
        await done.wait()
        peer.transport.abort()

    async with served(mute) as server, server as connection:
        with pytest.raises(FeedNetworkError):
            await connection.ping(0.1)
        done.set()


LOGINS: list[tuple[list[object], type[MarketDataError]]] = [
    ([CONNECTED, [{"T": "error", "code": 402, "msg": "auth failed"}]], FeedUnauthorizedError),
    ([[{"T": "error", "code": 406, "msg": "connection limit exceeded"}]], FeedRateLimitError),
    ([[{"T": "success", "msg": "hello"}]], FeedUnreadableError),
    ([[]], FeedUnreadableError),
    ([CONNECTED, CONNECTED], FeedUnreadableError),
]


@pytest.mark.parametrize(("frames", "kind"), LOGINS)
async def test_a_refused_login_is_told_by_meaning(frames: list[object], kind: type[MarketDataError]) -> None:
    async def script(peer: ServerConnection) -> None:
        for frame in frames:
            await peer.send(pack(frame))
        await peer.wait_closed()

    async with served(script) as server:
        with pytest.raises(kind) as caught:
            async with server:
                pass
    assert "the-secret" not in repr(caught.value)


async def test_a_server_that_never_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alpaca_stream, "STREAM_OPEN_SECONDS", 0.1)

    async def silent(peer: ServerConnection) -> None:
        await peer.wait_closed()

    async with served(silent) as server:
        with pytest.raises(FeedNetworkError, match="never said 'connected'"):
            async with server:
                pass


@pytest.mark.parametrize(
    ("status", "kind"), [(401, FeedUnauthorizedError), (429, FeedRateLimitError), (503, FeedNetworkError)]
)
async def test_a_refused_handshake_is_told_by_its_status(status: int, kind: type[MarketDataError]) -> None:
    def refuse(connection: ServerConnection, _: Request) -> Response:
        return connection.respond(status, "no\n")

    async with served(after_login(), process_request=refuse) as server:
        with pytest.raises(kind):
            async with server:
                pass


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1/v2/iex", "http://127.0.0.1:1/", "ws://127.0.0.1:99999/"])
async def test_no_server_at_all(url: str) -> None:
    with pytest.raises(FeedNetworkError):
        async with stream(url):
            pass


async def test_a_stream_never_opened_says_so() -> None:
    with pytest.raises(FeedNetworkError, match="never opened"):
        await stream("ws://127.0.0.1:1/").subscribe(["AAPL"])
