"""What the benchmark measures on: one PostgreSQL, one Temporal, the product, and the yardstick beside it.

The yardstick has a paper exchange of its own with the same settings, so that its orders' updates do not reach
the product's account and make work there.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2

from workers import embedded, postgres, temporal
from workers.children import ChildSpec
from workers.datadir import DataDir, free_port, temporary_data_dir
from workers.market_options import requests_per_minute
from workers.supervisor import Supervisor

REPOSITORY = Path(__file__).parents[1]
EXCHANGE_OPTIONS = ("--requests-per-minute=1000000", "--cash=100000000")
BARE = "bare"
BARE_EXCHANGE = "bare-exchange"
HTTP_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Rig:
    """Everything that runs, and the ways in."""

    dsn: str
    temporal_address: str
    product: httpx2.AsyncClient = field(repr=False)
    bare: httpx2.AsyncClient = field(repr=False)
    exchange: httpx2.AsyncClient = field(repr=False)
    bare_exchange: httpx2.AsyncClient = field(repr=False)
    trace_file: Path
    pids: dict[str, int]
    """The measured processes' own, by the supervisor's names."""

    def cpu_ms(self, name: str) -> float:
        """Processor time that a process has used so far, all threads, in steps of 10 ms; 0 outside Linux."""
        try:
            fields = Path(f"/proc/{self.pids[name]}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) * 1_000 / os.sysconf("SC_CLK_TCK")  # proc(5): utime, stime


@asynccontextmanager
async def rig(*, spans: bool) -> AsyncIterator[Rig]:
    """Start everything in a temporary folder, stop and delete everything at the end.

    With ``spans`` the product writes its trace, which costs it a little time of its own.
    """
    with temporary_data_dir() as data_dir:
        async with Supervisor() as supervisor:
            starting = _Starting(data_dir, supervisor)
            async with starting.clients(await starting.start(spans=spans)) as ready:
                yield ready
            await supervisor.stop_all((embedded.PRODUCT, BARE))


@dataclass(frozen=True)
class _Addresses:
    dsn: str
    temporal_address: str
    ports: embedded.Ports
    bare_ports: embedded.Ports


class _Starting:
    """Brings the servers up side by side."""

    def __init__(self, data_dir: DataDir, supervisor: Supervisor) -> None:
        self._data_dir = data_dir
        self._supervisor = supervisor
        self._known = embedded.read_secrets(data_dir)
        self.trace_file = data_dir.root / "trace.jsonl"

    async def start(self, *, spans: bool) -> _Addresses:
        """Start every server, then both processes that are measured."""
        data_dir = self._data_dir
        engine = temporal.Server(db_file=data_dir.temporal_db)
        ports = embedded.choose_ports(data_dir)
        bare_ports = embedded.Ports(exchange=free_port(), gateway=free_port())
        bare_exchange = replace(
            embedded.exchange_spec(self._second_folder(), bare_ports, EXCHANGE_OPTIONS, keys=data_dir.keys),
            name=BARE_EXCHANGE,
            log_path=data_dir.log(BARE_EXCHANGE),
        )
        dsn, *_ = await asyncio.gather(
            self._start_database(),
            self._supervisor.start(temporal.spec(engine, log_path=data_dir.log(temporal.NAME))),
            self._supervisor.start(embedded.exchange_spec(data_dir, ports, EXCHANGE_OPTIONS)),
            self._supervisor.start(bare_exchange),
        )
        embedded.write_private(data_dir.keys / "trading_database_url", dsn)
        extra = {"TRADING_BROKER_REQUESTS_PER_MINUTE": requests_per_minute(EXCHANGE_OPTIONS)}
        if spans:
            extra["TRADING_TRACE_FILE"] = str(self.trace_file)
        product = embedded.product_spec(data_dir, ports, temporal_address=engine.address, extra=extra)
        await self._supervisor.start(product)
        await self._supervisor.start(self._bare_spec(bare_ports, engine.address))
        return _Addresses(dsn, engine.address, ports, bare_ports)

    def _second_folder(self) -> DataDir:
        second = DataDir(self._data_dir.root / BARE)
        second.prepare()
        return second

    def _bare_spec(self, ports: embedded.Ports, temporal_address: str) -> ChildSpec:
        like = embedded.product_spec(self._data_dir, ports, temporal_address=temporal_address)
        return replace(
            like,
            name=BARE,
            argv=(sys.executable, "-m", "benchmarks.bare"),
            log_path=self._data_dir.log(BARE),
            cwd=REPOSITORY,
        )

    async def _start_database(self) -> str:
        server = await postgres.initialise(self._data_dir.postgres)
        await self._supervisor.start(postgres.spec(server, log_path=self._data_dir.log(postgres.NAME)))
        dsn = await postgres.ensure_database(server)
        await embedded.seed(self._data_dir, dsn, self._known)
        return dsn

    @asynccontextmanager
    async def clients(self, found: _Addresses) -> AsyncIterator[Rig]:
        """One HTTP client with a kept connection for each door."""
        known = self._known
        keys = {"APCA-API-KEY-ID": known.broker_key, "APCA-API-SECRET-KEY": known.broker_secret}
        async with (
            _client(found.ports.gateway_url, {"Authorization": f"Bearer {known.token}"}) as product,
            _client(found.bare_ports.gateway_url, {}) as bare,
            _client(found.ports.exchange_url, keys) as exchange,
            _client(found.bare_ports.exchange_url, keys) as bare_exchange,
        ):
            yield Rig(
                dsn=found.dsn,
                temporal_address=found.temporal_address,
                product=product,
                bare=bare,
                exchange=exchange,
                bare_exchange=bare_exchange,
                trace_file=self.trace_file,
                pids=self._supervisor.pids,
            )


def _client(url: str, headers: dict[str, Any]) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=url, headers=headers, timeout=HTTP_TIMEOUT_SECONDS, trust_env=False)
