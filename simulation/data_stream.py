"""The market data stream ``/v2/{feed}``: msgpack if the client's Content-Type says so, JSON otherwise."""

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

import msgpack
from starlette.websockets import WebSocket

from simulation.exchange import Exchange
from simulation.faults import FrameFacts, SocketFacts
from simulation.history import Timeframe, bars_between, trade_of
from simulation.market_json import bar_json, quote_json, trade_json
from simulation.quotes import Quote
from simulation.settings import FEEDS, Feed
from simulation.streams import AUTH_TIMEOUT_SECONDS, SWAP_WAITS_SECONDS, Frame, Subscriber, Vacancy
from simulation.wire import NANOSECONDS, json_bytes, rfc3339_ns, to_ns

CHANNELS = (
    "trades",
    "quotes",
    "bars",
    "updatedBars",
    "dailyBars",
    "statuses",
    "lulds",
    "corrections",
    "cancelErrors",
)
EVERY_SYMBOL = "*"
MSGPACK = "application/msgpack"
INVALID_SYNTAX = (400, "invalid syntax")
NOT_AUTHENTICATED = (401, "not authenticated")
AUTH_FAILED = (402, "auth failed")
ALREADY_AUTHENTICATED = (403, "already authenticated")
AUTH_TIMEOUT = (404, "auth timeout")
CONNECTION_LIMIT = (406, "connection limit exceeded")

# When the clock is set forward, nobody wants the hours in between, in a frame too large to take.
QUOTES_PER_BEAT_MAX = 100
REPEATED_EVERY_NS = NANOSECONDS
MINUTE = timedelta(minutes=1)
MINUTE_BAR, DAILY_BAR = Timeframe(1, MINUTE, None), Timeframe(1, None, "Day")


