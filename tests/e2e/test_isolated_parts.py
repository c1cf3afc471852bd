"""What each process of the isolated topology is made of, on real servers: what it may not do is not there."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from market.clock import READING_AGE_MAX_SECONDS
from market.errors import ClockUnavailableError
from schemas.kill import KillCommand, KillScope
from schemas.wire import Queue
from storage.audit_sealing import read_head
from storage.database import Database
from storage.market import read_clock
from storage.switches import engage, read_state
from tests.servers.approvals import AUDIT_KEY, BOTH
from tests.servers.exchange import Exchange
from tests.servers.stack import WIDE_LIMITS, seed
from workers import temporal
from workers.clients import utc_now
from workers.datadir import free_port
from workers.housekeeping import Housekeeping
from workers.parts import build_execution, build_operations, build_risk
from workers.processes import run_execution, run_operations
from workers.settings import ExecutionSettings, OperationsSettings, RiskSettings
from workers.stored_clock import StoredClock
from workers.waiting import StoppedWaiting

AGREEMENT = timedelta(seconds=5)


def broker_settings(dsn: str, engine: temporal.Server, exchange: Exchange) -> dict[str, object]:
    """What execution and operations are told alike."""
    return {
        "database_url": SecretStr(dsn),
        "temporal_address": engine.address,
        "broker_trading_url": exchange.url,
        "broker_stream_url": f"{exchange.ws_url}/stream",
        "broker_key": SecretStr(exchange.key),
        "broker_secret": SecretStr(exchange.secret),
        "data_url": exchange.url,
        "data_stream_url": f"{exchange.ws_url}/v2/iex",
        "audit_key": SecretStr(AUDIT_KEY),
        "audit_target": "/dev/null/nowhere",
    }


@pytest.fixture
async def told(database: str, temporal_addresses: temporal.Server, exchange: Exchange) -> dict[str, object]:
    """Settings for a database that has its limits."""
    await seed(database, "token", WIDE_LIMITS)
    return broker_settings(database, temporal_addresses, exchange) | dict(BOTH)


async def test_only_execution_can_place_and_only_operations_stream(told: dict[str, object]) -> None:
    async with (
        build_operations(OperationsSettings.model_validate(told)) as operations,
        build_execution(ExecutionSettings.model_validate(told)) as execution,
    ):
        assert not hasattr(operations.broker, "place_order")
        assert hasattr(execution.broker, "place_order")
        assert operations.feeds
        assert not hasattr(execution, "feeds"), "the one stream of an account is the operations'"
        assert hasattr(execution, "approval_keys")
        assert not hasattr(operations, "approval_keys")
        assert not hasattr(execution, "signer"), "who places can approve nothing"


async def test_risk_tells_market_time_by_the_row_that_operations_keep(told: dict[str, object]) -> None:
    """How: no row, no time; after one look of operations the two clocks agree; too old a row is none."""
    settings = RiskSettings.model_validate(told)
    async with build_risk(settings) as risk:
        assert not hasattr(risk, "broker")
        with pytest.raises(ClockUnavailableError):
            await risk.clock.ensure_reading()
        async with build_operations(OperationsSettings.model_validate(told)) as operations:
            chores = Housekeeping(operations, starter=None, operations_queue=Queue.OPERATIONS)  # type: ignore[arg-type]
            await chores.keep_market_clock()
            await risk.clock.ensure_reading()
            now = utc_now()
            assert abs(risk.clock.at(now) - operations.clock.at(now)) < AGREEMENT
            stored = await stored_at(risk.database)
            await chores.keep_market_clock()
            assert await stored_at(risk.database) == stored, "a reading is stored once"
        late = stored + timedelta(seconds=READING_AGE_MAX_SECONDS + 1)
        with pytest.raises(ClockUnavailableError, match="61 s old"):
            await StoredClock(risk.database, now=lambda: late).get_clock()


async def stored_at(database: Database) -> datetime:
    async with database.connection() as connection:
        row = await read_clock(connection)
    assert row is not None
    return row.read_at


@pytest.mark.parametrize(
    ("run", "kind"), [(run_execution, ExecutionSettings), (run_operations, OperationsSettings)]
)
async def test_the_switch_is_swept_by_who_is_started_while_temporal_is_down(
    told: dict[str, object], run: Callable[..., Awaitable[None]], kind: Any
) -> None:
    """How: nothing listens at Temporal's address; the switch was engaged before the process started."""
    settings = kind.model_validate(
        told | {"temporal_address": f"127.0.0.1:{free_port()}", "metrics_port": free_port()}
    )
    rows = await Database.connect(settings.dsn)
    command = KillCommand(reason="drill", triggered_by="op", scope=KillScope.ALL)
    async with rows.transaction("test") as connection:
        await engage(connection, command, request_id="r1", now=utc_now(), component="Console")
    stop = asyncio.Event()
    running = asyncio.create_task(run(settings, stop))
    async with asyncio.timeout(60), rows.connection() as connection, httpx2.AsyncClient() as http:
        while not (state := await read_state(connection)).sweep_confirmed:
            assert not running.done(), running.exception()
            await asyncio.sleep(0.1)
        assert state.engaged
        while kind is OperationsSettings and not (await read_head(connection)).size:
            # The audit log is sealed meanwhile too.
            await asyncio.sleep(0.1)
        said = await http.get(f"http://127.0.0.1:{settings.metrics_port}/readyz")
        assert (said.status_code, said.json()["checks"]["database"]) == (503, "ok")
        assert said.json()["checks"]["temporal"] == "does not answer: TemporalUnavailable"
        stop.set()
        with suppress(StoppedWaiting):
            await running
    await rows.close()


async def test_who_waited_for_temporal_begins_when_it_answers(
    told: dict[str, object], temporal_addresses: temporal.Server
) -> None:
    """How: Temporal's address leads nowhere at first, then through to the server."""
    port = free_port()
    settings = ExecutionSettings.model_validate(
        told | {"temporal_address": f"127.0.0.1:{port}", "metrics_port": free_port()}
    )
    stop = asyncio.Event()
    running = asyncio.create_task(run_execution(settings, stop))
    async with asyncio.timeout(60), httpx2.AsyncClient() as http:
        assert await ready(http, settings.metrics_port, running) == 503
        host, _, behind = temporal_addresses.address.partition(":")
        async with await asyncio.start_server(through_to(host, int(behind)), "127.0.0.1", port):
            while await ready(http, settings.metrics_port, running) != 200:
                await asyncio.sleep(0.1)
            stop.set()
            await running


async def ready(http: httpx2.AsyncClient, port: int, running: "asyncio.Task[Any]") -> int:
    """What ``/readyz`` answers, once anything does."""
    while True:
        assert not running.done(), running.exception()
        with suppress(httpx2.TransportError):
            return (await http.get(f"http://127.0.0.1:{port}/readyz")).status_code
        await asyncio.sleep(0.05)


def through_to(host: str, port: int) -> Callable[..., Awaitable[None]]:
    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(host, port)
        await asyncio.gather(copy(reader, there_writer), copy(there_reader, writer))

    return connected
