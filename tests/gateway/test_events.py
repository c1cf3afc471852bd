"""The live stream: everything once and in order, to whom it may be shown, and promptly over when it must be."""

import asyncio
import json
from contextlib import suppress
from typing import Any

import httpx2
import pytest

from gateway import event_reader
from observability.metrics import Metrics
from schemas.audit import AuditEntry
from schemas.events import PAYLOADS, KillSwitchActivated, StateDrift
from schemas.wire import Topic
from storage.database import Connection
from storage.events import Queued, append
from tests.gateway.conftest import ANY_TOKEN, OTHER_TOKEN, TOKEN, Gateway, bearer, signal
from tests.gateway.streams import as_told, publish, served, stored
from tests.postgres.outbox import status_event, write_committed
from tests.servers.sse import Block, reading
from workers.relay import Relay


async def test_coming_back_across_restarts_loses_and_repeats_nothing(gateway: Gateway) -> None:
    """How: writers and a relay go on while the gateway is restarted five times under a reader, which breaks
    off in mid-stream as often; what it was told is compared with the table."""
    relay = asyncio.create_task(Relay(gateway.deps.dsn, Metrics()).run())
    writers = [
        asyncio.create_task(write_committed(gateway.deps.dsn, f"k{number}", *range(60)))
        for number in range(4)
    ]
    told: list[Block] = []
    last_id: int | None = None
    for _ in range(5):
        async with served(gateway) as http:
            for _ in range(2):
                async with reading(http, ANY_TOKEN, last_id=last_id, since="0") as stream:
                    told += await stream.events(20)
                    last_id = stream.last_id
    await asyncio.gather(*writers)
    async with served(gateway) as http, reading(http, ANY_TOKEN, last_id=last_id) as stream:
        told += await stream.events(240 - len(told))
    relay.cancel()
    with suppress(asyncio.CancelledError):
        await relay
    assert as_told(told) == await stored(gateway)


async def test_a_token_sees_its_own_strategy_and_the_system(
    gateway: Gateway, http: httpx2.AsyncClient
) -> None:
    await gateway.submit(signal("mine"))
    await gateway.submit(signal("theirs", strategy="carry"), OTHER_TOKEN)
    await publish(gateway, status_event("mine", 1), status_event("theirs", 1), status_event("nobodys", 1))
    async with gateway.database.transaction("test") as connection:
        await kill_event(connection)
    # What a reader must not see comes last but one, so that a leak would be told before the end.
    await publish(gateway, status_event("mine", 2), status_event("theirs", 2))
    everything = await stored(gateway)
    whose = [payload.get("signal_id", "") for _, _, payload in everything]
    assert sorted(whose) == ["", "mine", "mine", "mine", "nobodys", "theirs", "theirs", "theirs"]
    shown = {
        TOKEN: [each for each, owner in zip(everything, whose, strict=True) if owner in ("mine", "")],
        OTHER_TOKEN: [each for each, owner in zip(everything, whose, strict=True) if owner in ("theirs", "")],
        ANY_TOKEN: everything,
    }
    for token, wanted in shown.items():
        async with reading(http, token, since="0") as stream:
            assert as_told(await stream.events(len(wanted))) == wanted


async def test_a_bound_token_learns_of_no_other_strategy_and_not_of_the_account(
    gateway: Gateway, http: httpx2.AsyncClient
) -> None:
    await gateway.submit(signal("mine"))
    await gateway.submit(signal("theirs", strategy="carry"), OTHER_TOKEN)
    async with gateway.database.transaction("test") as connection:
        await kill_event(
            connection, orders={"ti-theirs": "cancelled"}, unprotected=("TSLA",),
            reason="IDENTITY_CONFLICT on ti-theirs: 10 shares",
        )  # fmt: skip
    about = ("mine", "theirs", "nobodys", None)
    await publish(gateway, *(drift_event(number, each) for number, each in enumerate(about)))
    topics = ["system.killswitch.activated", "system.state_drift"]
    async with reading(http, ANY_TOKEN, since="0", topic=topics) as stream:
        kill, *drifts = await stream.events(5)
    whole = json.loads(kill.data or "")
    assert (whole["orders"], whole["unprotected"]) == ({"ti-theirs": "cancelled"}, ["TSLA"])
    assert [json.loads(each.data or "")["signal_id"] for each in drifts] == list(about)
    assert all(json.loads(each.data or "")["equity"] == "100000" for each in drifts)
    # What comes last is for both, so that a leak would be told before the end.
    async with gateway.database.transaction("test") as connection:
        await kill_event(connection, event_id="evt_last", reason="drill: by jo")
    await publish(gateway)
    for token, own in ((TOKEN, "mine"), (OTHER_TOKEN, "theirs")):
        async with reading(http, token, since="0", topic=topics) as stream:
            first, drift, last = [json.loads(each.data or "") for each in await stream.events(3)]
        assert first == whole | {"orders": {}, "unprotected": [], "reason": "IDENTITY_CONFLICT"}
        assert (drift["signal_id"], drift["drift"], drift["drift_pct"], drift["equity"]) == (own, *[None] * 3)
        assert last["reason"] == "drill: by jo"
        PAYLOADS[Topic.STATE_DRIFT].model_validate(drift)


