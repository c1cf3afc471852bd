"""Both WebSockets through the unmodified clients, and their conversations frame by frame."""

import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from alpaca.data.live.stock import StockDataStream
from alpaca.data.models import Quote
from alpaca.trading.models import TradeUpdate
from alpaca.trading.stream import TradingStream
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.exchange.conftest import Venue, wait_until

AUTHENTICATE = {"action": "authenticate", "data": {"key_id": "TESTKEY", "secret_key": "TESTSECRET"}}
LISTEN = {"action": "listen", "data": {"streams": ["trade_updates"]}}
AUTH = {"action": "auth", "key": "TESTKEY", "secret": "TESTSECRET"}


def dial(venue: Venue, path: str, **options: Any) -> ClientConnection:
    return connect(venue.running.ws_url + path, proxy=None, open_timeout=10, **options)


def ask(socket: ClientConnection, message: object) -> Any:
    socket.send(json.dumps(message))
    return json.loads(socket.recv(timeout=10))


@contextlib.contextmanager
def listening(venue: Venue) -> Iterator[ClientConnection]:
    with dial(venue, "/stream") as socket:
        ask(socket, AUTHENTICATE)
        ask(socket, LISTEN)
        yield socket


def updates(socket: ClientConnection, last: str) -> list[dict[str, Any]]:
    seen = []
    while not seen or seen[-1]["event"] != last:
        frame = socket.recv(timeout=10)
        assert isinstance(frame, bytes)
        message = json.loads(frame)
        assert message["stream"] == "trade_updates"
        seen.append(message["data"])
    return seen


def test_the_trading_stream_client_gets_every_step_of_an_order(venue: Venue) -> None:
    seen: list[TradeUpdate] = []

    async def handler(update: TradeUpdate) -> None:
        seen.append(update)

    stream = TradingStream("TESTKEY", "TESTSECRET", url_override=venue.running.ws_url + "/stream")
    stream.subscribe_trade_updates(handler)
    threading.Thread(target=stream.run, daemon=True).start()
    venue.quote("AAPL", "180.44", "180.48", ask_size=4)
    wait_until(lambda: stream._running)
    order = venue.order(qty="10", client_order_id="watched").json()
    wait_until(lambda: len(seen) >= 3)
    venue.quote("AAPL", "180.44", "180.50")
    wait_until(lambda: bool(seen) and seen[-1].event == "fill")
    # The client looks at this every five seconds; the exchange's end wakes it sooner.
    stream.stop()
    assert [update.event for update in seen] == ["pending_new", "new", "partial_fill", "fill"]
    assert [update.qty for update in seen[2:]] == [4.0, 6.0]
    assert [update.price for update in seen[2:]] == [180.48, 180.50]
    assert [update.position_qty for update in seen[2:]] == [4.0, 10.0]
    assert {str(update.order.id) for update in seen} == {order["id"]}
    assert seen[-1].order.filled_avg_price == "180.492"


def test_updates_have_growing_event_ids_and_agree_with_the_activities(venue: Venue) -> None:
    with listening(venue) as socket:
        venue.order(qty="2")
        seen = updates(socket, "fill")
    assert [update["event"] for update in seen] == ["pending_new", "new", "fill"]
    assert seen[0]["execution_id"] is None
    assert seen[1]["execution_id"]
    event_ids = [update["event_id"] for update in seen]
    assert event_ids == sorted(set(event_ids))
    assert all(len(event_id) == 26 for event_id in event_ids)
    (row,) = venue.client.get("/account/activities/FILL")
    fill = seen[-1]
    assert (row["order_id"], row["cum_qty"]) == (fill["order"]["id"], fill["order"]["filled_qty"])
    assert (row["qty"], row["price"]) == (fill["qty"], fill["price"])
    assert fill["timestamp"] <= fill["at"]
    assert fill["order"]["cancel_requested_at"] is None


def test_a_cancel_is_seen_as_pending_then_canceled(venue: Venue) -> None:
    with listening(venue) as socket:
        order = venue.order(type="limit", limit_price="100").json()
        updates(socket, "new")
        venue.client.cancel_order_by_id(order["id"])
        seen = updates(socket, "canceled")
    assert [update["event"] for update in seen] == ["pending_cancel", "canceled"]
    assert seen[0]["order"]["cancel_requested_at"]


def test_the_trading_stream_refuses_wrong_keys_and_strangers(venue: Venue) -> None:
    with dial(venue, "/stream") as socket:
        wrong = {"action": "authenticate", "data": {"key_id": "TESTKEY", "secret_key": "no"}}
        answer = ask(socket, wrong)
        unauthorized = {"status": "unauthorized", "action": "authenticate"}
        assert answer == {"stream": "authorization", "data": unauthorized}
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)
    with dial(venue, "/stream") as socket:
        assert ask(socket, LISTEN)["action"] == "error"
    with dial(venue, "/stream") as socket:
        assert ask(socket, AUTH)["data"]["status"] == "authorized"
        assert ask(socket, LISTEN) == {"stream": "listening", "data": {"streams": ["trade_updates"]}}
    with dial(venue, "/stream") as socket:
        socket.send("}{")
        assert json.loads(socket.recv(timeout=10))["data"]["error_message"] == "invalid syntax"


