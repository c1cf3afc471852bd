"""A broker adapter and the exchange behind it, as the contract suite needs them.

A new adapter joins the suite by one more entry in ``VENUES``: how to open it on a venue whose market can be
set and whose requests can be counted and spoilt.
"""

import asyncio
import json
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol, TypeVar

import pytest
from pydantic import SecretStr

from broker import lifecycle
from broker.alpaca import transport
from broker.alpaca.client import AlpacaReader
from broker.alpaca.settings import AlpacaSettings
from broker.alpaca.trader import AlpacaTrader
from broker.port import BrokerReader, BrokerTrader
from schemas.broker import TradeUpdate
from schemas.orders import (
    Action,
    BrokerOrder,
    OrderRequest,
    OrderState,
    OrderType,
    TimeInForce,
)
from tests.servers.exchange import Exchange

CONTROL_TIMEOUT_SECONDS = 10.0
PATIENCE_SECONDS = 20.0
POLL_SECONDS = 0.01

_T = TypeVar("_T")


class Venue(Protocol):
    """What the suite asks of a venue under test."""

    exchange: Exchange
    trader: BrokerTrader
    reader: BrokerReader

    def with_wrong_keys(self) -> AbstractAsyncContextManager[BrokerTrader]: ...

    def short_limits(self) -> Any:
        """A block in which the adapter's time limits are tenths of a second."""

    async def quote(self, ticker: str, bid: str, ask: str, size: int = 1000) -> None:
        """Fix the market of a ticker."""

    async def move_cash(self, amount: str, activity_type: str) -> None:
        """Take a fee or pay a dividend, in US dollars."""

    async def spoil(self, action: str, *, method: str, path: str, **options: Any) -> None:
        """Order one fault for the next matching request."""

    async def posts(self, client_order_id: str) -> int:
        """How many requests to place this id arrived."""

    async def requests(self, route: str) -> int:
        """How many requests of this kind arrived: ``DELETE /v2/orders/{order_id}``."""


@dataclass
class AlpacaVenue:
    """The Alpaca adapter on the paper exchange."""

    exchange: Exchange
    trader: AlpacaTrader
    reader: AlpacaReader

    @classmethod
    def open(cls, exchange: Exchange) -> "AlpacaVenue":
        settings = _settings(exchange, exchange.secret)
        return cls(exchange, AlpacaTrader(settings), AlpacaReader(settings))

    async def close(self) -> None:
        await self.trader.close()
        await self.reader.close()

    def with_wrong_keys(self) -> AbstractAsyncContextManager[BrokerTrader]:
        return _Closing(AlpacaTrader(_settings(self.exchange, "not-the-secret")))

    @contextmanager
    def short_limits(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(transport, "READ_TIMEOUT_SECONDS", 0.5)
            patch.setattr(transport, "TOTAL_DEADLINE_SECONDS", 0.8)
            yield

    async def quote(self, ticker: str, bid: str, ask: str, size: int = 1000) -> None:
        body = {"symbol": ticker, "bid": bid, "ask": ask, "bid_size": size, "ask_size": size}
        await self._control("quotes", body)

    async def move_cash(self, amount: str, activity_type: str) -> None:
        await self._control("adjust", {"cash": amount, "activity_type": activity_type})

    async def spoil(self, action: str, *, method: str, path: str, **options: Any) -> None:
        match = {"method": method, "path": path, **options.pop("match", {})}
        await self._control("faults", {"match": match, "action": action, **options})

    async def posts(self, client_order_id: str) -> int:
        return int((await self._control("ledger/summary"))["posts"].get(client_order_id, 0))

    async def requests(self, route: str) -> int:
        return int((await self._control("ledger/summary"))["requests"].get(route, 0))

    async def clean(self) -> None:
        """Leave no open order, no fault and no fixed quote behind."""
        await asyncio.to_thread(self._ask, "faults", None, "DELETE")
        await self.trader.cancel_all()
        await eventually(self.trader.get_open_orders, lambda orders: not orders)

    async def _control(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return await asyncio.to_thread(self._ask, path, body, None)

    def _ask(self, path: str, body: dict[str, Any] | None, method: str | None) -> Any:
        request = urllib.request.Request(
            f"{self.exchange.url}/_exchange/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers=self.exchange.headers,
            method=method,
        )
        with urllib.request.urlopen(request, timeout=CONTROL_TIMEOUT_SECONDS) as answer:
            return json.load(answer)


VENUES = {"alpaca": AlpacaVenue}


class _Closing:
    def __init__(self, trader: AlpacaTrader) -> None:
        self._trader = trader

    async def __aenter__(self) -> BrokerTrader:
        return self._trader

    async def __aexit__(self, *exc_info: object) -> None:
        await self._trader.close()


def _settings(exchange: Exchange, secret: str) -> AlpacaSettings:
    return AlpacaSettings(
        key_id=SecretStr(exchange.key),
        secret_key=SecretStr(secret),
        trading_url=exchange.url,
        stream_url=f"{exchange.ws_url}/stream",
    )


def nothing() -> None:
    """The last check before sending, when it has no objection."""


PRICED = ("quantity", "limit_price", "stop_price")


def request(client_order_id: str, ticker: str = "AAPL", **fields: Any) -> OrderRequest:
    """A buy of 1 share at $180.50 for the day, unless told otherwise; numbers as texts."""
    numbers = {name: Decimal(fields.pop(name)) for name in PRICED if fields.get(name)}
    base = OrderRequest(
        internal_order_id="7d1f0c3e",
        client_order_id=client_order_id,
        ticker=ticker,
        action=Action.BUY_TO_OPEN,
        order_type=OrderType.LIMIT,
        time_in_force=TimeInForce.DAY,
        quantity=Decimal(1),
        limit_price=Decimal("180.5"),
    )
    return base.model_copy(update={**numbers, **fields})


async def place(venue: Venue, client_order_id: str, ticker: str = "AAPL", **fields: Any) -> BrokerOrder:
    return await venue.trader.place_order(request(client_order_id, ticker, **fields), before_send=nothing)


async def eventually(ask: Callable[[], Awaitable[_T]], good: Callable[[_T], bool]) -> _T:
    """The first answer that is good; the venue needs its few milliseconds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not good(answer := await ask()):
            await asyncio.sleep(POLL_SECONDS)
    return answer


async def reaches(venue: Venue, order: BrokerOrder, raw_status: str) -> BrokerOrder:
    """The order once the broker shows this status word."""
    return await eventually(
        lambda: venue.reader.get_order_status(order.broker_order_id), lambda now: now.raw_status == raw_status
    )


async def updates_until(
    stream: Any, client_order_id: str, wanted: Callable[[TradeUpdate], bool]
) -> list[TradeUpdate]:
    """The messages about one order, up to the first that is wanted."""
    heard: list[TradeUpdate] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for update in stream:
            if update.order.client_order_id == client_order_id:
                heard.append(update)
                if wanted(update):
                    return heard
    raise AssertionError(f"the stream ended after {[update.raw_event for update in heard]}")


def state_after(order: OrderRequest, *updates: lifecycle.Update) -> OrderState:
    """What our state machine makes of these."""
    state = lifecycle.apply(lifecycle.created(order.quantity), lifecycle.Submitted())
    for update in updates:
        state = lifecycle.apply(state, update)
    return state