def test_what_a_bound_token_may_see_of_the_systems_events_is_decided_field_by_field() -> None:
    """A field that is new is somebody's decision: here, or in ``HIDDEN``."""
    seen = {
        Topic.KILLSWITCH_ACTIVATED: {
            "event_id", "timestamp", "reason", "triggered_by", "action_taken", "epoch", "scope",
        },
        Topic.STATE_DRIFT: {
            "event_id", "timestamp", "run_id", "kind", "subject", "ticker", "local", "broker", "difference",
            "price", "signal_id", "client_order_id", "broker_order_id", "detail", "what_to_do", "snapshot_at",
            "kills",
        },
    }  # fmt: skip
    assert {topic for topic in Topic if topic.startswith("system.")} == seen.keys()
    for topic, fields in seen.items():
        assert PAYLOADS[topic].model_fields.keys() == fields | event_reader.HIDDEN[topic].keys()
    assert seen.keys() > event_reader.TOLD_TO_ALL


async def test_topics_are_chosen(gateway: Gateway, http: httpx2.AsyncClient) -> None:
    await gateway.submit(signal("mine"))
    async with gateway.database.transaction("test") as connection:
        await kill_event(connection)
    await publish(gateway, status_event("mine", 1))
    topics = ["trading.execution.status", "system.killswitch.activated"]
    async with reading(http, TOKEN, since="0", topic=topics) as stream:
        assert [block.event for block in await stream.events(2)] == topics[::-1]


async def test_where_a_stream_begins(gateway: Gateway, http: httpx2.AsyncClient) -> None:
    early, late = "2026-11-23T15:00:00Z", "2026-11-23T16:00:00Z"
    times = (early, late, early, late)
    await publish(gateway, *(status_event("k", n, timestamp=time) for n, time in enumerate(times, 1)))
    for since, first in (("0", 1), ("3", 4), (early, 1), ("2026-11-23T16:30:00+01:00", 2), (late, 2)):
        async with reading(http, ANY_TOKEN, since=since) as stream:
            (event,) = await stream.events(1)
            assert event.id == first, since
    async with reading(http, ANY_TOKEN, since="0", last_id=2) as stream:
        assert [event.id for event in await stream.events(2)] == [3, 4], (
            "the reader's own place outranks since"
        )
    for query in ({}, {"since": "2026-11-24T00:00:00Z"}):
        async with reading(http, ANY_TOKEN, **query) as stream:
            first_block = await stream.next()
            assert first_block is not None
            await publish(gateway, status_event("k", 10 + len(query)))
            (event,) = await stream.events(1)
            assert event.id == (first_block.id or 0) + 1, "only what comes next"


@pytest.mark.parametrize(
    ("query", "headers", "field"),
    [
        ({"since": "yesterday"}, {}, "since"),
        ({"since": "-1"}, {}, "since"),
        ({"since": "1.5"}, {}, "since"),
        ({"since": "9" * 30}, {}, "since"),
        ({"since": "1"}, {}, "since"),
        ({"since": "2026-11-23T15:00:00"}, {}, "since"),
        ({"since": "2026-13-23T15:00:00Z"}, {}, "since"),
        ({"since": ""}, {}, "since"),
        ({"topic": "trading.execution.fills"}, {}, "topic"),
        ({"topic": ["trading.execution.fill", "x"]}, {}, "topic"),
        ({}, {"Last-Event-ID": "first"}, "Last-Event-ID"),
        ({"since": "0"}, {"Last-Event-ID": "1"}, "Last-Event-ID"),
    ],
)
async def test_what_is_wrong_is_named(
    shared_gateway: Gateway, query: dict[str, Any], headers: dict[str, str], field: str
) -> None:
    """A position ahead of the newest too: waiting there would lose what comes before it."""
    answer = await shared_gateway.http.get("/v1/events", params=query, headers=bearer() | headers)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert (error["code"], error["fields"][0]["field"]) == ("INVALID_REQUEST", field)


async def test_following_needs_a_token(shared_gateway: Gateway) -> None:
    for headers in ({}, bearer("unknown")):
        answer = await shared_gateway.http.get("/v1/events?topic=wrong", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHORIZED")


async def test_openapi_says_what_each_topic_carries(shared_gateway: Gateway) -> None:
    document = (await shared_gateway.http.get("/openapi.json")).json()
    answer = document["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]
    carried = {
        each["properties"]["event"]["const"]: each["properties"]["data"]["contentSchema"]["$ref"]
        for each in answer["itemSchema"]["oneOf"]
    }
    assert carried["trading.execution.fill"] == "#/components/schemas/ExecutionFill"
    assert "fill_price" in document["components"]["schemas"]["ExecutionFill"]["properties"]


def drift_event(number: int, signal_id: str | None) -> Queued:
    event = StateDrift.model_validate(
        {
            "event_id": f"evt_drift_{number}", "timestamp": "2026-11-23T15:00:00Z", "run_id": "r",
            "kind": "POSITION", "subject": f"s{number}", "ticker": "TSLA", "local": "500", "broker": "400",
            "signal_id": signal_id, "detail": "d", "what_to_do": "w", "drift": "100", "equity": "100000",
            "snapshot_at": "2026-11-23T15:00:00Z",
        }
    )  # fmt: skip
    return Queued(Topic.STATE_DRIFT, "reconciliation", event)


async def kill_event(connection: Connection, **fields: Any) -> None:
    event = KillSwitchActivated.model_validate(
        {
            "event_id": "evt_kill", "timestamp": "2026-11-23T15:00:00Z", "reason": "drill",
            "triggered_by": "test", "action_taken": "ALL_OPEN_ORDERS_CANCELED", **fields,
        }
    )  # fmt: skip
    entry = AuditEntry.model_validate(
        {
            "occurred_at": event.timestamp, "correlation_id": "kill-switch", "component": "test",
            "actor": "test", "decision": "KILL", "input": {},
        }
    )  # fmt: skip
    await append(connection, entry, Queued(Topic.KILLSWITCH_ACTIVATED, "kill-switch", event))
