"""What leaves this machine, when, how often, and how its fate is named, by a server that misbehaves."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from broker.alpaca import transport
from broker.alpaca.client import AlpacaReader
from broker.alpaca.settings import AlpacaSettings
from broker.alpaca.trader import AlpacaTrader
from broker.errors import (
    NetworkError,
    NothingSent,
    RateLimited,
    UnknownOutcome,
    ValidationRefused,
)
from broker.told import BrokerCall
from schemas.mode import Mode
from schemas.orders import CancelAnswer, OrderType
from tests.unit.broker_server import ORDER, SECRET, Request, Server, http, nothing, order_request, serving

ORDER_ID = str(ORDER["id"])


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        yield running


@pytest.fixture
def calls() -> list[BrokerCall]:
    return []


@pytest.fixture
async def trader(server: Server, calls: list[BrokerCall]) -> AsyncIterator[AlpacaTrader]:
    made = AlpacaTrader(server.settings, on_call=calls.append)
    yield made
    await made.close()


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(transport, "READ_TIMEOUT_SECONDS", 0.4)
    monkeypatch.setattr(transport, "TOTAL_DEADLINE_SECONDS", 0.8)


async def place(trader: AlpacaTrader) -> object:
    return await trader.place_order(order_request(), before_send=nothing)


# What leaves


async def test_body_and_headers(server: Server, trader: AlpacaTrader) -> None:
    server.always(http(ORDER))
    placed = await trader.place_order(order_request(), before_send=nothing)
    assert placed.client_order_id == "ti-1"
    assert placed.limit_price == Decimal("180.5")
    sent = server.requests[0]
    assert (sent.method, sent.target) == ("POST", "/v2/orders")
    assert sent.headers["apca-api-secret-key"] == SECRET
    assert sent.body == (
        b'{"symbol": "AAPL", "qty": 10.0, "side": "buy", "type": "limit", "time_in_force": "day", '
        b'"extended_hours": false, "client_order_id": "ti-1", "position_intent": "buy_to_open", '
        b'"limit_price": 180.5}'
    )


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"order_type": OrderType.STOP, "limit_price": None, "stop_price": Decimal("181.1")},
            {"type": "stop", "stop_price": 181.1},
        ),
        (
            {"order_type": OrderType.STOP_LIMIT, "stop_price": Decimal("181.1")},
            {"type": "stop_limit", "stop_price": 181.1, "limit_price": 180.5},
        ),
        ({"order_type": OrderType.MARKET}, {"type": "limit", "limit_price": 180.5}),
    ],
)
async def test_prices_of_each_type(
    server: Server, trader: AlpacaTrader, fields: dict[str, Any], told: dict[str, object]
) -> None:
    server.always(http(ORDER))
    await trader.place_order(order_request(**fields), before_send=nothing)
    sent = json.loads(server.requests[0].body)
    assert {name: sent[name] for name in sent if "price" in name or name == "type"} == told


async def test_stop_price_that_a_float_cannot_hold_is_refused_unsent(
    server: Server, trader: AlpacaTrader
) -> None:
    stop: dict[str, Any] = {"order_type": OrderType.STOP_LIMIT, "stop_price": Decimal("123456.7890123456789")}
    with pytest.raises(ValidationRefused, match="stop_price would not have arrived as asked"):
        await trader.place_order(order_request(**stop), before_send=nothing)
    assert server.requests == []


@pytest.mark.parametrize(
    ("quantity", "price"),
    [("10", "123456.7890123456789"), ("1.00000000000000001", "1"), ("9007199254740993", "1")],
)
async def test_number_that_a_float_cannot_hold_is_refused_unsent(
    server: Server, trader: AlpacaTrader, quantity: str, price: str
) -> None:
    with pytest.raises(ValidationRefused, match="would not have arrived as asked"):
        await trader.place_order(order_request(quantity, price), before_send=nothing)
    assert server.requests == []


async def test_client_library_that_drops_a_field_is_caught(server: Server, trader: AlpacaTrader) -> None:
    with pytest.raises(ValidationRefused, match="client_order_id"):
        await trader.place_order(order_request(client_order_id=""), before_send=nothing)
    assert server.requests == []


# Nothing was sent


async def test_before_send_stops_it_and_its_error_comes_through_unchanged(
    server: Server, trader: AlpacaTrader, calls: list[BrokerCall]
) -> None:
    lost = RuntimeError("fence lost")
    threads: list[str] = []

    def check() -> None:
        threads.append(threading.current_thread().name)
        raise lost

    with pytest.raises(RuntimeError) as caught:
        await trader.place_order(order_request(), before_send=check)
    assert caught.value is lost
    assert server.requests == []
    assert threads[0].startswith("broker-place")
    assert calls == []


async def test_before_send_runs_after_connecting(server: Server, trader: AlpacaTrader) -> None:
    server.always(http(ORDER))
    connected: list[int] = []
    arrived = asyncio.Event()
    loop = asyncio.get_running_loop()

    def check() -> None:
        asyncio.run_coroutine_threadsafe(look(), loop).result(5)

    async def look() -> None:
        for _ in range(1000):
            if server.connections:
                break
            await asyncio.sleep(0.001)
        connected.append(server.connections)
        arrived.set()

    await trader.place_order(order_request(), before_send=check)
    assert set(connected) == {1}


async def test_before_send_runs_between_head_and_body_too(
    server: Server, trader: AlpacaTrader, calls: list[BrokerCall]
) -> None:
    """A process that stood still there must not finish its request; something was written, so it is unknown."""
    server.always(http(ORDER))
    asked: list[int] = []

    def check() -> None:
        asked.append(len(asked))
        if len(asked) > 1:
            raise RuntimeError("fence lost")

    with pytest.raises(UnknownOutcome):
        await trader.place_order(order_request(), before_send=check)
    assert server.requests == []
    assert [call.outcome for call in calls] == ["ERR_UNKNOWN_OUTCOME"]


async def test_refused_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    await _nothing_sent(f"http://127.0.0.1:{port}")


async def test_unknown_name(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_name(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    await _nothing_sent(server.url)


@pytest.mark.usefixtures("short_limits")
async def test_connect_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        await _nothing_sent(f"http://127.0.0.1:{port}")
        for each in waiting:
            each.close()


@pytest.mark.usefixtures("short_limits")
async def test_failed_tls_handshake(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The far side speaks no TLS: the request is never written."""
    monkeypatch.setattr("broker.alpaca.settings.mode_of", lambda *_: Mode.PAPER)
    server.always(http(ORDER))
    await _nothing_sent(f"https://127.0.0.1:{server.port}")
    assert server.requests == []


