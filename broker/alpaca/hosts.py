"""The only places an order may go: Alpaca's paper account and an exchange on this machine.

An address is compared as text with what is allowed, so that no trick of spelling (user info, look-alike
host, extra path) has to be recognised.
"""

import ipaddress
import re

PAPER_TRADING_URL = "https://paper-api.alpaca.markets"
PAPER_STREAM_URL = "wss://paper-api.alpaca.markets/stream"

_LIVE_HOST = re.compile(r"(^|[/@.])api\.alpaca\.markets\b", re.IGNORECASE)
_LOOPBACK = r"(?P<host>\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:]+\]):(?P<port>\d{1,5})"
_LOCAL_TRADING = re.compile(rf"http://{_LOOPBACK}")
_LOCAL_STREAM = re.compile(rf"ws://{_LOOPBACK}/stream")


class HostRefused(ValueError):
    """This address is not one that orders may go to."""


class LiveHostRefused(HostRefused):
    """This is the live brokerage. Only paper trading is possible."""


def check_trading_url(url: str) -> str:
    """Return ``url`` if REST calls may go there.

    Raises:
        LiveHostRefused: it names the live host.
        HostRefused: it names any other place.
    """
    return _check(url, PAPER_TRADING_URL, _LOCAL_TRADING, "http://127.0.0.1:PORT")


def check_stream_url(url: str) -> str:
    """Return ``url`` if the update stream may be opened there. Raises as ``check_trading_url``."""
    return _check(url, PAPER_STREAM_URL, _LOCAL_STREAM, "ws://127.0.0.1:PORT/stream")


def _check(url: str, paper: str, local: re.Pattern[str], example: str) -> str:
    if url == paper:
        return url
    match = local.fullmatch(url)
    if match and _is_loopback(match["host"].strip("[]")) and 0 < int(match["port"]) < 65536:
        return url
    if _LIVE_HOST.search(url):
        raise LiveHostRefused(f"this is the live brokerage; only paper trading is possible: use {paper}")
    raise HostRefused(f"orders may not go to this address; use {paper} or, for a local exchange, {example}")


def _is_loopback(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False
