"""No order can be sent anywhere but to the paper account or to this machine."""

import pytest
from pydantic import SecretStr

from broker.alpaca.hosts import HostRefused, LiveHostRefused, check_stream_url, check_trading_url
from broker.alpaca.settings import AlpacaSettings

TRADING = [
    "https://paper-api.alpaca.markets",
    "http://127.0.0.1:8080",
    "http://127.9.9.9:1",
    "http://[::1]:80",
    "http://paper-exchange:8085",
]
STREAM = [
    "wss://paper-api.alpaca.markets/stream",
    "ws://paper-exchange:8085/stream",
    "ws://127.0.0.1:8080/stream",
    "ws://[::1]:80/stream",
]
LIVE = [
    "https://api.alpaca.markets",
    "http://api.alpaca.markets",
    "https://API.alpaca.markets/",
    "https://api.alpaca.markets:443",
    "https://user@api.alpaca.markets",
    "wss://api.alpaca.markets/stream",
    "api.alpaca.markets",
]
ELSEWHERE = [
    "",
    "https://paper-api.alpaca.markets/",
    "https://paper-api.alpaca.markets/v2",
    "http://paper-api.alpaca.markets",
    "https://paper-api.alpaca.markets:444",
    "https://paper-api.alpaca.markets@evil.example",
    "https://paper-api.alpaca.markets.evil.example",
    "https://paper-api.alpaca.markets\n",
    " https://paper-api.alpaca.markets",
    "https://PAPER-API.alpaca.markets",
    "https://broker-api.alpaca.markets",
    "http://localhost:8080",
    "http://paper-exchange:8086",
    "http://paper-exchange",
    "https://paper-exchange:8085",
    "http://paper-exchange:8085/v2",
    "http://paper-exchange.example:8085",
    "http://127.0.0.1",
    "http://127.0.0.1:0",
    "http://127.0.0.1:70000",
    "http://127.0.0.1:8080/v2",
    "http://127.0.0.1:8080@evil.example",
    "http://user@127.0.0.1:8080",
    "https://127.0.0.1:8080",
    "http://0.0.0.0:8080",
    "http://10.0.0.1:8080",
    "http://127.0.0.999:8080",
    "http://2130706433:8080",
    "http://[::2]:8080",
    "http://[::ffff:10.0.0.1]:80",
    "ftp://127.0.0.1:8080",
]


@pytest.mark.parametrize("url", TRADING)
def test_trading_urls_that_are_taken(url: str) -> None:
    assert check_trading_url(url) == url


@pytest.mark.parametrize("url", STREAM)
def test_stream_urls_that_are_taken(url: str) -> None:
    assert check_stream_url(url) == url


@pytest.mark.parametrize("check", [check_trading_url, check_stream_url])
@pytest.mark.parametrize("url", LIVE)
def test_live_brokerage_is_refused_by_its_own_error(check: object, url: str) -> None:
    assert callable(check)
    with pytest.raises(LiveHostRefused, match="only paper trading"):
        check(url)


@pytest.mark.parametrize("url", ELSEWHERE)
def test_every_other_place_is_refused(url: str) -> None:
    with pytest.raises(HostRefused, match=r"127\.0\.0\.1:PORT"):
        check_trading_url(url)
    with pytest.raises(HostRefused):
        check_stream_url(url)


def test_settings_refuse_before_any_client_exists() -> None:
    with pytest.raises(LiveHostRefused):
        AlpacaSettings(SecretStr("K"), SecretStr("S"), "https://api.alpaca.markets")
    with pytest.raises(LiveHostRefused):
        AlpacaSettings(SecretStr("K"), SecretStr("S"), stream_url="wss://api.alpaca.markets/stream")


def test_settings_show_no_secret() -> None:
    shown = repr(AlpacaSettings(SecretStr("canary-key"), SecretStr("canary-secret")))
    assert "canary" not in shown
