"""A trader of the adapter at a server that misbehaves, and what is told about each of its requests."""

from collections.abc import AsyncIterator

import pytest

from broker.alpaca import transport
from broker.alpaca.trader import AlpacaTrader
from broker.told import BrokerCall
from tests.unit.broker_server import ORDER, Server, nothing, order_request, serving

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
