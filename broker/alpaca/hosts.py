"""The only places an order may go: Alpaca's paper account, a paper exchange beside us, and, with leave, live.

Beside us means: at a loopback address, or in a container network under the one name that
docker-compose.temporal.yml gives it.

An address is compared as text with what is allowed, so that no trick of spelling (user info, look-alike
host, extra path) has to be recognised.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from schemas.mode import Mode

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
    """This is the live brokerage, and live trading is not set up."""


@dataclass(frozen=True, slots=True)
class LiveHosts:
    """The two addresses of the live brokerage, in the one spelling that is taken. No setting changes them."""

    trading_url: str
    stream_url: str


ALPACA_LIVE: Final = LiveHosts("https://api.alpaca.markets", "wss://api.alpaca.markets/stream")


def mode_of(trading_url: str, stream_url: str, live: LiveHosts = ALPACA_LIVE) -> Mode:
    """Live where both addresses are the live brokerage's, paper where both are of one of the paper places.

    Raises:
        LiveHostRefused: one of them names the live brokerage in another way, or beside a paper place.
        HostRefused: one names any other place.
    """
    if (trading_url, stream_url) == (live.trading_url, live.stream_url):
        return Mode.LIVE
    if trading_url == live.trading_url or stream_url == live.stream_url:
        raise LiveHostRefused("orders and their updates go to the live brokerage together, or neither does")
    check_trading_url(trading_url)
    check_stream_url(stream_url)
    return Mode.PAPER


def check_trading_url(url: str) -> str:
    """Return ``url`` if REST calls for paper trading may go there.

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
