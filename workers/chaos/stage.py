"""A whole installation in a temporary folder to make fault runs against: its processes, and the doors to it.

It is `trading up` in either topology, its supervisor included: a process that is killed comes back by itself.
Everything ends with the process that made it, however that ends.
"""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import httpx2

from risk.readiness import waits_for
from schemas.risk import Limits
from storage.limits import save_limits
from storage.reconciliation import read_readiness
from workers import embedded, postgres
from workers.chaos.doors import EXCHANGE_TIMEOUT_SECONDS, GATEWAY_TIMEOUT_SECONDS, ExchangeDoor, GatewayDoor
from workers.chaos.victims import GATEWAY, TEMPORAL, WORKERS, GivenUp, StageError, Victims
from workers.children import ChildSpec
from workers.datadir import DataDir, temporary_data_dir
from workers.isolated import IsolatedInstallation
from workers.up import Installation

if TYPE_CHECKING:
    from temporalio.client import Client

__all__ = ["Stage", "StageError", "staged"]

TRADING_WITHIN_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.05
STOP_GRACE_SECONDS: Final = 5.0
IDLE_SECONDS_MAX: Final = 2.0
"""A connection idle for longer may be closed by its server just as it is used again (uvicorn: after 5 s)."""
EXCHANGE_OPTIONS: Final = ("--requests-per-minute=6000",)
SETTINGS: Final[Mapping[str, str]] = {"TRADING_BROKER_REQUESTS_PER_MINUTE": "6000"}
"""The broker's limit, as the exchange is told."""
PRODUCT: Final = frozenset({*WORKERS, GATEWAY, embedded.CONSOLE, embedded.PRODUCT})

WIDE_LIMITS: Final[Mapping[str, Any]] = {
    "max_order_notional": "1000000",
    "max_order_quantity": "100000",
    "price_collar_pct": "2",
    "max_ticker_exposure_pct": "400",
    "max_strategy_exposure_pct": "400",
    "max_gross_exposure_pct": "400",
    "max_daily_loss_pct": "100",
    "max_drawdown_pct": "100",
    "max_open_orders": 100000,
    "max_orders_per_minute": 100000,
    "max_strategy_orders_per_minute": 100000,
    "max_repeated_executions": 100000,
    "repeated_executions_window_seconds": 60,
    "duplicate_window_seconds": 1,
}
"""Limits that do not get in the way."""


