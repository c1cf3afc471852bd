"""What each process of the isolated topology is made of, on real servers: what it may not do is not there."""

from datetime import datetime, timedelta

import pytest
from pydantic import SecretStr

from market.clock import READING_AGE_MAX_SECONDS
from market.errors import ClockUnavailableError
from schemas.wire import Queue
from storage.database import Database
from storage.market import read_clock
from tests.servers.exchange import Exchange
from tests.servers.stack import WIDE_LIMITS, seed
from workers import temporal
from workers.clients import utc_now
from workers.housekeeping import Housekeeping
from workers.parts import build_execution, build_operations, build_risk
from workers.settings import ExecutionSettings, OperationsSettings, RiskSettings
from workers.stored_clock import StoredClock

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
    }


@pytest.fixture
async def told(database: str, temporal_addresses: temporal.Server, exchange: Exchange) -> dict[str, object]:
    """Settings for a database that has its limits."""
    await seed(database, "token", WIDE_LIMITS)
    return broker_settings(database, temporal_addresses, exchange)


async def test_only_execution_can_place_and_only_operations_stream(told: dict[str, object]) -> None:
    async with (
        build_operations(OperationsSettings.model_validate(told)) as operations,
        build_execution(ExecutionSettings.model_validate(told)) as execution,
    ):
        assert not hasattr(operations.broker, "place_order")
        assert hasattr(execution.broker, "place_order")
        assert operations.feeds
        assert not hasattr(execution, "feeds"), "the one stream of an account is the operations'"


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