class DataStream:
    """Sends new quotes to the clients subscribed to them, on every beat of the exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self._sessions: dict[Feed, list[DataSession]] = {feed: [] for feed in FEEDS}
        # Version and moment of the quote sent last.
        self._sent: dict[tuple[Feed, str], tuple[int, int]] = {}
        self._connected: dict[Feed, Vacancy] = {feed: Vacancy() for feed in FEEDS}
        self._beaten_ns = exchange.clock.now_ns()
        self._minute = exchange.clock.now()
        exchange.on_beat(self.beat)
        exchange.keys.on_revoked(self._expel)

    async def serve(self, socket: WebSocket) -> None:
        feed = socket.path_params["feed"]
        if feed not in FEEDS or self._is_refused(feed):
            # Before accept: the handshake itself is refused.
            await socket.close()
            return
        await socket.accept()
        binary = socket.headers.get("content-type", "") == MSGPACK
        subscriber = Subscriber(socket, f"data/{feed}")
        session = DataSession(self, feed, subscriber, binary=binary)
        session.send([{"T": "success", "msg": "connected"}])
        timeout = asyncio.get_running_loop().call_later(AUTH_TIMEOUT_SECONDS, session.auth_timed_out)
        try:
            with self._connected[feed].taken():
                await subscriber.run(session.on_message)
        finally:
            timeout.cancel()
            self._sessions[session.feed] = [one for one in self._sessions[session.feed] if one is not session]

    def _expel(self, key: str) -> None:
        for session in [one for sessions in self._sessions.values() for one in sessions]:
            if session.key == key:
                session.end()

    def _is_refused(self, feed: Feed) -> bool:
        return self.exchange.refuses_socket(SocketFacts(f"data/{feed}", self._connected[feed].vacant_ms()))

    def admit(self, session: "DataSession") -> bool:
        """Take an authenticated session in, unless this feed has as many as one key may hold."""
        if len(self._sessions[session.feed]) >= self.exchange.settings.data_stream_connections:
            return False
        self._sessions[session.feed].append(session)
        return True

    def beat(self, now: datetime) -> None:
        """Send everything that is new since the last beat to those who want it."""
        now_ns, minute = to_ns(now), now.replace(second=0, microsecond=0)
        for feed, sessions in self._sessions.items():
            if not sessions:
                continue
            for symbol in self._wanted(sessions, "quotes", "trades"):
                news = self.exchange.market.new_quotes(symbol, self._beaten_ns, now_ns, feed)
                for quote in news[-QUOTES_PER_BEAT_MAX:]:
                    self._offer_quote(sessions, quote)
            if minute > self._minute:
                for symbol in self._wanted(sessions, "bars", "dailyBars"):
                    self._offer_bars(sessions, feed, symbol, minute)
            for session in sessions:
                session.flush()
        self._beaten_ns, self._minute = now_ns, max(minute, self._minute)

    def _offer_quote(self, sessions: "list[DataSession]", quote: Quote) -> None:
        version, sent_ns = self._sent.get((quote.feed, quote.symbol), (None, 0))
        # A quote fixed by hand has one version for ever: say now and then that it still stands.
        stands = quote.version < 0 and quote.t_ns - sent_ns >= REPEATED_EVERY_NS
        if version == quote.version and not stands:
            return
        self._sent[quote.feed, quote.symbol] = (quote.version, quote.t_ns)
        trade = trade_of(quote)
        for session in sessions:
            session.collect("quotes", "q", quote.symbol, quote_json(quote, Moment))
            if trade is not None:
                session.collect("trades", "t", quote.symbol, trade_json(trade, quote.feed, Moment))

    def _offer_bars(self, sessions: "list[DataSession]", feed: Feed, symbol: str, minute: datetime) -> None:
        until = minute - timedelta(microseconds=1)
        for channel, kind, frame, reach in (
            ("bars", "b", MINUTE_BAR, MINUTE),
            ("dailyBars", "d", DAILY_BAR, timedelta(days=1)),
        ):
            newest = bars_between(
                self.exchange.market, symbol, minute - reach, until, frame, feed, newest_first=True
            )
            bar = next(newest, None)
            if bar is not None:
                for session in sessions:
                    session.collect(channel, kind, symbol, bar_json(bar, Moment))

    def _wanted(self, sessions: "list[DataSession]", *channels: str) -> set[str]:
        wanted = {
            symbol for session in sessions for channel in channels for symbol in session.channels[channel]
        }
        listed = self.exchange.market.assets
        return set(listed) if EVERY_SYMBOL in wanted else wanted & listed.keys()


class DataSession:
    """The conversation with one client of the data stream."""

    def __init__(self, hub: DataStream, feed: Feed, subscriber: Subscriber, *, binary: bool) -> None:
        self.feed = feed
        self.channels: dict[str, set[str]] = {channel: set() for channel in CHANNELS}
        self._hub = hub
        self._subscriber = subscriber
        self._binary = binary
        self._authenticated = False
        self.key = ""
        self._collected: list[dict[str, Any]] = []

    def send(self, messages: list[dict[str, Any]]) -> None:
        """Every frame is an array; moments are a timestamp extension in msgpack, text in JSON."""
        self._subscriber.offer(self._frame(messages))

    def collect(self, channel: str, kind: str, symbol: str, content: dict[str, Any]) -> None:
        """Keep a message for the next frame if this client subscribed to it."""
        if self.channels[channel] & {symbol, EVERY_SYMBOL}:
            self._collected.append({"T": kind, "S": symbol, **content})

    def flush(self) -> None:
        """Send what was collected, unless a fault decides otherwise."""
        if self._collected:
            frame = self._frame(self._collected)
            fate = self._hub.exchange.frame_fate(FrameFacts(self._subscriber.stream), frame)
            self._subscriber.suffer(fate)
            self._collected = []
            if fate.held:
                asyncio.get_running_loop().call_later(SWAP_WAITS_SECONDS, self._release, frame)

    def _release(self, frame: Frame) -> None:
        """Send a frame that waits to be overtaken when nothing came that could."""
        if self._hub.exchange.faults.release(self._subscriber.stream, frame):
            self._subscriber.offer(frame)

    def _frame(self, messages: list[dict[str, Any]]) -> Frame:
        if self._binary:
            packed: bytes = msgpack.packb(messages, default=_pack)
            return packed
        return json_bytes(_as_text(messages)).decode()

    def end(self) -> None:
        self._subscriber.end()

    def auth_timed_out(self) -> None:
        if not self._authenticated:
            self._fail(*AUTH_TIMEOUT)

    async def on_message(self, frame: Frame) -> None:
        try:
            message = msgpack.unpackb(frame) if self._binary else json.loads(frame)
            action = message["action"]
        except (ValueError, TypeError, KeyError, msgpack.UnpackException):
            self._fail(*INVALID_SYNTAX)
            return
        if action == "auth":
            self._auth(message)
        elif not self._authenticated:
            self._fail(*NOT_AUTHENTICATED)
        elif action in ("subscribe", "unsubscribe"):
            self._subscribe(message, on=action == "subscribe")
        else:
            self._fail(*INVALID_SYNTAX)

    def _auth(self, message: dict[str, Any]) -> None:
        if self._authenticated:
            self._error(*ALREADY_AUTHENTICATED)
        elif not self._hub.exchange.keys.is_authentic(
            str(message.get("key", "")), str(message.get("secret", ""))
        ):
            self._fail(*AUTH_FAILED)
        elif not self._hub.admit(self):
            self._fail(*CONNECTION_LIMIT)
        else:
            self._authenticated = True
            self.key = str(message["key"])
            self.send([{"T": "success", "msg": "authenticated"}])

    def _subscribe(self, message: dict[str, Any], *, on: bool) -> None:
        for channel, known in self.channels.items():
            symbols = message.get(channel)
            if isinstance(symbols, list):
                named = {str(symbol) for symbol in symbols}
                self.channels[channel] = known | named if on else known - named
        self.send(
            [{"T": "subscription", **{name: sorted(symbols) for name, symbols in self.channels.items()}}]
        )

    def _error(self, code: int, text: str) -> None:
        self.send([{"T": "error", "code": code, "msg": text}])

    def _fail(self, code: int, text: str) -> None:
        self._error(code, text)
        self._subscriber.end()


class Moment:
    """A moment inside a message, to be written in the form of the connection."""

    __slots__ = ("t_ns",)

    def __init__(self, t_ns: int) -> None:
        self.t_ns = t_ns


def _pack(value: Any) -> Any:
    if isinstance(value, Moment):
        return msgpack.Timestamp(*divmod(value.t_ns, NANOSECONDS))
    raise TypeError(f"cannot send {type(value).__name__}")


def _as_text(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            name: rfc3339_ns(value.t_ns) if isinstance(value, Moment) else value
            for name, value in message.items()
        }
        for message in messages
    ]
