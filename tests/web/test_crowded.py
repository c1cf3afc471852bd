"""What one person may take from the others: connections, streams, tries; and what is left when the database is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from audit.check.outside import Outside
from console.web.deps import SEARCHES_AT_ONCE
from schemas.orders import CancelAnswer, OrderStatus
from schemas.people import Role
from schemas.runs import CancelReply
from storage import event_feed, sessions
from storage.database import POOL_MAX
from storage.sessions import TRIES_MAX
from storage.switches import read_state
from tests.postgres.books import prepare, propose
from tests.web.browser import Browser, Web

KILL = "/acts/kill"
ENOUGH_SECONDS = 30
"""Only a fault lasts so long: a connection is waited for as long as that."""
WAITING = (
    "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
)


class Hanging(Outside):
    """A store that does not answer before it is told to."""

    def __init__(self) -> None:
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    async def names(self, prefix: str, *, after: str = "") -> list[str]:
        return []

    async def get(self, name: str) -> bytes | None:
        self.asked.set()
        await self.go_on.wait()
        return None


async def engaged(web: Web) -> bool:
    async with web.owner.connection() as connection:
        return (await read_state(connection)).engaged


async def kills(person: Browser) -> None:
    async with asyncio.timeout(ENOUGH_SECONDS / 2):
        answer = await person.post(KILL, {"reason": "test"})
    assert answer.status_code == 303, answer.text
    assert await engaged(person.web)


async def test_proofs_keep_nobody_from_the_kill_switch(web: Web) -> None:
    viewer, operator = await web.person("vi", Role.VIEWER), await web.person("op", Role.OPERATOR)
    outside = Hanging()
    web.app.state.deps = replace(web.deps, outside=outside)
    async with web.owner.connection() as connection:
        row = await connection.fetchval("select min(id) from audit_log")
    first = asyncio.create_task(viewer.get(f"/audit/{row}/proof.txt"))
    await outside.asked.wait()
    others = [
        await viewer.get(path)
        for path in (f"/audit/{row}/proof.txt", f"/audit/{row}?prove=true", "/audit/story/access/proof.txt")
    ]
    assert {answer.status_code for answer in others} == {409}, "one at once"
    await kills(operator)
    outside.go_on.set()
    assert (await first).status_code == 409, "not proved: no key is there"


async def test_searches_keep_nobody_from_the_kill_switch(web: Web) -> None:
    viewer, operator = await web.person("vi", Role.VIEWER), await web.person("op", Role.OPERATOR)
    async with web.owner.transaction("test") as connection:
        await connection.execute("lock table orders in access exclusive mode")
        looking = [asyncio.create_task(viewer.get("/orders?text=x")) for _ in range(POOL_MAX + 2)]
        async with web.owner.connection() as other:
            while await other.fetchval(WAITING) < SEARCHES_AT_ONCE:
                await asyncio.sleep(0.01)
        assert (await viewer.get("/access")).status_code == 200, "what reads little goes on beside them"
        await kills(operator)
    assert {(await each).status_code for each in looking} <= {200, 503}


class SlowWorkflows:
    """A Temporal whose workflows take a cancel, and answer when they are told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.enough, self.go_on = asyncio.Event(), asyncio.Event()

    def get_workflow_handle(self, workflow_id: str) -> "SlowWorkflows":
        self.asked.append(workflow_id)
        return self

    async def execute_update(self, *_: object, **__: object) -> CancelReply:
        if len(self.asked) > POOL_MAX:
            self.enough.set()
        await self.go_on.wait()
        return CancelReply(answer=CancelAnswer.REQUESTED, status=OrderStatus.ACKNOWLEDGED, message="asked")


