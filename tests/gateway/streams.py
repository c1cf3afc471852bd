"""A gateway on a port, events published to it, and what it should tell."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2

from gateway.app import build_app
from gateway.server import serving
from storage.event_stream import number_events
from storage.events import Queued
from tests.postgres.outbox import write
from tests.servers.sse import ENOUGH_SECONDS, Block

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway


@asynccontextmanager
async def served(gateway: "Gateway") -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the gateway on a port of its own."""
    async with (
        asyncio.timeout(ENOUGH_SECONDS),
        serving(build_app(gateway.deps)) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http,
    ):
        yield http


async def publish(gateway: "Gateway", *events: Queued) -> None:
    """Commit the events and number them, as the relay does."""
    async with gateway.database.connection() as connection:
        if events:
            async with connection.transaction():
                await write(connection, *events)
        while await number_events(connection, limit=1000):
            pass


async def stored(gateway: "Gateway") -> list[tuple[int, str, Any]]:
    """The judge: every numbered event as the table has it."""
    async with gateway.database.connection() as connection:
        rows = await connection.fetch(
            "select position, topic, payload from events where position is not null order by position"
        )
    return [(row["position"], row["topic"], json.loads(row["payload"])) for row in rows]


def as_told(blocks: list[Block]) -> list[tuple[int | None, str | None, Any]]:
    return [(block.id, block.event, json.loads(block.data or "null")) for block in blocks]
