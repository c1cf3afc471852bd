"""A data adapter and a broker reader, joined to one paper exchange.

An exchange takes seconds to start, so the cases of one file share one (``venue``) wherever they neither kill
it nor need it to stand elsewhere in time.
"""

import asyncio
import json
import urllib.request
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from broker.alpaca.client import AlpacaReader
from broker.alpaca.settings import AlpacaSettings
from market.alpaca_data import AlpacaDataSettings, AlpacaMarketData
from schemas.market import Provider
from tests.servers.exchange import Exchange, ExchangeFactory
from tests.servers.exchange import _start as start_exchange
from tests.servers.session import Servers

START = "2013-10-08T11:00:00-04:00"
"""An ordinary Tuesday, years away from our clocks."""

CONTROL_TIMEOUT_SECONDS = 10.0
FEEDS = {Provider.PRIMARY: "iex", Provider.SECONDARY: "sip"}


@dataclass(frozen=True)
class Venue:
    """One exchange with our adapters on it."""

    exchange: Exchange
    primary: AlpacaMarketData
    secondary: AlpacaMarketData
    broker: AlpacaReader

    async def control(self, path: str, *, method: str | None = None, **body: Any) -> Any:
        """Order something of the exchange itself; without a body, ask."""
        return await asyncio.to_thread(self._control, path, method, body)

    async def clock(self) -> datetime:
        """The exchange's own time."""
        told: str = (await self.control("clock"))["at"]
        return datetime.fromisoformat(told)

    async def go_on(self, *, seconds: float, **speed: float) -> None:
        """Let market time pass at once, and then run at ``speed``."""
        later = await self.clock() + timedelta(seconds=seconds)
        await self.control("clock", at=later.isoformat(), **speed)

    async def close(self) -> None:
        for part in (self.primary, self.secondary, self.broker):
            await part.close()

    def _control(self, path: str, method: str | None, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{self.exchange.url}/_exchange/{path}",
            data=json.dumps(body).encode() if body else None,
            headers=self.exchange.headers,
            method=method,
        )
        with urllib.request.urlopen(request, timeout=CONTROL_TIMEOUT_SECONDS) as answer:
            return json.load(answer)


VenueFactory = Callable[..., Awaitable[Venue]]


def join(exchange: Exchange) -> Venue:
    """Put adapters on a running exchange."""
    settings = AlpacaSettings(
        key_id=SecretStr(exchange.key),
        secret_key=SecretStr(exchange.secret),
        trading_url=exchange.url,
        stream_url=f"{exchange.ws_url}/stream",
    )
    return Venue(
        exchange=exchange,
        primary=AlpacaMarketData(data_settings(exchange)),
        secondary=AlpacaMarketData(data_settings(exchange, Provider.SECONDARY)),
        broker=AlpacaReader(settings),
    )


def data_settings(
    exchange: Exchange,
    provider: Provider = Provider.PRIMARY,
    *,
    secret: str | None = None,
    feed: str | None = None,
) -> AlpacaDataSettings:
    feed = feed or FEEDS[provider]
    return AlpacaDataSettings(
        url=exchange.url,
        stream_url=f"{exchange.ws_url}/v2/{feed}",
        feed=feed,
        key_id=SecretStr(exchange.key),
        secret_key=SecretStr(secret or exchange.secret),
        provider=provider,
    )


@pytest.fixture
async def venue_factory(exchange_factory: ExchangeFactory) -> AsyncIterator[VenueFactory]:
    """Give a function that starts an exchange with the settings given, and the adapters on it."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Venue:
            exchange = await exchange_factory(**settings)
            venue = join(exchange)
            stack.push_async_callback(venue.close)
            return venue

        yield start


@pytest.fixture(scope="module")
async def shared(servers: Servers) -> AsyncIterator[Venue]:
    name = f"exchange-{uuid.uuid4().hex[:8]}"
    venue = join(await start_exchange(servers, name, {"start": START}))
    yield venue
    await venue.close()
    await servers.supervisor.stop(name)


@pytest.fixture
async def venue(shared: Venue) -> Venue:
    """Give the file's exchange, its market moving by itself at speed 1 and free of faults."""
    await shared.control("faults", method="DELETE")
    await shared.control("quotes/AAPL", method="DELETE")
    await shared.control("freeze", symbol="AAPL", frozen=False)
    await shared.go_on(seconds=1, speed=1.0)
    return shared
