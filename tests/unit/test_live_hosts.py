"""The way to the live brokerage: one spelling, one permit for one moment, no redirect, no proxy."""

import time
from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import UUID

import pytest
from pydantic import SecretStr

from broker import permit as permits
from broker.alpaca.hosts import ALPACA_LIVE, HostRefused, LiveHostRefused, LiveHosts, mode_of
from broker.alpaca.settings import AlpacaSettings
from broker.alpaca.trader import AlpacaTrader
from broker.errors import BrokerError
from broker.permit import LiveNotPermitted, LivePermit
from schemas.mode import Mode
from tests.servers.live import live_settings
from tests.unit.broker_server import KEY, ORDER, SECRET, Server, http, nothing, order_request, serving


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        running.always(http(ORDER | {"client_order_id": "ti-1"}))
        yield running


async def post(trader: AlpacaTrader, permit: Any) -> None:
    try:
        await trader.place_order(order_request(), before_send=nothing, permit=permit)
    finally:
        await trader.close()


@pytest.mark.parametrize(
    "case", ["none", "another address", "too old", "of the future", "a look-alike", "a subclass"]
)
async def test_without_a_permit_of_this_moment_nothing_is_sent(server: Server, case: str) -> None:
    class Fake(LivePermit):
        pass

    good = LivePermit(server.url, "A1", UUID(int=1), time.monotonic())
    cases: dict[str, Any] = {
        "none": None,
        "another address": LivePermit("https://api.alpaca.markets", "A1", UUID(int=1), time.monotonic()),
        "too old": LivePermit(server.url, "A1", UUID(int=1), time.monotonic() - 2.1),
        "of the future": LivePermit(server.url, "A1", UUID(int=1), time.monotonic() + 60),
        "a look-alike": type(
            "P", (), {name: getattr(good, name) for name in LivePermit.__dataclass_fields__}
        )(),
        "a subclass": Fake(server.url, "A1", UUID(int=1), time.monotonic()),
    }
    with pytest.raises(LiveNotPermitted):
        await post(AlpacaTrader(live_settings(server)), cases[case])
    assert server.requests == []


async def test_a_permit_that_ages_on_the_way_sends_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: the last check before the first byte takes so long that the permit is too old after it."""
    trader = AlpacaTrader(live_settings(server))
    permit = LivePermit(server.url, "A1", UUID(int=1), time.monotonic())

    def slow() -> None:
        monkeypatch.setattr(permits, "PERMIT_SECONDS_MAX", 0)

    with pytest.raises(LiveNotPermitted):
        await trader.place_order(order_request(), before_send=slow, permit=permit)
    await trader.close()
    assert server.requests == []


async def test_reading_and_cancelling_need_no_permit(server: Server) -> None:
    trader = AlpacaTrader(live_settings(server))
    await trader.cancel_order(str(ORDER["id"]))
    await trader.get_order_by_client_id("ti-1")
    await trader.close()
    assert [each.method for each in server.requests] == ["DELETE", "GET"]


LIVE_STREAM: Final = ALPACA_LIVE.stream_url
TRICKS: Final = (
    "https://api.alpaca.markets.", "https://API.alpaca.markets", "https://api.alpaca.markets:443",
    "https://api.alpaca.markets/", "https://api.alpaca.markets/v2", "https://user@api.alpaca.markets",
    "https://paper-api.alpaca.markets@api.alpaca.markets", "https://api.alpaca.markets@127.0.0.1:80",
    "http://api.alpaca.markets", "HTTPS://api.alpaca.markets", "https://api.alpaca.markets\t",
    "https://api.alpaca.markets\n", " https://api.alpaca.markets", "https://api.alpaca.markets#",
    "https://api.alpaca.markets?",
    "https://xn--pi-6kc.alpaca.markets", "https://\u0430pi.alpaca.markets",
    "https://api\u3002alpaca\u3002markets",
    "https://api.alpaca.markets.evil.example", "https://evil.example/api.alpaca.markets",
    "https:api.alpaca.markets",
    "https:\\\\api.alpaca.markets", "//api.alpaca.markets", "https://%61pi.alpaca.markets",
    "https://api.alpaca.markets%2f",
    "https://paper-api.alpaca.markets.api.alpaca.markets",
)  # fmt: skip


@pytest.mark.parametrize("set_up", [False, True])
@pytest.mark.parametrize("url", TRICKS)
def test_no_spelling_but_one_is_the_live_brokerage(url: str, set_up: bool) -> None:
    for stream in (LIVE_STREAM, "wss://paper-api.alpaca.markets/stream", url.replace("https", "wss")):
        with pytest.raises(HostRefused):
            AlpacaSettings(SecretStr("k"), SecretStr("s"), url, stream, live_set_up=set_up)


@pytest.mark.parametrize(
    ("trading", "stream"),
    [
        (ALPACA_LIVE.trading_url, "wss://paper-api.alpaca.markets/stream"),
        ("https://paper-api.alpaca.markets", ALPACA_LIVE.stream_url),
        ("http://127.0.0.1:8080", ALPACA_LIVE.stream_url),
    ],
)
def test_a_half_live_brokerage_is_refused(trading: str, stream: str) -> None:
    with pytest.raises(LiveHostRefused):
        mode_of(trading, stream)


def test_the_live_brokerage_is_reached_by_who_was_set_up_for_it_alone() -> None:
    live = (ALPACA_LIVE.trading_url, ALPACA_LIVE.stream_url)
    with pytest.raises(LiveHostRefused, match="not set up"):
        AlpacaSettings(SecretStr("k"), SecretStr("s"), *live)
    assert AlpacaSettings(SecretStr("k"), SecretStr("s"), *live, live_set_up=True).mode is Mode.LIVE
    assert AlpacaSettings(SecretStr("k"), SecretStr("s")).mode is Mode.PAPER


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(server: Server, status: int) -> None:
    """A paper place that answers with the live one's address: the order goes nowhere else."""
    async with serving() as elsewhere:
        elsewhere.always(http(ORDER | {"client_order_id": "ti-1"}))
        server.always(http({}, status, Location=f"{elsewhere.url}/v2/orders"))
        trader = AlpacaTrader(server.settings)
        with pytest.raises(BrokerError):
            await post(trader, None)
        assert (len(server.requests), elsewhere.requests) == (1, [])


async def test_no_proxy_of_the_environment_is_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("APCA_API_BASE_URL", ALPACA_LIVE.trading_url)
        await post(AlpacaTrader(server.settings), None)
        assert (len(server.requests), proxy.requests) == (1, [])


def test_two_places_cannot_be_one() -> None:
    """Whatever is the live brokerage is never taken for a paper place, wherever it is."""
    hosts = LiveHosts("http://127.0.0.1:9", "ws://127.0.0.1:9/stream")
    with pytest.raises(LiveHostRefused):
        AlpacaSettings(
            SecretStr(KEY), SecretStr(SECRET), hosts.trading_url, hosts.stream_url, live_hosts=hosts
        )
