"""Real time servers: chronyd on loopback, one that tells the truth, and ones whose whole clock is set wrong."""

import asyncio
import shutil
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from market.ntp import NtpServers
from tests.servers.session import Servers, unavailable
from workers.supervisor import ChildSpec

CHRONYD = "/usr/sbin/chronyd"
FAKETIME = "/usr/bin/faketime"


@dataclass
class TimeServer:
    """One chronyd: the same address whatever time it tells."""

    servers: Servers
    name: str
    port: int
    folder: Path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def tell(self, offset: str | None) -> None:
        """Start it (again); with an offset it lives in a time that far off, as with a wrong clock."""
        await self.servers.supervisor.stop(self.name)
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "chrony.conf"
        config.write_text(
            f"port {self.port}\nbindaddress 127.0.0.1\nlocal stratum 1\nallow 127.0.0.1\ncmdport 0\n"
            f"bindcmdaddress /\npidfile {self.folder}/chronyd.pid\n"
        )
        faked = () if offset is None else (FAKETIME, "-f", offset)
        spec = ChildSpec(
            name=self.name,
            argv=(*faked, CHRONYD, "-x", "-d", "-U", "-f", str(config)),
            log_path=self.servers.data_dir.log(self.name),
            ready=self._ready,
            advice="make install-servers",
        )
        await self.servers.supervisor.start(spec)

    async def stop(self) -> None:
        await self.servers.supervisor.stop(self.name)

    async def _ready(self) -> str | None:
        asking = NtpServers([self.address])
        try:
            return None if await asking.ask() else "no answer"
        finally:
            asking.close()


TimeServers = Callable[..., Awaitable[list[TimeServer]]]


@pytest.fixture
async def time_servers(servers: Servers) -> AsyncIterator[TimeServers]:
    """Give a function that starts time servers: ``await time_servers(None, None, "+5s")``."""
    for program in (CHRONYD, FAKETIME):
        if shutil.which(program) is None:
            unavailable(f"{program} is missing: make install-servers")
    started: list[TimeServer] = []

    async def start(*offsets: str | None) -> list[TimeServer]:
        made = []
        for _ in offsets:
            name = f"ntp-{uuid.uuid4().hex[:8]}"
            made.append(TimeServer(servers, name, _free_port(), servers.data_dir.root / "ntp" / name))
        started.extend(made)
        await asyncio.gather(*(each.tell(offset) for each, offset in zip(made, offsets, strict=True)))
        return made

    yield start
    await asyncio.gather(*(each.stop() for each in started))


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
