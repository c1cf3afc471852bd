"""The live stream: everything once and in order, to whom it may be shown, and promptly over when it must be."""

import array
import asyncio
import fcntl
import json
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx2
import pytest

from gateway import event_reader
from gateway.app import build_app
from gateway.server import serving
from observability.metrics import Metrics
from schemas.audit import AuditEntry
from schemas.events import PAYLOADS, KillSwitchActivated, StateDrift
from schemas.wire import Topic
from storage import event_feed
from storage.database import Connection
from storage.event_stream import number_events
from storage.events import Queued, append
from tests.gateway.conftest import ANY_TOKEN, OTHER_TOKEN, TOKEN, Gateway, bearer, signal
from tests.postgres.outbox import status_event, write, write_committed
from tests.servers.sse import ENOUGH_SECONDS, Block, reading
from workers.relay import Relay


@asynccontextmanager
async def served(gateway: Gateway) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the gateway on a port of its own."""
    async with (
        asyncio.timeout(ENOUGH_SECONDS),
        serving(build_app(gateway.deps)) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http,
    ):
        yield http


@pytest.fixture
async def http(gateway: Gateway) -> AsyncIterator[httpx2.AsyncClient]:
    async with served(gateway) as client:
        yield client


async def publish(gateway: Gateway, *events: Queued) -> None:
    """Commit the events and number them, as the relay does."""
    async with gateway.database.connection() as connection:
        if events:
            async with connection.transaction():
                await write(connection, *events)
        while await number_events(connection, limit=1000):
            pass


async def stored(gateway: Gateway) -> list[tuple[int, str, Any]]:
    """The judge: every numbered event as the table has it."""
    async with gateway.database.connection() as connection:
        rows = await connection.fetch(
            "select position, topic, payload from events where position is not null order by position"
        )
    return [(row["position"], row["topic"], json.loads(row["payload"])) for row in rows]


def as_told(blocks: list[Block]) -> list[tuple[int | None, str | None, Any]]:
    return [(block.id, block.event, json.loads(block.data or "null")) for block in blocks]


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


async def test_leaving_ends_streams_even_of_who_does_not_read(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: requests in flight would be waited for as long as it takes, and the test's time is bounded."""
    monkeypatch.setattr("gateway.server.SHUTDOWN_SECONDS", 1e6)
    async with asyncio.timeout(ENOUGH_SECONDS), httpx2.AsyncClient() as http:
        async with serving(build_app(gateway.deps)) as port:
            http.base_url = httpx2.URL(f"http://127.0.0.1:{port}")
            deaf = await _deaf_reader(port)
            await publish(gateway, *(status_event("k", n, reason="x" * 100_000) for n in range(200)))
            entering = reading(http, ANY_TOKEN)
            stream = await entering.__aenter__()
            assert await stream.next() is not None
            await _until_full(deaf)
        assert await stream.ending() == "end: shutdown"
        await entering.__aexit__(None, None, None)
        deaf.close()


