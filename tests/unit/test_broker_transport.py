"""What leaves this machine and when, and how it is known that nothing did, by a server that misbehaves."""

import asyncio
import json
import socket
import threading
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr

from broker.alpaca import transport
from broker.alpaca.settings import AlpacaSettings
from broker.alpaca.trader import AlpacaTrader
from broker.errors import NothingSent, UnknownOutcome, ValidationRefused
from broker.told import BrokerCall
from schemas.mode import Mode
from schemas.orders import OrderType
from tests.unit.broker_server import ORDER, SECRET, Server, http, nothing, order_request
from tests.unit.broker_trader import ORDER_ID, calls, place, server, short_limits, trader

__all__ = ["calls", "server", "short_limits", "trader"]

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
