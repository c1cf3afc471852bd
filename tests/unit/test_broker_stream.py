"""The update stream against a WebSocket server that greets, speaks and fails as each test says."""

import asyncio
import http
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr
from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.datastructures import Headers

from broker.alpaca import stream
from broker.alpaca.stream import AlpacaTradeUpdateStream
from broker.errors import NetworkError, RateLimited, Unauthorized
from broker.keys import BrokerKeys, KeyPair
from schemas.broker import TradeUpdate
from tests.unit.broker_server import KEY, SECRET
from tests.unit.test_broker_parse import UPDATE

AUTHORIZED = {"stream": "authorization", "data": {"status": "authorized", "action": "authenticate"}}
UNAUTHORIZED = {"stream": "authorization", "data": {"status": "unauthorized", "action": "authenticate"}}
LISTENING = {"stream": "listening", "data": {"streams": ["trade_updates"]}}
FRAME = {"stream": "trade_updates", "data": UPDATE}

Behaviour = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def exchange(
    behaviour: Behaviour, refuse_with: http.HTTPStatus | None = None
) -> AsyncIterator[AlpacaTradeUpdateStream]:
    """A client stream, not yet entered, to a server that behaves so."""

    def door(connection: ServerConnection, request: Request) -> Response | None:
        del connection, request
        return None if refuse_with is None else Response(refuse_with, "refused", Headers(), b"")

    async with serve(behaviour, "127.0.0.1", 0, process_request=door, ping_interval=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        url = f"ws://127.0.0.1:{port}/stream"
        keys = BrokerKeys(KeyPair(SecretStr(KEY), SecretStr(SECRET)))
        yield AlpacaTradeUpdateStream(url, keys)


async def greet(connection: ServerConnection) -> list[Any]:
    heard = [json.loads(await connection.recv())]
    await connection.send(json.dumps(AUTHORIZED))
    heard.append(json.loads(await connection.recv()))
    await connection.send(json.dumps(LISTENING))
    return heard


def sending(*frames: str | bytes | dict[str, Any]) -> Behaviour:
    """Greet, send these frames, close in good order."""

    async def behave(connection: ServerConnection) -> None:
        await greet(connection)
        for frame in frames:
            await connection.send(json.dumps(frame) if isinstance(frame, dict) else frame)

    return behave


async def collect(client: AlpacaTradeUpdateStream) -> list[TradeUpdate]:
    async with client as opened:
        return [update async for update in opened]


async def read_into(updates: list[TradeUpdate], opened: AlpacaTradeUpdateStream) -> None:
    async for update in opened:
        updates.append(update)  # noqa: PERF401 - what came before a failure must stay


async def test_greeting_and_frames_of_both_kinds() -> None:
    heard: list[Any] = []

    async def behave(connection: ServerConnection) -> None:
        heard.extend(await greet(connection))
        await connection.send(json.dumps(FRAME))
        await connection.send(json.dumps(FRAME).encode())

    async with exchange(behave) as client:
        updates = await collect(client)
    assert [update.event_id for update in updates] == [UPDATE["event_id"]] * 2, "repeats are passed on"
    assert heard == [
        {"action": "authenticate", "data": {"key_id": KEY, "secret_key": SECRET}},
        {"action": "listen", "data": {"streams": ["trade_updates"]}},
    ]


async def test_frames_of_other_streams_are_passed_over() -> None:
    other = {"stream": "account_updates", "data": {}}
    async with exchange(sending(other, LISTENING, FRAME)) as client:
        assert len(await collect(client)) == 1


async def test_update_that_comes_before_the_listening_answer_is_not_lost() -> None:
    async def behave(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(json.dumps(AUTHORIZED))
        await connection.recv()
        await connection.send(json.dumps(FRAME))
        await connection.send(json.dumps(LISTENING))

    async with exchange(behave) as client:
        assert len(await collect(client)) == 1


@pytest.mark.parametrize(
    "frame",
    [
        "{",
        "",
        b"\xff\xfe\x00",
        "[]",
        "7",
        '{"stream": "trade_updates"}',
        {"stream": "trade_updates", "data": {**UPDATE, "order": None}},
        {"stream": "trade_updates", "data": {**UPDATE, "price": "NaN"}},
        {"action": "error", "data": {"error_message": "internal server error"}},
        "x" * (stream.FRAME_MAX_BYTES + 1),
    ],
    ids=range(10),
)
async def test_frame_that_cannot_be_read_breaks_the_stream(frame: str) -> None:
    updates: list[TradeUpdate] = []
    async with exchange(sending(FRAME, frame, FRAME)) as client, client as opened:
        with pytest.raises(NetworkError):
            await read_into(updates, opened)
    assert len(updates) == 1, "nothing after a lost frame is taken as if nothing were missing"


async def test_refused_keys() -> None:
    async def behave(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(json.dumps(UNAUTHORIZED))
        await connection.wait_closed()

    async with exchange(behave) as client:
        with pytest.raises(Unauthorized) as caught:
            await collect(client)
    assert SECRET not in repr(caught.value)


async def test_keys_refused_later() -> None:
    async with exchange(sending(UNAUTHORIZED)) as client:
        with pytest.raises(Unauthorized):
            await collect(client)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (http.HTTPStatus.UNAUTHORIZED, Unauthorized),
        (http.HTTPStatus.FORBIDDEN, Unauthorized),
        (http.HTTPStatus.TOO_MANY_REQUESTS, RateLimited),
        (http.HTTPStatus.BAD_GATEWAY, NetworkError),
    ],
)
async def test_refused_handshake(status: http.HTTPStatus, error: type[Exception]) -> None:
    async with exchange(sending(), refuse_with=status) as client:
        with pytest.raises(error):
            await collect(client)


async def test_nobody_there() -> None:
    async with exchange(sending()) as client:
        pass
    with pytest.raises(NetworkError):
        await collect(client)


@pytest.mark.parametrize(
    "first", [None, {"stream": "listening", "data": {"streams": []}}, {"stream": "authorization"}]
)
async def test_strange_greeting(first: dict[str, Any] | None) -> None:
    async def behave(connection: ServerConnection) -> None:
        await connection.recv()
        if first is not None:
            await connection.send(json.dumps(first))

    async with exchange(behave) as client:
        with pytest.raises(NetworkError):
            await collect(client)


async def test_listening_to_something_else() -> None:
    async def behave(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(json.dumps(AUTHORIZED))
        await connection.recv()
        await connection.send(json.dumps({"stream": "listening", "data": {"streams": []}}))
        await connection.wait_closed()

    async with exchange(behave) as client:
        with pytest.raises(NetworkError, match="does not listen"):
            await collect(client)


async def test_mute_greeting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "ANSWER_TIMEOUT_SECONDS", 0.1)
    async with exchange(lambda connection: connection.wait_closed()) as client:
        with pytest.raises(NetworkError, match="does not answer"):
            await collect(client)


async def test_broken_connection() -> None:
    async def behave(connection: ServerConnection) -> None:
        await greet(connection)
        connection.transport.abort()

    async with exchange(behave) as client:
        with pytest.raises(NetworkError, match="broke"):
            await collect(client)


async def test_ping_is_answered_while_the_stream_is_read() -> None:
    async def behave(connection: ServerConnection) -> None:
        await greet(connection)
        await connection.wait_closed()

    async with exchange(behave) as client, client as opened:

        async def read() -> None:
            async for _ in opened:
                pass

        reading = asyncio.ensure_future(read())
        await opened.ping(5)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def test_ping_to_a_mute_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "CLOSE_TIMEOUT_SECONDS", 0.1)
    enough = asyncio.Event()

    async def behave(connection: ServerConnection) -> None:
        await greet(connection)
        connection.transport.pause_reading()
        await enough.wait()
        connection.transport.abort()

    async with exchange(behave) as client, client as opened:
        with pytest.raises(NetworkError, match="ping"):
            await opened.ping(0.2)
        enough.set()


async def test_ping_and_read_after_the_end() -> None:
    async with exchange(sending()) as client, client as opened:
        assert [update async for update in opened] == []
        with pytest.raises(NetworkError):
            await opened.ping(1)


async def test_use_before_entering() -> None:
    async with exchange(sending()) as client:
        with pytest.raises(NetworkError, match="async with"):
            await client.ping(1)
