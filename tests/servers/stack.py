"""The whole product inside the test's own process, on real servers: gateway, workers, housekeeping."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

from risk.readiness import waits_for
from schemas import wire
from schemas.risk import Limits
from storage.database import Database
from storage.limits import save_limits
from storage.reconciliation import read_readiness
from storage.signals import save_token
from tests.servers.approvals import AUDIT_KEY, BOTH
from tests.servers.exchange import Exchange, ExchangeFactory
from workers import temporal
from workers.compact import run_everything
from workers.datadir import free_port
from workers.parts import Parts, build, utc_now
from workers.settings import WorkerSettings

WIDE_LIMITS = {
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
FAST_BROKER = 1_000_000
"""Requests a minute, where a test is not about the limit."""
SETTLED_WITHIN_SECONDS = 60
POLL_SECONDS = 0.05


@dataclass
class Stack:
    """A running product and the doors to it."""

    dsn: str
    exchange: Exchange
    temporal: temporal.Server
    parts: Parts
    http: httpx2.AsyncClient
    token: str
    settings: WorkerSettings
    exchange_http: httpx2.AsyncClient = field(repr=False)
    running: "asyncio.Task[None]" = field(repr=False)
    """Ends with the product, long before the test where something is wrong."""

    @property
    def client(self) -> Client:
        return self.parts.client

    async def submit(self, signal: dict[str, Any]) -> httpx2.Response:
        """POST one signal."""
        return await self.http.post("/v1/signals", json=signal)

    async def signal(self, signal_id: str) -> dict[str, Any]:
        """GET one signal."""
        answer = await self.http.get(f"/v1/signals/{signal_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def until(self, signal_id: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Ask until the signal's order is as wanted; fails with the last answer."""
        order: dict[str, Any] = {}
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLED_WITHIN_SECONDS):
                while not wanted(order := (await self.signal(signal_id))["order"]):
                    await asyncio.sleep(POLL_SECONDS)
                return order
        pytest.fail(f"{signal_id} did not get there: {json.dumps(order, indent=2)}")

    async def settled(self, signal_id: str) -> dict[str, Any]:
        """Wait for the settled outcome."""
        return await self.until(signal_id, lambda order: bool(order["settled"]))

    def workflow(self, signal_id: str) -> WorkflowHandle[Any, Any]:
        return self.client.get_workflow_handle(wire.order_workflow_id(signal_id))

    async def ledger(self) -> dict[str, Any]:
        """The exchange's own account of what it was asked and did: the judge."""
        answer = await self.exchange_http.get("/_exchange/ledger/summary")
        found: dict[str, Any] = answer.json()
        return found

    async def control(self, path: str, body: dict[str, Any]) -> None:
        """Order something of the exchange: a fault, a quote."""
        answer = await self.exchange_http.post(f"/_exchange/{path}", json=body)
        assert answer.is_success, answer.text


def signal(signal_id: str, **fields: Any) -> dict[str, Any]:
    """A valid signal as a strategy would send it."""
    return {
        "signal_id": signal_id,
        "strategy": "momentum",
        "ticker": "AAPL",
        "action": "BUY_TO_OPEN",
        "order_type": "MARKET",
        "time_in_force": "DAY",
        "quantity": "10",
        "created_at": datetime.now(UTC).isoformat(),
        **fields,
    }


StackFactory = Callable[..., Awaitable[Stack]]


@asynccontextmanager
async def products(
    database: str, temporal_addresses: temporal.Server, start_exchange: ExchangeFactory
) -> AsyncIterator[StackFactory]:
    """A function that starts the product on these servers; everything ends with the block."""
    async with AsyncExitStack() as running:

        async def start(
            *,
            limits: dict[str, Any] | None = None,
            topology: str = "compact",
            ours: dict[str, Any] | None = None,
            **options: Any,
        ) -> Stack:
            exchange = await start_exchange(**{"requests_per_minute": 100_000, **options})
            outside = running.enter_context(TemporaryDirectory())
            settings = settings_for(
                database, temporal_addresses, exchange, topology, **{"audit_target": outside, **(ours or {})}
            )
            token = secrets.token_hex(16)
            await seed(database, token, limits or WIDE_LIMITS)
            return await running.enter_async_context(
                _running(database, temporal_addresses, exchange, settings, token)
            )

        yield start


