"""What is measured on: a whole installation in either topology, and the rivals beside it.

The plain pipeline of our steps has an installation of its own for each Temporal server: one tuned as ours is, one
as `temporal server start-dev` starts it, in memory. The floors and the commits alone need less: two processes, one
at the installation's Temporal server, one at the stock one, with one database and a paper exchange of their own, so
that their orders' updates do not reach the product's account and make work there.
"""

import asyncio
import itertools
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import httpx2
from temporalio.client import Client

from benchmarks.names import PLAIN_STOCK, PLAIN_TUNED
from simulation.settings import synthetic_symbols
from workers import embedded, temporal
from workers.chaos.doors import EXCHANGE_TIMEOUT_SECONDS, ExchangeDoor
from workers.chaos.stage import IDLE_SECONDS_MAX, Stage, staged
from workers.children import ChildSpec
from workers.datadir import DataDir, free_port
from workers.up import Installation

REPOSITORY: Final = Path(__file__).parents[1]
TICKERS: Final = 20
REQUESTS_PER_MINUTE: Final = 1_000_000
EXCHANGE_OPTIONS: Final = (
    f"--tickers={TICKERS}", f"--requests-per-minute={REQUESTS_PER_MINUTE}", "--cash=100000000",
)  # fmt: skip
RIVALS: Final = "rivals"
TUNED: Final = "rivals-tuned"
STOCK: Final = "rivals-stock"
RIVAL_EXCHANGE: Final = "rivals-exchange"
HTTP_TIMEOUT_SECONDS: Final = 30.0
PATIENCE_SECONDS: Final = 300.0
"""For each process to be ready, begun again where its first request came too late: what runs beside other things is
slow."""


class OnStockServer(Installation):
    """With Temporal as it comes, in memory."""

    def temporal_spec(self, engine: temporal.Server) -> ChildSpec:
        log_path = self.data_dir.log(temporal.NAME)
        return temporal.spec(replace(engine, db_file=None), log_path=log_path, fast=False)


PLAIN_KINDS: Final = {PLAIN_TUNED: Installation, PLAIN_STOCK: OnStockServer}
PLAIN_COMMANDS: Final = {embedded.PRODUCT: (sys.executable, "-m", "benchmarks.plain_product")}


@dataclass(frozen=True)
class Site:
    """One installation, with a client of its Temporal server."""

    stage: Stage
    client: Client
    numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)
    """Of its orders, whichever part sends them: the same content again too soon is refused."""


@dataclass(frozen=True)
class Rig:
    """Everything that runs, and the ways in. The rivals' are missing where none were asked for."""

    stage: Stage
    topology: str
    client: Client
    """Of the installation's Temporal server."""
    started_seconds: float
    """From nothing to an installation that places orders."""
    tickers: tuple[str, ...] = tuple(each.symbol for each in synthetic_symbols(TICKERS))
    plain: Mapping[str, Site] = field(default_factory=dict)
    """The installations of the plain pipeline of our steps, by the contender's name."""
    tuned: httpx2.AsyncClient | None = field(default=None, repr=False)
    stock: httpx2.AsyncClient | None = field(default=None, repr=False)
    rival_exchange: ExchangeDoor | None = None
    numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)
    """Of the orders of ours, as a site's."""


@asynccontextmanager
async def rig(topology: str, *, rivals: bool = True, trace_file: Path | None = None) -> AsyncIterator[Rig]:
    """Start everything in a temporary folder, stop and delete everything at the end.

    With ``trace_file`` the product writes its spans there, which costs it a little time of its own.
    """
    settings = {"TRADING_BROKER_REQUESTS_PER_MINUTE": str(REQUESTS_PER_MINUTE)}
    if trace_file is not None:
        settings["TRADING_TRACE_FILE"] = str(trace_file)
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(
            staged(
                topology=topology,
                exchange_options=EXCHANGE_OPTIONS,
                settings=settings,
                patience_seconds=PATIENCE_SECONDS,
            )
        )
        found = Rig(stage, topology, await stage.temporal_client(), round(time.monotonic() - began, 2))
        yield found if not rivals else await _with_rivals(found, stack, settings)


