"""A bus of each adapter on real servers, with its relay, and what a case asks of them."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import asyncpg
import pytest

from events import port, redis_bus, redis_feed, serving
from events.port import Batch, Consumer, Delivery, EventBus
from events.postgres_bus import PostgresBus
from events.redis_bus import RedisBus
from events.redis_feed import RedisFeed
from events.serving import serve
from observability.metrics import Metrics
from storage import bus
from tests.postgres.outbox import status_event, write
from workers import relay
from workers.relay import Relay

ENOUGH_SECONDS = 30
LEASE_SECONDS = 0.4
"""Of a consumer that dies; the others' is the product's."""
NUMBER = '"row_version":'


class Venue:
    """One adapter: its bus, and the rows behind it."""

    def __init__(self, adapter: str, dsn: str, redis_url: str, judge: "asyncpg.Connection") -> None:
        self.adapter = adapter
        self.dsn = dsn
        self.redis_url = redis_url
        self.judge = judge
        self.metrics = Metrics()
        self.publishing: asyncio.Task[None] | None = None
        """What brings events to the bus."""
        self._names = itertools.count()

    def bus(self, *, lease_seconds: float = 30) -> EventBus:
        if self.adapter == "redis":
            return RedisBus(self.redis_url, lease_seconds=lease_seconds)
        return PostgresBus(self.dsn, lease_seconds=lease_seconds)

    @asynccontextmanager
    async def consumer(self, group: str = "g", *, lease_seconds: float = 30) -> AsyncIterator[Consumer]:
        """One more consumer."""
        async with self.bus(lease_seconds=lease_seconds).consumer(group, f"c{next(self._names)}") as one:
            yield one

    async def publish(self, key: str, *numbers: int) -> None:
        """Commit events of one order, each in a transaction of its own."""
        for number in numbers:
            async with self.judge.transaction():
                await write(self.judge, status_event(key, number))

    async def publish_at_once(self, key: str, *numbers: int) -> None:
        """Commit them in one transaction: whoever takes one can take all."""
        async with self.judge.transaction():
            await write(self.judge, *(status_event(key, number) for number in numbers))

    @asynccontextmanager
    async def relaying(self) -> AsyncIterator[None]:
        """The relay, for the length of the block."""
        jobs = [Relay(self.dsn, self.metrics).run()]
        if self.adapter == "redis":
            jobs.append(RedisFeed(self.dsn, self.redis_url, self.metrics).run())
        tasks = [asyncio.create_task(job) for job in jobs]
        self.publishing = tasks[-1]
        yield
        await ended(*tasks)

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for what another task does."""
        try:
            async with asyncio.timeout(ENOUGH_SECONDS):
                while not condition():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pytest.fail(f"not within {ENOUGH_SECONDS} s: {what}")

    async def until_row(self, answer: object, sql: str, *arguments: object) -> None:
        """Wait until the rows answer so."""
        found: object = None
        with suppress(TimeoutError):
            async with asyncio.timeout(ENOUGH_SECONDS):
                while (found := await self.judge.fetchval(sql, *arguments)) != answer:
                    await asyncio.sleep(0.02)
                return
        pytest.fail(f"{sql} {arguments} answers {found}, not {answer}")


@asynccontextmanager
async def served(consumer: Consumer, handle: Callable[[Delivery], Awaitable[None]]) -> AsyncIterator[None]:
    """The consumer's loop, for the length of the block."""
    task = asyncio.create_task(serve(consumer, handle))
    yield
    await ended(task)


async def ended(*tasks: "asyncio.Task[None]") -> None:
    """Cancel them and wait."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task


async def taken(consumer: Consumer, *, limit: int = 100) -> Batch:
    """The next batch that holds anything."""
    async with asyncio.timeout(ENOUGH_SECONDS):
        while not (batch := await consumer.take(limit=limit)).deliveries:
            pass
    return batch


async def drained(consumer: Consumer, count: int, *, limit: int = 100) -> list[Delivery]:
    """``count`` events, each batch acknowledged."""
    told: list[Delivery] = []
    while len(told) < count:
        batch = await taken(consumer, limit=limit)
        told += batch.deliveries
        await consumer.acknowledge(batch)
    return told


def marks(told: list[Delivery] | tuple[Delivery, ...]) -> list[tuple[str, int, int]]:
    """(key, number, attempt) of each."""
    return [(each.event.key, number(each), each.attempt) for each in told]


def number(delivery: Delivery) -> int:
    """The order's event number, as its payload has it."""
    found: int = delivery.payload().model_dump()["row_version"]
    return found


@pytest.fixture(params=["postgres", "redis"])
def adapter(request: pytest.FixtureRequest) -> str:
    """Each adapter in turn."""
    name: str = request.param
    return name


@pytest.fixture
async def venue(
    adapter: str, database: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Venue]:
    """Give the adapter with a relay that leads and does not dawdle."""
    monkeypatch.setattr(relay, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(redis_feed, "TICK_SECONDS", 0.05)
    monkeypatch.setattr(redis_feed, "RECONNECT_SECONDS", 0.05)
    monkeypatch.setattr(redis_bus, "JOIN_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(bus, "RETRY_PAUSE", timedelta(milliseconds=20))
    monkeypatch.setattr(port, "WAIT_SECONDS", 0.1)
    monkeypatch.setattr(serving, "RECONNECT_SECONDS", 0.05)
    judge = await asyncpg.connect(database)
    made = Venue(adapter, database, redis_url, judge)
    async with made.relaying():
        yield made
    await judge.close()
