"""The only places an order may go: Alpaca's paper account and a paper exchange beside us.

Beside us means: at a loopback address, or in a container network under the one name that
docker-compose.temporal.yml gives it.

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
_CONTAINER = "paper-exchange:8085"


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
    paper = (PAPER_TRADING_URL, f"http://{_CONTAINER}")
    return _check(url, paper, _LOCAL_TRADING, "http://127.0.0.1:PORT")


def is_beside_us(url: str) -> bool:
    """Whether this is a paper exchange on this machine, or in our own network of containers."""
    if url == f"http://{_CONTAINER}":
        return True
    match = _LOCAL_TRADING.fullmatch(url)
    return match is not None and _is_loopback(match["host"].strip("[]"))


def check_stream_url(url: str) -> str:
    """Return ``url`` if the update stream may be opened there. Raises as ``check_trading_url``."""
    paper = (PAPER_STREAM_URL, f"ws://{_CONTAINER}/stream")
    return _check(url, paper, _LOCAL_STREAM, "ws://127.0.0.1:PORT/stream")


def _check(url: str, paper: tuple[str, str], local: re.Pattern[str], example: str) -> str:
    if url in paper:
        return url
    match = local.fullmatch(url)
    if match and _is_loopback(match["host"].strip("[]")) and 0 < int(match["port"]) < 65536:
        return url
    if _LIVE_HOST.search(url):
        raise LiveHostRefused(f"this is the live brokerage; only paper trading is possible: use {paper[0]}")
    raise HostRefused(
        f"orders may not go to this address; use {paper[0]} or, for a local exchange, {example}"
    )


def _is_loopback(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False
