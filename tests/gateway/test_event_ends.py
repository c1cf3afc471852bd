"""How event streams end, and what one reader may take from the others."""

import array
import asyncio
import fcntl
import termios
from contextlib import suppress

import httpx2
import pytest

from gateway import event_reader
from gateway.app import build_app
from gateway.server import serving
from storage import event_feed
from tests.gateway.conftest import ANY_TOKEN, OTHER_TOKEN, TOKEN, Gateway, bearer
from tests.gateway.streams import as_told, publish, served, stored
from tests.postgres.outbox import status_event
from tests.servers.sse import ENOUGH_SECONDS, reading


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
