"""The trading stream ``/stream``: binary frames holding JSON, no replay."""

import asyncio
import json
from typing import Any

from starlette.websockets import WebSocket

from simulation.exchange import Exchange
from simulation.faults import FrameFacts, SocketFacts
from simulation.streams import SWAP_WAITS_SECONDS, Frame, Subscriber, Vacancy
from simulation.wire import json_bytes, rfc3339

TRADE_UPDATES = "trade_updates"
UPDATES_QUEUED_MAX = 100_000


class TradeUpdates:
    """Publishes each trade update, once it is durable, to everyone who listens."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._listening: set[Subscriber] = set()
        self._connected = Vacancy()
        self._updates: asyncio.Queue[tuple[int, dict[str, Any]]] = asyncio.Queue(UPDATES_QUEUED_MAX)
        exchange.keys.on_revoked(self._expel)
        exchange.on_update(lambda seq, update: self._updates.put_nowait((seq, update)))

    async def publish(self) -> None:
        """Run for as long as the exchange does."""
        while True:
            seq, update = await self._updates.get()
            await self._exchange.ledger.durable(seq)
            if self._listening:
                data = {"at": rfc3339(self._exchange.clock.now()), **update}
                frame = json_bytes({"stream": TRADE_UPDATES, "data": data})
                fate = self._exchange.frame_fate(_facts(update), frame)
                for subscriber in list(self._listening):
                    subscriber.suffer(fate)
                if fate.held:
                    asyncio.get_running_loop().call_later(SWAP_WAITS_SECONDS, self._release, frame)

    def _release(self, frame: Frame) -> None:
        """Send a frame that waits to be overtaken when nothing came that could."""
        for subscriber in (
            list(self._listening) if self._exchange.faults.release(TRADE_UPDATES, frame) else ()
        ):
            subscriber.offer(frame)

    async def serve(self, socket: WebSocket) -> None:
        limit = self._exchange.settings.trading_stream_connections
        full = limit is not None and self._connected.count >= limit
        if full or self._exchange.refuses_socket(SocketFacts(TRADE_UPDATES, self._connected.vacant_ms())):
            # Before accept: the handshake itself is refused.
            await socket.close()
            return
        await socket.accept()
        subscriber = Subscriber(socket, TRADE_UPDATES)
        session = _Session(self, subscriber)
        try:
            with self._connected.taken():
                await subscriber.run(session.on_message)
        finally:
            self._listening.discard(subscriber)

    def listen(self, subscriber: Subscriber, *, on: bool) -> None:
        if on:
            self._listening.add(subscriber)
        else:
            self._listening.discard(subscriber)

    def is_authentic(self, key: str, secret: str) -> bool:
        return self._exchange.keys.is_authentic(key, secret)

    def _expel(self, key: str) -> None:
        for subscriber in list(self._listening):
            if subscriber.key == key:
                subscriber.end()


def _facts(update: dict[str, Any]) -> FrameFacts:
    order = update["order"]
    return FrameFacts(TRADE_UPDATES, update["event"], order["client_order_id"], order["symbol"])


class _Session:
    """The conversation with one client: authenticate, then listen."""

    def __init__(self, hub: TradeUpdates, subscriber: Subscriber) -> None:
        self._hub = hub
        self._subscriber = subscriber
        self._authorized = False

    async def on_message(self, frame: Frame) -> None:
        try:
            message = json.loads(frame)
            action = message["action"]
        except (ValueError, TypeError, KeyError):
            self._fail("invalid syntax")
            return
        match action:
            case "authenticate" | "auth":
                self._authenticate(message)
            case "listen" if self._authorized:
                self._listen(message)
            case "listen":
                self._fail("not authorized")
            case _:
                self._fail(f"unknown action {str(action)[:40]}")

    def _authenticate(self, message: dict[str, Any]) -> None:
        data = message.get("data")
        named = data if isinstance(data, dict) else message
        key, secret = (
            named.get("key_id", named.get("key", "")),
            named.get("secret_key", named.get("secret", "")),
        )
        self._authorized = self._hub.is_authentic(str(key), str(secret))
        self._subscriber.key = str(key)
        status = "authorized" if self._authorized else "unauthorized"
        self._send({"stream": "authorization", "data": {"status": status, "action": message["action"]}})
        if not self._authorized:
            self._subscriber.end()

    def _listen(self, message: dict[str, Any]) -> None:
        data = message.get("data")
        streams = data.get("streams") if isinstance(data, dict) else None
        if not isinstance(streams, list):
            self._fail("invalid syntax")
            return
        known = [stream for stream in streams if stream == TRADE_UPDATES]
        # First the answer, then the updates: a client must see "listening" before anything else.
        self._send({"stream": "listening", "data": {"streams": known}})
        self._hub.listen(self._subscriber, on=bool(known))

    def _fail(self, text: str) -> None:
        self._send({"action": "error", "data": {"error_message": text}})
        self._subscriber.end()

    def _send(self, message: dict[str, Any]) -> None:
        self._subscriber.offer(json_bytes(message))