async def _with_rivals(found: Rig, stack: AsyncExitStack, settings: Mapping[str, str]) -> Rig:
    plain = {name: await _plain(kind, stack, settings) for name, kind in PLAIN_KINDS.items()}
    starting = _Starting(found.stage)
    exchange_url = await starting.exchange()
    tuned, stock = await asyncio.gather(
        starting.process(TUNED, found.stage.temporal_address, exchange_url),
        starting.process(STOCK, plain[PLAIN_STOCK].stage.temporal_address, exchange_url),
    )
    keys = found.stage.exchange_headers
    exchange = await stack.enter_async_context(_client(exchange_url, keys, EXCHANGE_TIMEOUT_SECONDS))
    return replace(
        found,
        plain=plain,
        tuned=await stack.enter_async_context(_client(tuned)),
        stock=await stack.enter_async_context(_client(stock)),
        rival_exchange=ExchangeDoor(exchange),
    )


async def _plain(kind: type[Installation], stack: AsyncExitStack, settings: Mapping[str, str]) -> Site:
    stage = await stack.enter_async_context(
        staged(
            topology=kind.topology,
            kind=kind,
            exchange_options=EXCHANGE_OPTIONS,
            settings=settings,
            commands=PLAIN_COMMANDS,
            patience_seconds=PATIENCE_SECONDS,
        )
    )
    return Site(stage, await stage.temporal_client())


class _Starting:
    """Brings the rivals' servers up, as children of the installation's supervisor."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._logs = stage.data_dir
        self._folder = DataDir(stage.data_dir.root / RIVALS)
        self._folder.prepare()
        for name in (embedded.BROKER_KEY, embedded.BROKER_SECRET):
            shutil.copy(stage.data_dir.keys / name, self._folder.keys / name)
        embedded.write_private(self._folder.keys / "trading_database_url", stage.owner_dsn)

    async def exchange(self) -> str:
        """The rivals' own, with the same keys and settings; its address."""
        ports = embedded.Ports(exchange=free_port(), gateway=0)
        spec = embedded.exchange_spec(self._folder, ports, EXCHANGE_OPTIONS, keys=self._folder.keys)
        log = self._logs.log(RIVAL_EXCHANGE)
        await self._stage.supervisor.start(replace(spec, name=RIVAL_EXCHANGE, log_path=log))
        return ports.exchange_url

    async def process(self, name: str, temporal_address: str, exchange_url: str) -> str:
        """The rivals on one server; the address of their door."""
        ports = embedded.Ports(exchange=0, gateway=free_port())
        like = embedded.product_spec(self._folder, ports, temporal_address=temporal_address)
        spec: ChildSpec = replace(
            like,
            name=name,
            argv=(sys.executable, "-m", "benchmarks.rivals"),
            log_path=self._logs.log(name),
            cwd=REPOSITORY,
            ready_timeout_seconds=PATIENCE_SECONDS,
            retry_start_seconds=PATIENCE_SECONDS,
            env={
                "TRADING_SECRETS_DIR": str(self._folder.keys),
                "TRADING_TEMPORAL_ADDRESS": temporal_address,
                "TRADING_BROKER_TRADING_URL": exchange_url,
                "TRADING_BROKER_STREAM_URL": exchange_url.replace("http", "ws", 1) + "/stream",
                "TRADING_GATEWAY_PORT": str(ports.gateway),
            },
        )
        await self._stage.supervisor.start(spec)
        return ports.gateway_url


def _client(
    url: str, headers: dict[str, str] | None = None, timeout: float = HTTP_TIMEOUT_SECONDS
) -> httpx2.AsyncClient:
    # Older connections may be closed by their server just as they are used again.
    limits = httpx2.Limits(keepalive_expiry=IDLE_SECONDS_MAX)
    return httpx2.AsyncClient(
        base_url=url, headers=headers or {}, timeout=timeout, limits=limits, trust_env=False
    )