@pytest.fixture
async def stack_factory(
    database: str, temporal_addresses: temporal.Server, exchange_factory: ExchangeFactory
) -> AsyncIterator[StackFactory]:
    """Give a function that starts the product.

    ``await stack_factory(topology="isolated", limits={...}, ours={"reconcile_pause_seconds": 0.1}, tickers=10)``:
    what is no setting of ours goes to the exchange. Everything ends with the test.
    """
    async with products(database, temporal_addresses, exchange_factory) as start:
        yield start


@pytest.fixture
async def stack(stack_factory: StackFactory) -> Stack:
    """Give the product in the compact topology, with limits that do not get in the way."""
    return await stack_factory()


def settings_for(
    dsn: str, engine: temporal.Server, exchange: Exchange, topology: str = "compact", **ours: Any
) -> WorkerSettings:
    """What a worker is told at its start, for these servers."""
    ours.setdefault("broker_requests_per_minute", FAST_BROKER)
    return WorkerSettings(
        database_url=SecretStr(dsn),
        temporal_address=engine.address,
        topology=topology,  # type: ignore[arg-type]
        broker_trading_url=exchange.url,
        broker_stream_url=f"{exchange.ws_url}/stream",
        broker_key=SecretStr(exchange.key),
        broker_secret=SecretStr(exchange.secret),
        data_url=exchange.url,
        data_stream_url=f"{exchange.ws_url}/v2/iex",
        secondary_data_url=exchange.url,
        secondary_data_stream_url=f"{exchange.ws_url}/v2/sip",
        gateway_port=free_port(),
        audit_key=SecretStr(AUDIT_KEY),
        **{**BOTH, **ours},
    )


async def seed(dsn: str, token: str, limits: dict[str, Any]) -> None:
    """A token and limits, as `trading up` gives a fresh installation."""
    rows = await Database.connect(dsn)
    now = datetime.now(UTC)
    async with rows.transaction("test") as connection:
        await save_token(connection, name="test", strategy=None, secret=token, now=now)
        await save_limits(
            connection, Limits.model_validate_json(json.dumps(limits)), author="test", reason="test", now=now
        )
    await rows.close()


@asynccontextmanager
async def _running(
    dsn: str, engine: temporal.Server, exchange: Exchange, settings: WorkerSettings, token: str
) -> AsyncIterator[Stack]:
    stop = asyncio.Event()
    gateway = httpx2.AsyncClient(
        base_url=f"http://127.0.0.1:{settings.gateway_port}",
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
    )
    judge = httpx2.AsyncClient(base_url=exchange.url, headers=exchange.headers, timeout=30)
    async with gateway, judge, build(settings) as parts:
        running = asyncio.create_task(run_everything(parts, stop))
        try:
            await _until_ready(gateway, running)
            await _until_reconciled(parts, running)
            yield Stack(dsn, exchange, engine, parts, gateway, token, settings, judge, running)
        finally:
            stop.set()
            await running
            await _end_workflows(parts.client)


async def _until_ready(gateway: httpx2.AsyncClient, running: "asyncio.Task[None]") -> None:
    async with asyncio.timeout(30):
        while True:
            if running.done():
                running.result()
            with suppress(httpx2.TransportError):
                if (await gateway.get("/readyz")).status_code == 200:
                    return
            await asyncio.sleep(POLL_SECONDS)


async def _until_reconciled(parts: Parts, running: "asyncio.Task[None]") -> None:
    """The first order would wait for it, and be placed at its second try."""
    async with asyncio.timeout(30):
        while not running.done():
            async with parts.database.connection() as connection:
                books = await read_readiness(connection)
            if waits_for(books, utc_now()) is None:
                return
            await asyncio.sleep(POLL_SECONDS)


async def _end_workflows(client: Client) -> None:
    """The next test's singletons and Schedules are its own."""
    for name in (wire.SCHEDULE_RECONCILIATION, wire.SCHEDULE_RETENTION):
        with suppress(RPCError):
            await client.get_schedule_handle(name).delete(rpc_timeout=timedelta(seconds=5))
    async for workflow in client.list_workflows("ExecutionStatus = 'Running'"):
        with suppress(RPCError):
            await client.get_workflow_handle(workflow.id).terminate(
                "end of test", rpc_timeout=timedelta(seconds=5)
            )