async def _nothing_sent(url: str) -> None:
    settings = AlpacaSettings(SecretStr("K"), SecretStr(SECRET), url, "ws://127.0.0.1:1/stream")
    calls: list[BrokerCall] = []
    trader = AlpacaTrader(settings, on_call=calls.append)
    with pytest.raises(NothingSent) as caught:
        await place(trader)
    assert SECRET not in repr(caught.value)
    with pytest.raises(NothingSent):
        await trader.cancel_order(ORDER_ID)
    with pytest.raises(NothingSent):
        await trader.get_account()
    assert [call.outcome for call in calls] == ["ERR_NETWORK"] * 3
    assert [call.http_status for call in calls] == [None] * 3
    await trader.close()


@pytest.mark.usefixtures("short_limits")
async def test_deadline_that_passes_before_the_first_byte(server: Server, trader: AlpacaTrader) -> None:
    def slow() -> None:
        threading.Event().wait(transport.TOTAL_DEADLINE_SECONDS + 0.1)

    with pytest.raises(NothingSent):
        await trader.place_order(order_request(), before_send=slow)
    assert server.requests == []


# It may have landed


@pytest.mark.parametrize(
    "answer",
    [
        http(b"<html>", 502),
        http(b"", 503),
        http({"code": 50010000, "message": "internal server error occurred"}, 500),
        http(b"<html>504</html>", 504),
        http(b"", 200),
        http(b"not json", 200),
        http(["a list"], 200),
        http({**ORDER, "filled_qty": "many"}, 200),
        http({**ORDER, "client_order_id": "somebody-else"}, 200),
        http(b"", 301, Location="https://example.invalid/"),
        http(ORDER)[:-5],
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"",
        b"nonsense\r\n\r\n",
    ],
    ids=range(14),
)
async def test_unreadable_answers_to_a_post(server: Server, trader: AlpacaTrader, answer: bytes) -> None:
    async def write_and_drop(request: Request, writer: asyncio.StreamWriter) -> None:
        del request
        writer.write(answer)
        await writer.drain()
        writer.close()

    server.answer = write_and_drop
    with pytest.raises(UnknownOutcome) as caught:
        await place(trader)
    assert len(server.requests) == 1
    assert caught.value.__cause__ is None
    assert await trader.cancel_order(ORDER_ID) in (CancelAnswer.UNKNOWN_OUTCOME, CancelAnswer.REQUESTED)
    with pytest.raises(NetworkError):
        await trader.get_account()


