"""The stream that tells open pages: news as it is numbered, ticks between, and an end with the session."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import httpx2
import pytest

from console.web.pages import live
from gateway.server import serving
from schemas.people import Role
from storage import event_feed
from storage.event_stream import number_events
from tests.postgres.outbox import write_committed
from tests.servers.sse import ENOUGH_SECONDS, Reading
from tests.web.browser import ORIGIN, SAME_ORIGIN, Browser, Web

HOST = {"Host": ORIGIN.partition("//")[2]}


@pytest.fixture(autouse=True)
def _short_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "TICK_SECONDS", 0.2)
    monkeypatch.setattr(live, "NEWS_APART_SECONDS", 0.0)


@asynccontextmanager
async def following(web: Web, person: Browser, last_id: str | None = None) -> AsyncIterator[Reading]:
    """A page of this person's that is open, as a browser follows it."""
    headers = {**SAME_ORIGIN, **HOST, "Cookie": f"console={person.cookie}"}
    if last_id is not None:
        headers["Last-Event-ID"] = last_id
    async with (
        serving(web.app) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as http,
        asyncio.timeout(ENOUGH_SECONDS),
        http.stream("GET", "/live/events") as response,
    ):
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        assert "script-src 'self'" in response.headers["content-security-policy"]
        yield Reading(response)


async def number(web: Web) -> None:
    """What the relay does."""
    connection = await asyncpg.connect(web.deps.dsn)
    async with connection.transaction():
        await number_events(connection, limit=100)
    await connection.close()


async def until(reading: Reading, event: str) -> tuple[str, int | None]:
    """The next block of that kind: its data and id."""
    while True:
        block = await reading.next()
        assert block is not None, f"the stream has ended before {event}"
        if block.event == event:
            return block.data or "", block.id


async def test_a_page_is_told_of_news_and_goes_on_where_it_was(web: Web) -> None:
    person = await web.person("vi", Role.VIEWER)
    async with following(web, person) as reading:
        first = await reading.next()
        assert first is not None
        assert (first.event, first.id) == ("tick", 0)
        await until(reading, "tick")
        await write_committed(web.deps.dsn, "s1", 1, 2)
        await number(web)
        data, position = await until(reading, "news")
        assert position == 2
        assert "s1" not in data, "it carries nothing of what happened"
    await write_committed(web.deps.dsn, "s1", 3)
    await number(web)
    web.app.state.feed = event_feed.EventFeed(web.deps.database, web.deps.dsn)
    async with following(web, person, last_id="2") as reading:
        assert (await until(reading, "news"))[1] == 3


async def test_the_stream_ends_with_the_session_and_does_not_keep_it(web: Web) -> None:
    person = await web.person("vi", Role.VIEWER)
    async with following(web, person) as reading:
        await until(reading, "tick")
        assert (await person.post("/logout")).status_code == 303
        await until(reading, "over")
        assert await reading.next() is None
    await person.sign_in()
    for _ in range(4):
        web.later(timedelta(minutes=9))
        answer = await person.get("/live/orders")
        assert answer.status_code == (200 if _ < 3 else 303), "an open page is no use of it"


async def test_only_so_many_pages_of_one_person_are_live(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    person = await web.person("vi", Role.VIEWER)
    monkeypatch.setattr(event_feed, "STREAMS_PER_READER_MAX", 0)
    answer = await person.get("/live/events", headers={"Accept": "application/json"})
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "BUSY"
    wrong = await person.get("/live/events", headers={"Last-Event-ID": "x", "Accept": "application/json"})
    assert wrong.status_code == 422
    assert (await web.browser().get("/live/events")).status_code == 303


async def test_a_factor_shown_in_another_tab_ends_no_stream(web: Web) -> None:
    person = await web.person("vi", Role.VIEWER)
    async with following(web, person) as reading:
        await until(reading, "tick")
        await person.step_up()
        for _ in range(3):
            block = await reading.next()
            assert block is not None
            assert block.event == "tick"
