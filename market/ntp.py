"""Asking time servers, each in a thread of its own: a request blocks, and so does the name's resolution."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Final

from observability.logging import get_logger
from risk.clock_sync import NtpAnswer

ANSWER_SECONDS: Final = 2.0
"""For one packet there and back."""
ALL_SECONDS: Final = 4.0
"""For all servers together, the resolution of their names included."""
ECHO_MAX_SECONDS: Final = 0.001
"""A server repeats the moment that we have sent; NTP's own rounding is finer than this."""
VERSION: Final = 4
PORT: Final = 123

_log = get_logger(__name__)


class NtpServers:
    """A few servers, asked at once. Close it."""

    def __init__(self, servers: Sequence[str]) -> None:
        """``HOST`` or ``HOST:PORT`` each."""
        self._servers = tuple(servers)
        self._threads = ThreadPoolExecutor(max(len(self._servers), 1), thread_name_prefix="ntp")

    @property
    def asked(self) -> int:
        """How many there are."""
        return len(self._servers)

    async def ask(self) -> list[NtpAnswer]:
        """What those said that answered in time."""
        if not self._servers:
            return []
        loop = asyncio.get_running_loop()
        asking = [loop.run_in_executor(self._threads, _ask, server) for server in self._servers]
        done, late = await asyncio.wait(asking, timeout=ALL_SECONDS)
        for each in late:
            each.cancel()
        found = [answer for each in asking if each in done and (answer := each.result()) is not None]
        if len(found) < self.asked:
            _log.info("time servers did not answer", answered=len(found), asked=self.asked)
        return found

    def close(self) -> None:
        """Ask no more; a thread that hangs in a name's resolution is left to itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _ask(server: str) -> NtpAnswer | None:
    """One exchange of packets; None for whatever is no answer to it."""
    import ntplib

    host, port = address_of(server)
    before = time.time()
    try:
        said = ntplib.NTPClient().request(host, version=VERSION, port=port, timeout=ANSWER_SECONDS)
    except (OSError, ntplib.NTPException, ValueError):
        return None
    after = time.time()
    if not before - ECHO_MAX_SECONDS <= said.orig_time <= after + ECHO_MAX_SECONDS:
        return None  # An answer to a question that we have not asked.
    return NtpAnswer(
        server=server,
        offset=timedelta(seconds=said.offset),
        delay=timedelta(seconds=said.delay),
        stratum=said.stratum,
        leap=said.leap,
        distance=timedelta(seconds=said.root_delay / 2 + said.root_dispersion),
    )


def address_of(server: str) -> tuple[str, int]:
    """Host and port of ``HOST``, ``HOST:PORT``, ``[IPV6]`` or ``[IPV6]:PORT``."""
    if server.startswith("["):
        host, _, rest = server[1:].partition("]")
        return host, int(rest[1:] or PORT)
    host, _, port = server.partition(":")
    return host, int(port or PORT)