class Stage(Victims):
    """A running installation."""

    def __init__(self, installation: Installation, change: Callable[[ChildSpec], ChildSpec]) -> None:
        compact = installation.topology == "compact"
        super().__init__(change, compact=compact, exchange=installation.exchange)
        self.installation = installation
        self.addresses: dict[str, Any] = {}
        self._doors: tuple[GatewayDoor, ExchangeDoor] | None = None

    @property
    def data_dir(self) -> DataDir:
        return self.installation.data_dir

    @property
    def owner_dsn(self) -> str:
        """The database with its owner's rights: a secret."""
        return self.installation.owner_dsn

    @property
    def console_dsn(self) -> str:
        """The database as the command line sees it: a secret."""
        return str(self.addresses["database_url"])

    @property
    def temporal_address(self) -> str:
        return str(self.addresses["temporal_address"])

    @property
    def exchange_url(self) -> str:
        return str(self.addresses["exchange_url"])

    @property
    def exchange_headers(self) -> dict[str, str]:
        """What each request to the exchange must carry: secret."""
        keys = self.data_dir.keys
        return {
            "APCA-API-KEY-ID": (keys / "trading_broker_key").read_text().strip(),
            "APCA-API-SECRET-KEY": (keys / "trading_broker_secret").read_text().strip(),
        }

    @property
    def operator_key_file(self) -> Path:
        return Path(self.addresses["operator_key_file"])

    @property
    def gateway(self) -> GatewayDoor:
        assert self._doors is not None
        return self._doors[0]

    @property
    def exchange(self) -> ExchangeDoor:
        assert self._doors is not None
        return self._doors[1]

    @asynccontextmanager
    async def database(self) -> AsyncIterator["asyncpg.Connection[Any]"]:
        """A connection of the owner's. Raises OSError, asyncpg.PostgresError while the database is down."""
        connection = await asyncpg.connect(self.owner_dsn, timeout=10)
        try:
            yield connection
        finally:
            await connection.close()

    async def temporal_client(self) -> "Client":
        """A client of this process's own, with the product's converter."""
        from workers.clients import connect_temporal
        from workers.settings import TemporalSettings

        return await connect_temporal(TemporalSettings(temporal_address=self.temporal_address), "chaos")

    async def until_trading(self, *, seconds_max: float = TRADING_WITHIN_SECONDS) -> None:
        """Wait until an order would be placed: stream held, books compared.

        Raises:
            StageError: it was not within ``seconds_max``.
        """
        waits: str | None = "nothing was read"
        try:
            async with asyncio.timeout(seconds_max):
                while waits is not None:
                    with suppress(OSError, asyncpg.PostgresError):
                        async with self.database() as connection:
                            waits = waits_for(await read_readiness(connection), datetime.now(UTC))
                    if waits is not None:
                        await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise StageError(f"no order would be placed: {waits}") from None

    async def save_limits(self, limits: Mapping[str, Any]) -> None:
        """Put limits into force, as the next version."""
        checked = Limits.model_validate_json(json.dumps(dict(limits)))
        async with self.database() as connection, connection.transaction():
            await save_limits(
                connection, checked, author="trading chaos", reason="a fault run", now=datetime.now(UTC)
            )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everything started and watched until the end of the block, then stopped."""
        watching: asyncio.Task[None] | None = None
        async with self.supervisor:
            try:
                self.addresses = await self.installation.start(self.supervisor)
                watching = asyncio.create_task(self.supervisor.watch())
                async with self._doors_open():
                    yield
            finally:
                if watching is not None:
                    watching.cancel()
                    await asyncio.gather(watching, return_exceptions=True)
                for name in (*WORKERS, GATEWAY):
                    self.cont(name)
                await self.supervisor.stop_all(
                    self.installation.product, (self.installation.exchange,), (TEMPORAL,), (postgres.NAME,)
                )

    @asynccontextmanager
    async def _doors_open(self) -> AsyncIterator[None]:
        token = {"Authorization": f"Bearer {self.addresses['tokens'][embedded.DEMO_TOKEN]}"}
        limits = httpx2.Limits(keepalive_expiry=IDLE_SECONDS_MAX)
        gateway = httpx2.AsyncClient(
            base_url=self.addresses["gateway_url"],
            headers=token,
            timeout=GATEWAY_TIMEOUT_SECONDS,
            limits=limits,
        )
        exchange = httpx2.AsyncClient(
            base_url=self.exchange_url,
            headers=self.exchange_headers,
            timeout=EXCHANGE_TIMEOUT_SECONDS,
            limits=limits,
        )
        async with gateway, exchange:
            self._doors = GatewayDoor(gateway), ExchangeDoor(exchange)
            yield


@asynccontextmanager
async def staged(
    *,
    topology: str = "isolated",
    kind: type[Installation] | None = None,
    event_bus: str = "postgres",
    exchange_options: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    limits: Mapping[str, Any] = WIDE_LIMITS,
    commands: Mapping[str, Sequence[str]] | None = None,
    keep: Path | None = None,
    patience_seconds: float | None = None,
) -> AsyncIterator[Stage]:
    """A stage on which orders are being placed; it is taken down at the end of the block.

    ``kind``: another one than the topology's own. ``exchange_options``: beyond 6,000 requests a minute; the market
    is open. ``settings``: more ``TRADING_`` variables for every process of ours. ``secrets``: files for whoever
    holds a secret of that name, in place of what a first start makes. ``commands``: another command for a process
    of ours, by name.
    ``keep``: a folder that gets the logs and the exchange's ledger before they go.
    ``patience_seconds``: for a busy machine: how long each process may take to be ready, begun again where it ends,
    and then all of them to trade.

    Raises:
        SupervisorError, StageError: it did not come up.
        GivenUp: a StageError of the block.
    """

    def change(spec: ChildSpec) -> ChildSpec:
        if patience_seconds is not None:
            spec = replace(spec, ready_timeout_seconds=patience_seconds, retry_start_seconds=patience_seconds)
        if spec.name not in PRODUCT:
            return spec
        return replace(
            spec,
            env={**spec.env, **SETTINGS, **(settings or {})},
            argv=tuple((commands or {}).get(spec.name, spec.argv)),
            grace_seconds=STOP_GRACE_SECONDS,
        )

    kind = kind or (Installation if topology == "compact" else IsolatedInstallation)
    with temporary_data_dir() as data_dir:
        data_dir.keep_topology(kind.topology)
        for name, value in (secrets or {}).items():
            embedded.write_private(data_dir.keys / name, value)
        options = (*EXCHANGE_OPTIONS, *exchange_options)
        installation = kind(data_dir, exchange_options=options, as_json=True, event_bus=event_bus)
        stage = Stage(installation, change)
        try:
            async with stage.running():
                await stage.save_limits(limits)
                await stage.until_trading(seconds_max=patience_seconds or TRADING_WITHIN_SECONDS)
                try:
                    yield stage
                except StageError as error:
                    raise GivenUp(str(error)) from error
        finally:
            if keep is not None:
                _keep(data_dir, keep)


def _keep(data_dir: DataDir, folder: Path) -> None:
    shutil.copytree(data_dir.logs, folder, dirs_exist_ok=True)
    if data_dir.exchange_ledger.exists():
        shutil.copy(data_dir.exchange_ledger, folder)
