"""An order's life as a reader of the stream is told it, by the running product."""

import json
from typing import Any

import asyncpg
import jsonschema
import pytest

from schemas.event_documents import topic_schema
from schemas.wire import Topic
from tests.servers.sse import reading
from tests.servers.stack import StackFactory, signal


@pytest.mark.parametrize("topology", ["compact", "isolated"])
async def test_an_order_is_told_live_in_the_order_of_its_life(
    stack_factory: StackFactory, unique: Any, topology: str
) -> None:
    """How: the stream is open before the signals are sent; the first telling is followed until both orders
    have ended, and is compared with the table."""
    stack = await stack_factory(topology=topology, limits=None)
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


def _first(told: list[tuple[Any, Any, Any]], signal_id: str) -> list[str]:
    """The topics of one signal's events, each where it came first."""
    topics = [topic for _, topic, payload in told if payload.get("signal_id") == signal_id]
    return list(dict.fromkeys(topics))
