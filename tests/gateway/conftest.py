"""The real application on a real database; Temporal is real where it is the subject."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import httpx2
import pytest

from activities.starter import OrderStarter, TemporalUnavailable
from gateway.app import build_app
from gateway.deps import GatewayDeps
from schemas.risk import Limits, Proposal
from storage.database import Database
from storage.limits import save_limits
from storage.signals import save_token
from tests.gateway.streams import served
from tests.servers.postgres import fresh
from workers import postgres

if TYPE_CHECKING:
    import asyncpg

LIMITS = Limits.model_validate(
    {
        "max_order_notional": "50000",
        "max_order_quantity": "1000",
        "price_collar_pct": "2",
        "max_ticker_exposure_pct": "20",
        "max_gross_exposure_pct": "100",
        "max_strategy_exposure_pct": "60",
        "max_daily_loss_pct": "100",
        "max_drawdown_pct": "100",
        "max_open_orders": 100000,
        "max_orders_per_minute": 100000,
        "max_strategy_orders_per_minute": 100000,
        "max_repeated_executions": 100000,
        "repeated_executions_window_seconds": 60,
        "duplicate_window_seconds": 1,
    }
)
TOKEN = "token-of-momentum"
OTHER_TOKEN = "token-of-carry"
ANY_TOKEN = "token-of-anyone"


@dataclass
class RecordingStarter:
    """Stands for Temporal where it is not the subject: remembers what was asked for."""

    started: list[Proposal] = field(default_factory=list)
    down: bool = False

    async def start(self, proposal: Proposal) -> None:
        if self.down:
            raise TemporalUnavailable("connection refused")
        self.started.append(proposal)

    async def check(self) -> None:
        if self.down:
            raise TemporalUnavailable("connection refused")


@dataclass
class Gateway:
    """What a test of the gateway holds."""

    http: httpx2.AsyncClient
    database: Database
    starter: RecordingStarter
    deps: GatewayDeps

    async def submit(self, signal: dict[str, Any], token: str = TOKEN) -> httpx2.Response:
        return await self.http.post("/v1/signals", json=signal, headers=bearer(token))

    async def count(self, table: str) -> int:
        async with self.database.connection() as connection:
            return int(await connection.fetchval(f"select count(*) from {table}"))


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def signal(signal_id: str = "sig-1", **changes: Any) -> dict[str, Any]:
    """A good signal with ``changes``; a field set to ``...`` is left out."""
    whole = {
        "signal_id": signal_id,
        "strategy": "momentum",
        "ticker": "AAPL",
        "action": "BUY_TO_OPEN",
        "order_type": "LIMIT",
        "time_in_force": "DAY",
        "quantity": "10",
        "limit_price": "180.50",
        "created_at": datetime.now(UTC).isoformat(),
        **changes,
    }
    return {key: value for key, value in whole.items() if value is not ...}


@asynccontextmanager
async def gateway_on(dsn: str) -> AsyncIterator[Gateway]:
    """A gateway with limits, a token for ``momentum``, one for ``carry`` and one for any strategy."""
    pool = await Database.connect(dsn)
    now = datetime.now(UTC)
    async with pool.transaction("test") as connection:
        await save_token(connection, name="momentum", strategy="momentum", secret=TOKEN, now=now)
        await save_token(connection, name="carry", strategy="carry", secret=OTHER_TOKEN, now=now)
        await save_token(connection, name="anyone", strategy=None, secret=ANY_TOKEN, now=now)
        await save_limits(connection, LIMITS, author="test", reason="test", now=now)
    starter = RecordingStarter()
    deps = GatewayDeps(
        database=pool, dsn=dsn, starter=cast(OrderStarter, starter), render_metrics=lambda: b"up 1\n"
    )
    transport = httpx2.ASGITransport(app=build_app(deps), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as http:
        yield Gateway(http, pool, starter, deps)
    await pool.close()


@pytest.fixture
async def gateway(database: str) -> AsyncIterator[Gateway]:
    """A gateway on a database of its own."""
    async with gateway_on(database) as found:
        yield found


@pytest.fixture(scope="module")
async def shared_gateway(
    postgres_server: postgres.Server, _admin: "asyncpg.Connection", _migrated_template: str
) -> AsyncIterator[Gateway]:
    """One gateway for a whole module, for tests that must leave nothing behind."""
    async for dsn in fresh(postgres_server, _admin, _migrated_template):
        async with gateway_on(dsn) as found:
            yield found


@pytest.fixture
async def http(gateway: Gateway) -> AsyncIterator[httpx2.AsyncClient]:
    """Give a client of the gateway on a port of its own."""
    async with served(gateway) as client:
        yield client