async def _deaf_reader(port: int) -> asyncio.StreamWriter:
    """Opens a stream and never reads: what is sent to it soon fills every buffer on the way."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
    head = f"GET /v1/events?since=0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ANY_TOKEN}\r\n\r\n"
    writer.write(head.encode())
    await writer.drain()
    return writer


async def _until_full(deaf: asyncio.StreamWriter) -> None:
    """Return once nothing more fits on the way to who does not read."""
    before, arrived = -1, 0
    while arrived != before or not arrived:
        await asyncio.sleep(0.2)
        before, arrived = arrived, _unread_bytes(deaf)


def _unread_bytes(deaf: asyncio.StreamWriter) -> int:
    counted = array.array("i", [0])
    fcntl.ioctl(deaf.get_extra_info("socket").fileno(), termios.FIONREAD, counted)
    return counted[0]


async def test_who_reads_nothing_is_cut_off(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.server.UNREAD_SECONDS_MAX", 1)
    app = build_app(gateway.deps)
    async with serving(app) as port:
        deaf = await _deaf_reader(port)
        await publish(gateway, *(status_event("k", n, reason="x" * 100_000) for n in range(200)))
        with suppress(TimeoutError):
            async with asyncio.timeout(ENOUGH_SECONDS):
                while not app.state.feed.open_streams:
                    await asyncio.sleep(0.02)
                while app.state.feed.open_streams:
                    await asyncio.sleep(0.02)
        assert app.state.feed.open_streams == 0, "nobody is cut off"
        assert 0 < _unread_bytes(deaf) < 200 * 100_000, "it came, and ended before it had come whole"
        deaf.close()


async def test_who_reads_slowly_is_sent_away_and_comes_back(
    gateway: Gateway, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(gateway, *(status_event("k", n) for n in range(3)))
    with monkeypatch.context() as patch:
        patch.setattr(event_reader, "SLOW_SECONDS", -1)
        async with reading(http, ANY_TOKEN, since="0") as stream:
            told = await stream.events(1)
            assert await stream.ending() == "end: slow-reader"
    async with reading(http, ANY_TOKEN, last_id=stream.last_id) as stream:
        told += await stream.events(2)
    assert as_told(told) == await stored(gateway)


async def test_a_token_that_ends_takes_its_streams_along(
    gateway: Gateway, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_reader, "CHECK_SECONDS", 0.05)
    async with reading(http, TOKEN) as stream:
        assert await stream.next() is not None
        async with gateway.database.connection() as connection:
            await connection.execute("update api_tokens set revoked_at = now() where name = 'momentum'")
        assert await stream.ending() == "end: token-ended"


async def test_streams_are_counted_and_given_back(
    gateway: Gateway, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_feed, "STREAMS_PER_READER_MAX", 1)
    async with reading(http, TOKEN) as stream:
        assert await stream.next() is not None
        refused = await http.get("/v1/events", headers=bearer())
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "TOO_MANY_STREAMS")
        async with reading(http, OTHER_TOKEN) as another:
            assert await another.next() is not None
    while (answer := await http.get("/v1/events?since=x", headers=bearer())).status_code == 429:
        await asyncio.sleep(0.02)
    assert answer.status_code == 422


async def test_a_feed_survives_its_connection_and_tells_each_event_once(
    gateway: Gateway, http: httpx2.AsyncClient
) -> None:
    async with reading(http, ANY_TOKEN, since="0") as stream:
        await publish(gateway, status_event("k", 1))
        told = await stream.events(1)
        async with gateway.database.connection() as connection:
            await connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'trading-event-feed' and datname = current_database()"
            )
        await publish(gateway, status_event("k", 2))
        told += await stream.events(1)
    assert as_told(told) == await stored(gateway)


async def test_one_listener_serves_all_and_who_is_behind_reads_pages(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: with room for 5 recent events and pages of 3, readers from 20 places are told the same; past what
    is not theirs a reader is told how far it has come."""
    monkeypatch.setattr(event_feed, "RECENT_MAX", 5)
    monkeypatch.setattr(event_feed, "PAGE", 3)
    monkeypatch.setattr(event_reader, "PAGE", 3)
    async with served(gateway) as http, asyncio.TaskGroup() as readers:
        await publish(gateway, *(status_event("k", n) for n in range(20)))

        async def read_from(place: int) -> list[int | None]:
            async with reading(http, ANY_TOKEN, since=place) as stream:
                return [block.id for block in await stream.events(25 - place)]

        found = [readers.create_task(read_from(place)) for place in range(20)]
        async with reading(http, TOKEN, since="0") as stream:
            while stream.last_id != 18:
                block = await stream.next()
                assert block is not None
                assert block.data is None
        async with gateway.database.connection() as connection:
            listeners = await connection.fetchval(
                "select count(*) from pg_stat_activity"
                " where application_name = 'trading-event-feed' and datname = current_database()"
            )
        assert listeners == 1
        await publish(gateway, *(status_event("k", n) for n in range(20, 25)))
    for place, task in enumerate(found):
        assert task.result() == list(range(place + 1, 26))


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
