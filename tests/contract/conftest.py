"""Each file of the suite has an exchange of its own; the cases of a file share it, on separate tickers."""

import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.contract.venue import VENUES, AlpacaVenue
from tests.servers.exchange import ExchangeFactory
from tests.servers.exchange import _start as start_exchange
from tests.servers.session import Servers

ROOMY = {
    "session": "always_open",
    "requests_per_minute": 1_000_000,
    "cash": "10000000",
    "symbol": ['{"symbol": "HALT", "tradable": false}', '{"symbol": "WHOLE", "fractionable": false}',
               '{"symbol": "LONG", "shortable": false}',
               *(f'{{"symbol": "{name}"}}' for name in (
                   "C701DAY", "C701GTC", "C702LOW", "C702EDGE", "C702HIGH", "C703", "C704", "C705", "C706",
                   "C707"))],
}  # fmt: skip
"""Enough of everything that no case meets a limit it does not ask for."""


@pytest.fixture(scope="module", params=sorted(VENUES))
async def shared_venue(request: pytest.FixtureRequest, servers: Servers) -> AsyncIterator[AlpacaVenue]:
    name = f"exchange-{uuid.uuid4().hex[:8]}"
    venue = VENUES[request.param].open(await start_exchange(servers, name, ROOMY))
    yield venue
    await venue.close()
    await servers.supervisor.stop(name)


@pytest.fixture
async def venue(shared_venue: AlpacaVenue) -> AsyncIterator[AlpacaVenue]:
    """Give the file's venue, without open orders and faults before and after."""
    yield shared_venue
    await shared_venue.clean()


@pytest.fixture(params=sorted(VENUES))
async def venue_factory(
    request: pytest.FixtureRequest, exchange_factory: ExchangeFactory
) -> AsyncIterator[Callable[..., Any]]:
    """Give a function that opens a venue of its own with these settings."""
    opened: list[AlpacaVenue] = []

    async def start(**settings: Any) -> AlpacaVenue:
        venue = VENUES[request.param].open(await exchange_factory(**(ROOMY | settings)))
        opened.append(venue)
        return venue

    yield start
    for venue in opened:
        await venue.close()


@pytest.fixture
def new_id() -> str:
    """Give a client order id that was never used."""
    return f"ti-{uuid.uuid4().hex}"
