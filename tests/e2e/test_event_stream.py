"""An order's life as a reader of the stream is told it, by the running product."""

import asyncio
import json
from typing import Any

import asyncpg
import jsonschema
import pytest
from pydantic import SecretStr

from events.redis_bus import RedisBus
from schemas.event_documents import topic_schema
from schemas.wire import Topic
from tests.servers.sse import reading
from tests.servers.stack import StackFactory, signal
from workers import valkey


@pytest.mark.parametrize("topology", ["compact", "isolated"])
async def test_an_order_is_told_live_in_the_order_of_its_life(
    stack_factory: StackFactory, valkey_server: valkey.Server, redis_url: str, unique: Any, topology: str
) -> None:
    """How: the stream is open before the signals are sent; the first telling is followed until both orders
    have ended, and is compared with the table, and with what a group is told by Redis."""
    password = SecretStr(valkey_server.password)
    redis = {
        "event_bus": "redis", "event_redis_url": valkey_server.address, "event_redis_password": password,
    }  # fmt: skip
    stack = await stack_factory(topology=topology, limits=None, ours=redis)
    filled, refused = unique("filled"), unique("refused")
    told = []
    async with reading(stack.http, stack.token) as stream:
        await stream.next()
        await stack.submit(signal(filled))
        await stack.submit(signal(refused, ticker="WIDE"))
        ended = set()
        while ended != {filled, refused}:
            (block,) = await stream.events(1)
            payload = json.loads(block.data or "")
            told.append((block.id, block.event, payload))
            if payload.get("status") in ("FILLED", "REJECTED") and block.event == "trading.execution.status":
                ended.add(payload["signal_id"])
    connection = await asyncpg.connect(stack.dsn)
    rows = await connection.fetch(
        "select position, topic, payload from events where position <= $1 order by 1", told[-1][0]
    )
    await connection.close()
    assert told == [(row["position"], row["topic"], json.loads(row["payload"])) for row in rows]
    by_redis = await _told_by_redis(redis_url, told[-1][0])
    assert {position: payload for position, _, payload in told} == by_redis
    for _, topic, payload in told:
        jsonschema.Draft202012Validator(topic_schema(Topic(topic))).validate(payload)
    assert _first(told, filled) == [
        "trading.signal.created", "trading.risk.approved", "trading.execution.status",
        "trading.execution.submitted", "trading.execution.fill",
    ]  # fmt: skip
    assert _first(told, refused) == [
        "trading.signal.created",
        "trading.risk.approved",
        "trading.execution.status",
    ]


async def _told_by_redis(url: str, position: int) -> dict[int, Any]:
    """What a new group is told from the first event on: position and payload."""
    bus, found = RedisBus(url), {}
    await bus.create_group("reader", since=0)
    async with asyncio.timeout(30), bus.consumer("reader", "test") as consumer:
        while len(found) < position:
            batch = await consumer.take()
            found |= {each.event.position: json.loads(each.event.payload) for each in batch.deliveries}
            if batch.deliveries:
                await consumer.acknowledge(batch)
    return {place: payload for place, payload in found.items() if place <= position}


def _first(told: list[tuple[Any, Any, Any]], signal_id: str) -> list[str]:
    """The topics of one signal's events, each where it came first."""
    topics = [topic for _, topic, payload in told if payload.get("signal_id") == signal_id]
    return list(dict.fromkeys(topics))