def test_listening_to_nothing_stops_the_updates(venue: Venue) -> None:
    with listening(venue) as socket, listening(venue) as other:
        silent = ask(socket, {"action": "listen", "data": {"streams": []}})
        assert silent["data"]["streams"] == []
        venue.order()
        updates(other, "fill")
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.05)


def test_the_stock_data_client_gets_quotes_in_msgpack(venue: Venue) -> None:
    seen: list[Quote] = []

    async def handler(quote: Quote) -> None:
        seen.append(quote)

    stream = StockDataStream("TESTKEY", "TESTSECRET", url_override=venue.running.ws_url + "/v2/iex")
    stream.subscribe_quotes(handler, "AAPL", "MSFT")
    thread = threading.Thread(target=stream.run, daemon=True)
    thread.start()
    wait_until(lambda: {quote.symbol for quote in seen} == {"AAPL", "MSFT"})
    stream.stop()
    thread.join(10)
    assert all(quote.bid_price < quote.ask_price for quote in seen)
    assert seen[0].timestamp.date().isoformat() == "2026-11-23"


def test_the_data_stream_speaks_json_without_the_msgpack_header(venue: Venue) -> None:
    with dial(venue, "/v2/sip") as socket:
        assert json.loads(socket.recv(timeout=10)) == [{"T": "success", "msg": "connected"}]
        assert ask(socket, AUTH) == [{"T": "success", "msg": "authenticated"}]
        (subscribed,) = ask(socket, {"action": "subscribe", "quotes": ["AAPL"]})
        assert (subscribed["T"], subscribed["quotes"], subscribed["trades"]) == ("subscription", ["AAPL"], [])
        (quote, *_) = json.loads(socket.recv(timeout=10))
        assert (quote["T"], quote["S"]) == ("q", "AAPL")
        assert quote["t"].endswith("Z")
        (subscribed,) = ask(socket, {"action": "unsubscribe", "quotes": ["AAPL"]})


def test_moments_in_msgpack_are_the_timestamp_extension(venue: Venue) -> None:
    headers = {"Content-Type": "application/msgpack"}
    with dial(venue, "/v2/iex", additional_headers=headers) as socket:
        assert msgpack.unpackb(socket.recv(timeout=10))[0]["msg"] == "connected"
        socket.send(msgpack.packb(AUTH))
        assert msgpack.unpackb(socket.recv(timeout=10))[0]["msg"] == "authenticated"
        socket.send(msgpack.packb({"action": "subscribe", "quotes": ["*"]}))
        assert msgpack.unpackb(socket.recv(timeout=10))[0]["quotes"] == ["*"]
        quotes = msgpack.unpackb(socket.recv(timeout=10))
        assert all(isinstance(quote["t"], msgpack.Timestamp) for quote in quotes)


def test_data_stream_errors_have_their_codes(venue: Venue) -> None:
    def code_of(*messages: object) -> int:
        with dial(venue, "/v2/iex") as socket:
            socket.recv(timeout=10)
            for message in messages:
                (answer,) = ask(socket, message)
            return int(answer["code"])

    assert code_of({"action": "subscribe", "quotes": ["AAPL"]}) == 401
    assert code_of({"action": "auth", "key": "TESTKEY", "secret": "no"}) == 402
    assert code_of(AUTH, AUTH) == 403
    assert code_of("no action") == 400
    with dial(venue, "/v2/iex") as holder:
        holder.recv(timeout=10)
        ask(holder, AUTH)
        assert code_of(AUTH) == 406


def test_trades_and_bars_are_streamed_too(venue: Venue) -> None:
    with dial(venue, "/v2/iex") as socket:
        socket.recv(timeout=10)
        ask(socket, AUTH)
        ask(socket, {"action": "subscribe", "trades": ["AAPL"], "bars": ["AAPL"], "dailyBars": ["AAPL"]})
        (trade,) = json.loads(socket.recv(timeout=10))
        assert {"T", "S", "t", "x", "p", "s", "c", "i", "z"} == trade.keys()
        venue.call("POST", "/_exchange/clock", json={"at": "2026-11-23T10:02:00.5-05:00"})
        bars: dict[str, Any] = {}
        while len(bars) < 2:
            bars |= {row["T"]: row for row in json.loads(socket.recv(timeout=10)) if row["T"] in "bd"}
        assert bars["b"]["t"] == "2026-11-23T15:01:00.000000000Z"
        assert bars["d"]["t"] == "2026-11-23T05:00:00.000000000Z"
        assert bars["d"]["l"] <= bars["b"]["l"] <= bars["b"]["h"]
