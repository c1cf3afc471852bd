"""The fixtures other tests stand on do what they say."""

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg
import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker

from tests.servers.exchange import ExchangeFactory

if TYPE_CHECKING:
    from temporalio.testing import TimeSkipper

# A year: no test could wait for it, and the server's clock for the workflow must have moved by it.
NAP = timedelta(days=365)


@workflow.defn(name="nap", sandboxed=False)
class Nap:
    @workflow.run
    async def run(self) -> str:
        before = workflow.now()
        await workflow.sleep(NAP)
        return "slept" if workflow.now() - before >= NAP else "woke early"


async def test_time_is_skipped(time_skipping_env: "TimeSkipper", unique: Callable[[str], str]) -> None:
    client, queue = time_skipping_env.client, unique("queue")
    async with Worker(client, task_queue=queue, workflows=[Nap]):
        assert await client.execute_workflow("nap", id=unique("nap"), task_queue=queue) == "slept"


async def test_time_stands_until_it_is_forwarded(
    time_skipping_env: "TimeSkipper", unique: Callable[[str], str]
) -> None:
    client, queue = time_skipping_env.client, unique("queue")
    async with Worker(client, task_queue=queue, workflows=[Nap]):
        with time_skipping_env.with_time_skipping_disabled():
            nap = await client.start_workflow("nap", id=unique("nap"), task_queue=queue)
        before = await time_skipping_env.get_current_time(nap)
        assert await time_skipping_env.fast_forward(nap, NAP / 2)
        assert NAP / 2 <= await time_skipping_env.get_current_time(nap) - before < NAP
        # False: the workflow ended before the whole of that time was over.
        assert not await time_skipping_env.fast_forward(nap, NAP)
        assert await nap.result() == "slept"


async def test_search_attributes_can_be_asked_for(
    temporal_server: Client, unique: Callable[[str], str]
) -> None:
    """How: the server refuses a query that names an attribute it does not know; other tests' runs are left out."""
    mine = f"WorkflowId = '{unique('none')}'"
    for query in ("Ticker = 'AAPL'", "OrderStatus = 'FILLED'", "Flags = 'UNKNOWN'", "Side = 'BUY'"):
        assert (await temporal_server.count_workflows(f"{query} AND {mine}")).count == 0
    with pytest.raises(RPCError):
        await temporal_server.count_workflows(f"Unregistered = 'x' AND {mine}")


class TestEachTestHasAFreshDatabase:
    """How: both tests make the same table; in a shared database the second would fail."""

    async def test_first(self, database: str) -> None:
        await self.make_table(database)

    async def test_second(self, database: str) -> None:
        await self.make_table(database)

    async def make_table(self, dsn: str) -> None:
        connection = await asyncpg.connect(dsn)
        assert await connection.fetchval("SELECT count(*) FROM schema_migrations") > 0
        await connection.execute("CREATE TABLE only_here (id int)")
        await connection.close()


async def test_exchange_keeps_its_address_and_ledger_over_a_kill(exchange_factory: ExchangeFactory) -> None:
    exchange = await exchange_factory(session="always_open", cash="5000")
    first, written = exchange.pid, exchange.ledger.read_bytes()
    await exchange.kill()
    await exchange.start()
    assert exchange.pid != first
    assert exchange.ledger.read_bytes().startswith(written)