@pytest.mark.usefixtures("short_limits")
@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Slow: "]
)
async def test_total_deadline_over_a_slow_answer(server: Server, trader: AlpacaTrader, head: bytes) -> None:
    """Each byte comes soon enough for the read timeout, the whole never."""
    written: list[int] = []

    async def trickle(request: Request, writer: asyncio.StreamWriter) -> None:
        del request
        writer.write(head)
        for number in range(200):
            writer.write(b" ")
            await writer.drain()
            written.append(number)
            await asyncio.sleep(0.05)

    server.answer = trickle
    with pytest.raises(UnknownOutcome):
        await place(trader)
    assert len(written) < 200, "the call ended while the answer was still coming"
    assert len(server.requests) == 1


@pytest.mark.usefixtures("short_limits")
async def test_hang(server: Server, trader: AlpacaTrader) -> None:
    async def never(request: Request, writer: asyncio.StreamWriter) -> None:
        del request, writer
        await asyncio.sleep(3600)

    server.answer = never
    with pytest.raises(UnknownOutcome):
        await place(trader)
    with pytest.raises(NetworkError):
        await trader.get_account()
    assert await trader.cancel_order(ORDER_ID) is CancelAnswer.UNKNOWN_OUTCOME
    assert len(server.requests) == 3


async def test_429_and_504_are_never_repeated(server: Server, trader: AlpacaTrader) -> None:
    server.always(http({"code": 42910000, "message": "rate limit exceeded"}, 429, Retry_After="7"))
    with pytest.raises(RateLimited) as caught:
        await place(trader)
    assert caught.value.retry_after_seconds == 7
    server.always(http(b"", 504))
    with pytest.raises(UnknownOutcome):
        await place(trader)
    assert len(server.requests) == 2


# Connections


async def test_connection_is_kept_but_not_after_a_pause(
    server: Server, trader: AlpacaTrader, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.always(http(ORDER))
    await place(trader)
    await place(trader)
    assert server.connections == 1
    monkeypatch.setattr(transport, "REUSE_IDLE_MAX_SECONDS", 0.0)
    await place(trader)
    assert server.connections == 2


async def test_connection_that_the_server_closed_meanwhile_is_not_used(
    server: Server, trader: AlpacaTrader
) -> None:
    closed = asyncio.Event()

    async def answer_and_close(request: Request, writer: asyncio.StreamWriter) -> None:
        del request
        writer.write(http(ORDER))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        closed.set()

    server.answer = answer_and_close
    for _ in range(3):
        await place(trader)
        await closed.wait()
    assert server.connections == 3


async def test_proxies_and_netrc_of_the_environment_are_not_used(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    server.always(http(ORDER))
    reader = AlpacaReader(server.settings)
    assert (await reader.get_order_status(ORDER_ID)).broker_order_id == ORDER_ID
    assert "authorization" not in server.requests[0].headers
    await reader.close()


async def test_each_lane_goes_its_own_way(server: Server, trader: AlpacaTrader) -> None:
    """Eight hanging placements and four hanging reads do not delay a cancel."""
    release = asyncio.Event()

    async def hang_unless_cancel(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.method != "DELETE":
            await release.wait()
        answer = http(None, 204) if request.method == "DELETE" else http(ORDER)
        writer.write(answer)

    server.answer = hang_unless_cancel
    stuck = [asyncio.ensure_future(place(trader)) for _ in range(10)]
    stuck += [asyncio.ensure_future(trader.get_order_status(ORDER_ID)) for _ in range(6)]
    assert await trader.cancel_order(ORDER_ID) is CancelAnswer.REQUESTED
    release.set()
    await asyncio.gather(*stuck)
    assert sum(sent.method == "POST" for sent in server.requests) == 10
