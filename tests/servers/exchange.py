"""Paper exchanges as child processes: each test gets its own, with the settings it names."""

import asyncio
import http.client
import json
import os
import secrets
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.servers.processes import REPOSITORY
from tests.servers.session import Servers
from workers.children import log_tail
from workers.datadir import free_port
from workers.supervisor import ChildSpec, Supervisor

HTTP_TIMEOUT_SECONDS = 2.0
LOG_LINES = 200


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A running paper exchange; the same address, keys and ledger after a restart."""

    supervisor: Supervisor = field(repr=False)
    spec: ChildSpec = field(repr=False)
    folder: Path
    port: int
    key: str
    secret: str = field(repr=False)
    url: str = ""
    ws_url: str = ""
    ledger: Path = Path()

    @property
    def pid(self) -> int:
        """The exchange's own process id."""
        return self.supervisor.pids[self.spec.name]

    @property
    def headers(self) -> dict[str, str]:
        """What each request must carry."""
        return {"APCA-API-KEY-ID": self.key, "APCA-API-SECRET-KEY": self.secret}

    async def start(self) -> None:
        """Start it (again), on the same ledger."""
        await self.supervisor.start(self.spec)

    async def stop(self) -> None:
        """Stop it in order."""
        await self.supervisor.stop(self.spec.name)

    async def kill(self) -> None:
        """Kill -9; it stays down until `start`."""
        os.kill(self.pid, signal.SIGKILL)
        await self.stop()


ExchangeFactory = Callable[..., Awaitable[Exchange]]


@asynccontextmanager
async def exchanges(servers: Servers) -> AsyncIterator[ExchangeFactory]:
    """A function that starts an exchange; all are stopped at the end of the block."""
    started: list[str] = []

    async def start(**settings: Any) -> Exchange:
        name = f"exchange-{uuid.uuid4().hex[:8]}"
        started.append(name)
        return await _start(servers, name, settings)

    try:
        yield start
    finally:
        await asyncio.gather(*(servers.supervisor.stop(name) for name in started))


@pytest.fixture
async def exchange_factory(servers: Servers) -> AsyncIterator[ExchangeFactory]:
    """Give a function that starts an exchange; settings are the options of ``python -m workers.exchange``.

    ``await exchange_factory(cash="5000", symbol=['{"symbol": "ABC", "price": "12.50"}'])``: underscores
    become dashes, a list repeats the option. All are stopped at the end of the test.
    """
    async with exchanges(servers) as start:
        yield start


@pytest.fixture
async def exchange(exchange_factory: ExchangeFactory) -> Exchange:
    """Give an exchange whose market is always open, with every other setting as it comes."""
    return await exchange_factory(session="always_open")


def _announced(log: Path) -> str:
    """The newest line in which the exchange told its addresses; it may listen a moment before it tells."""
    return next((line for line in reversed(log_tail(log, LOG_LINES)) if '"ready"' in line), "")


async def _start(servers: Servers, name: str, settings: dict[str, Any]) -> Exchange:
    folder = servers.data_dir.root / "exchanges" / name
    key, secret, port = f"PK{secrets.token_hex(9).upper()}", secrets.token_hex(20), free_port()
    given = {"data_dir": str(folder), "port": port, **settings}
    options = [part for option, value in given.items() for part in _option(option, value)]
    log = servers.data_dir.log(name)

    async def ready() -> str | None:
        return await asyncio.to_thread(_not_ready, exchange) or (None if _announced(log) else "not announced")

    spec = ChildSpec(
        name=name,
        argv=(sys.executable, "-m", "workers.exchange", *options),
        log_path=log,
        env={"EXCHANGE_KEY": key, "EXCHANGE_SECRET": secret},
        cwd=REPOSITORY,
        ready=ready,
        advice="read the log; the settings are the options of: python -m workers.exchange --help",
    )
    exchange = Exchange(
        supervisor=servers.supervisor, spec=spec, folder=folder, port=port, key=key, secret=secret
    )
    await exchange.start()
    announced = json.loads(_announced(log))
    return replace(
        exchange, url=announced["url"], ws_url=announced["ws_url"], ledger=Path(announced["ledger"])
    )


def _option(name: str, value: Any) -> Iterable[str]:
    flag = f"--{name.replace('_', '-')}"
    values = value if isinstance(value, (list, tuple)) else [value]
    return [part for each in values for part in (flag, str(each))]


def _not_ready(exchange: Exchange) -> str | None:
    connection = http.client.HTTPConnection("127.0.0.1", exchange.port, timeout=HTTP_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/v2/clock", headers=exchange.headers)
        status = connection.getresponse().status
    except http.client.HTTPException as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    return None if status == http.client.OK else f"/v2/clock answers {status}"
