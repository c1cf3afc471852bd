"""Keys replaced under a client: who is on the way keeps the old, whoever comes next has the new."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from broker.alpaca.trader import AlpacaTrader
from broker.errors import Unauthorized
from broker.keys import BrokerKeys, KeyPair
from tests.unit.broker_server import ORDER, Request, Server, http, nothing, order_request
from tests.unit.broker_trader import ORDER_ID, server

__all__ = ["server"]

OLD = KeyPair(SecretStr("PKOLD"), SecretStr("old"))
NEW = KeyPair(SecretStr("PKNEW"), SecretStr("new"))


@pytest.fixture
def keys() -> BrokerKeys:
    return BrokerKeys(OLD)


@pytest.fixture
async def trader(server: Server, keys: BrokerKeys) -> AsyncIterator[AlpacaTrader]:
    made = AlpacaTrader(server.settings, keys=keys)
    yield made
    await made.close()


def used(server: Server) -> list[tuple[str, str]]:
    """The pair of each request."""
    headers = [{name.lower(): value for name, value in each.headers.items()} for each in server.requests]
    return [(each["apca-api-key-id"], each["apca-api-secret-key"]) for each in headers]


async def test_a_post_on_its_way_keeps_its_keys_and_the_next_takes_the_new(
    server: Server, trader: AlpacaTrader, keys: BrokerKeys
) -> None:
    arrived, release = asyncio.Event(), asyncio.Event()

    async def hold(_: Request, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await release.wait()
        writer.write(http(ORDER))

    server.answer = hold
    posting = asyncio.ensure_future(trader.place_order(order_request(), before_send=nothing))
    await arrived.wait()
    keys.replace(NEW)
    release.set()
    await posting
    await trader.place_order(order_request(), before_send=nothing)
    await trader.get_order_status(ORDER_ID)
    assert used(server) == [("PKOLD", "old"), ("PKNEW", "new"), ("PKNEW", "new")]


async def test_a_client_of_earlier_keys_is_closed_and_not_used_again(
    server: Server, trader: AlpacaTrader, keys: BrokerKeys
) -> None:
    server.always(http(ORDER))
    for pair in (OLD, NEW, OLD):
        keys.replace(pair)
        await trader.get_order_status(ORDER_ID)
    assert used(server) == [("PKOLD", "old"), ("PKNEW", "new"), ("PKOLD", "old")]
    held = [each for idle in trader._calls._idle.values() for each, _ in idle]
    assert held == [OLD], "the connection of the pair before is gone"


async def test_only_the_refusal_of_current_keys_is_news(
    server: Server, trader: AlpacaTrader, keys: BrokerKeys
) -> None:
    told: list[str] = []
    keys.on_refused(lambda: told.append("refused"))
    server.always(http({"message": "unauthorized."}, status=401))
    with pytest.raises(Unauthorized) as refused:
        await trader.get_order_status(ORDER_ID)
    assert told == ["refused"]
    assert not refused.value.of_replaced_keys


async def test_a_request_whose_keys_are_replaced_on_its_way_says_nothing_of_the_new_ones(
    server: Server, trader: AlpacaTrader, keys: BrokerKeys
) -> None:
    told: list[str] = []
    keys.on_refused(lambda: told.append("refused"))
    arrived, release = asyncio.Event(), asyncio.Event()

    async def hold(_: Request, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await release.wait()
        writer.write(http({"message": "unauthorized."}, status=401))

    server.answer = hold
    asking = asyncio.ensure_future(trader.get_order_status(ORDER_ID))
    await arrived.wait()
    keys.replace(NEW)
    release.set()
    with pytest.raises(Unauthorized) as refused:
        await asking
    assert refused.value.of_replaced_keys
    assert told == []


def test_no_repr_shows_a_key(keys: BrokerKeys) -> None:
    assert "PKOLD" not in f"{keys!r} {OLD!r}"