async def test_cancels_that_wait_for_their_workflows_hold_no_connection(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: more of them at once than there are connections; then all of one ticker, which are too many."""
    slow = SlowWorkflows()
    web.app.state.deps = replace(web.deps, client=cast(Any, slow))
    operator = await web.person("op", Role.OPERATOR)
    await prepare(web.owner)
    for name in ("one", "two", "three"):
        await propose(web.owner, name)
    waiting = [asyncio.create_task(operator.post("/acts/orders/one/cancel", {})) for _ in range(POOL_MAX + 1)]
    async with asyncio.timeout(ENOUGH_SECONDS / 2):
        await slow.enough.wait()
        assert (await operator.get("/access")).status_code == 200
    slow.go_on.set()
    assert all("REQUESTED" in answer.text for answer in await asyncio.gather(*waiting))
    slow.asked.clear()
    monkeypatch.setattr("console.acts.orders.CANCEL_ALL_MAX", 2)
    assert "More are open" in (await operator.get("/acts/tickers/AAPL/cancel")).text
    answer = await operator.post("/acts/tickers/AAPL/cancel", {})
    assert answer.text.count("REQUESTED") == len(slow.asked) == 2
    assert "NOT ALL" in answer.text


async def test_a_search_that_takes_too_long_is_given_up(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.web.searching.SEARCH_SECONDS", 0.2)
    viewer = await web.person("vi", Role.VIEWER)
    async with web.owner.transaction("test") as connection:
        await connection.execute("lock table orders in access exclusive mode")
        answer = await viewer.get("/orders?text=x")
    assert (answer.status_code, answer.headers["x-error-code"]) == (503, "BUSY")


async def test_a_time_that_no_calendar_knows_is_no_fault_of_ours(web: Web) -> None:
    viewer = await web.person("vi", Role.VIEWER)
    for wrong in ("0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00", "soon"):
        assert (await viewer.get(f"/audit?since={wrong}")).status_code == 422, wrong


async def test_charts_of_an_open_page_are_no_use_of_its_session(web: Web) -> None:
    viewer = await web.person("vi", Role.VIEWER)
    page = await viewer.get("/")
    assert 'data-chart="/live/charts/equity' in page.text
    for _ in range(4):
        web.later(timedelta(minutes=9))
        answer = await viewer.get("/live/charts/equity", headers={"Accept": "application/json"})
        assert answer.status_code == (200 if _ < 3 else 401)


async def test_one_person_takes_only_so_many_streams_and_sessions(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = await web.person("vi", Role.VIEWER)
    other = web.browser()
    other.name, other.totp = viewer.name, viewer.totp
    await other.sign_in()
    monkeypatch.setattr(event_feed, "STREAMS_PER_READER_MAX", 1)
    async with web.owner.connection() as connection:
        person_id = await connection.fetchval("select person_id from people where name = 'vi'")
    async with web.app.state.feed.joined(person_id):
        for browser in (viewer, other):
            answer = await browser.get("/live/events", headers={"Accept": "application/json"})
            assert answer.status_code == 429, "whichever session asks"
    monkeypatch.setattr(sessions, "SESSIONS_PER_PERSON_MAX", 2)
    for _ in range(3):
        thief = web.browser()
        thief.name, thief.password = viewer.name, viewer.password
        assert (await thief.give_password()).status_code == 303
        web.later(timedelta(seconds=1))
    assert (await viewer.get("/access")).status_code == 200, "a password alone pushes nobody out"
    ended = "sessions where ended_by = 'too many others of the same person'"
    assert await web.count(ended) == 1
    newest = web.browser()
    newest.name, newest.totp = viewer.name, viewer.totp
    await newest.sign_in()
    assert (await newest.get("/access")).status_code == 200
    assert await web.count("sessions where ended_at is null and mfa_at is not null") == 2


async def test_no_stranger_keeps_somebody_who_is_in_from_showing_the_factor(web: Web) -> None:
    admin = await web.person("jo", Role.ADMIN)
    stranger = web.browser()
    stranger.name = "jo"
    for _ in range(TRIES_MAX + 1):
        assert (await stranger.give_password("a guess")).status_code == 401
    await admin.step_up()
    # His own wrong ones count for this session, and only there.
    for _ in range(TRIES_MAX + 1):
        await admin.give_code("000000")
    assert (await admin.give_code()).status_code == 401
    async with web.owner.connection() as connection:
        subjects = await connection.fetch("select split_part(subject, ' ', 1) as kind from sign_in_tries")
    assert sorted(each["kind"] for each in subjects) == ["person", "session"]


@asynccontextmanager
async def without_writes(web: Web) -> AsyncIterator[None]:
    """A database that has become a reader: every session of the console's is one that may not write."""
    async with web.owner.connection() as connection:
        name = await connection.fetchval("select current_database()")
        await connection.execute(f'alter database "{name}" set default_transaction_read_only = on')
    for database in (web.deps.database, web.deps.entry):
        await database._pool.expire_connections()
    yield


async def test_a_kill_that_a_read_only_database_does_not_take_says_that_it_is_not_engaged(web: Web) -> None:
    operator = await web.person("op", Role.OPERATOR)
    async with without_writes(web):
        for minutes in (0, 2):  # Also where the session is due to be noted as used.
            web.later(timedelta(minutes=minutes))
            answer = await operator.post(KILL, {"reason": "test"})
            assert answer.status_code == 503
            assert "NOT ENGAGED" in answer.text
            assert "trading kill --direct" in answer.text
        assert (await operator.get("/access")).status_code == 200, "and one can still look"
    assert not await engaged(web)


async def test_a_kill_without_a_database_says_that_it_is_not_engaged(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = await web.person("op", Role.OPERATOR)

    async def away(*_: object) -> None:
        raise OSError

    monkeypatch.setattr("console.web.access.read_session", away)
    answer = await operator.post(KILL, {"reason": "test"})
    assert answer.status_code == 503
    assert "NOT ENGAGED" in answer.text
    assert "trading kill --direct" in answer.text
    other = await operator.post("/acts/locks", {"ticker": "AAPL"})
    assert "NOT ENGAGED" not in other.text


async def test_readiness_is_asked_of_the_database_once_in_a_while(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def noted(*_: object) -> None:
        asked.append(1)

    monkeypatch.setattr("storage.migrate.check_on", noted)
    answers = await asyncio.gather(*(web.browser().get("/readyz") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(asked) == 1
