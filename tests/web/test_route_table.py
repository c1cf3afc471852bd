"""Every route of the console × method × role × what a stranger can bring along: no unexpected success."""

import asyncio
from datetime import timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.routing import Route

from console.web.access import PUBLIC, Needs, NeedsEnrolment, NeedsEntry, needs
from schemas.people import Factor, Role
from security.one_time import new_secret
from storage import people, sessions
from tests.web.browser import COOKIE, ORIGIN, SAME_ORIGIN, Web
from tests.web.routes import ALL_METHODS, Door, doors

TO_SIGN_IN: Final = ("/login", "/enrol")
FOREIGN: Final[tuple[dict[str, str], ...]] = (
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:9999"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": f"{ORIGIN}.evil.example"},
    {},
)
"""Another origin in every way that a browser says it, and a client that says nothing."""


class Table:
    """The application's doors, and keys that fit or do not."""

    def __init__(self, web: Web) -> None:
        self.web = web
        self.doors = list(doors(web.app))
        self._documented = {
            (method.upper(), path): operation["responses"].keys()
            for path, operations in web.app.openapi()["paths"].items()
            for method, operation in operations.items()
        }
        self._people: dict[Role, Any] = {}

    async def key(self, role: Role, *, shown: timedelta | None = timedelta(0), ended: bool = False) -> str:
        """A cookie of somebody with this role, whose second factor was ``shown`` so long ago (None: never)."""
        deps, now, secret = self.web.deps, self.web.clock[0], new_secret()
        async with deps.database.transaction("test") as connection:
            if role not in self._people:
                who = await people.insert_person(connection, f"a-{role}", role, "hash", by="test", now=now)
                await people.offer_totp(connection, who, b"sealed", now)
                await people.take_totp(connection, who, b"sealed", 0)
                self._people[role] = who
            session_id = await sessions.begin_session(
                connection, secret, self._people[role], address="", agent="", now=now
            )
            if shown is not None:
                await sessions.rotate_session(connection, session_id, secret, Factor.TOTP, now - shown)
                await sessions.touch_session(connection, session_id, now)
            if ended:
                await sessions.end_session(connection, session_id, of=None, by="test", now=now)
        return secret

    async def knock(
        self, door: Door, key: str | None, headers: dict[str, str] | None = None, method: str | None = None
    ) -> httpx2.Response:
        """Ask, with nothing in the body; whatever comes back stands in the document."""
        sent = {"Host": urlsplit(ORIGIN).netloc, **(SAME_ORIGIN if headers is None else headers)}
        if key is not None:
            sent["Cookie"] = f"{COOKIE}={key}"
        asked = method or door.method
        answer = await _answer(self.web.app, asked, door.url, sent)
        if (statuses := self._documented.get((asked, door.path))) is not None:
            assert str(answer.status_code) in statuses, f"{asked} {door.path}: {told(answer)}"
        return answer


async def _answer(app: FastAPI, method: str, path: str, headers: dict[str, str]) -> httpx2.Response:
    """The answer; of a stream that would never end its beginning."""
    started: list[dict[str, Any]] = []
    body: list[bytes] = []
    streams = asyncio.Event()
    nobody_leaves = asyncio.Event()
    sent = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> dict[str, Any]:
        for message in sent:
            return message
        await nobody_leaves.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            started.append(message)
            if (b"content-type", b"text/event-stream") in [(k, v[:17]) for k, v in message["headers"]]:
                streams.set()
        else:
            body.append(message.get("body", b""))

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1), "server": ("localhost", 8081), "state": {},
    }  # fmt: skip
    running = asyncio.create_task(app(scope, receive, send))
    streaming = asyncio.create_task(streams.wait())
    await asyncio.wait((running, streaming), return_when=asyncio.FIRST_COMPLETED)
    for task in (running, streaming):
        task.cancel()
    await asyncio.gather(running, streaming, return_exceptions=True)
    [start] = started
    return httpx2.Response(start["status"], headers=start["headers"], content=b"".join(body))


@pytest.fixture
async def table(web: Web) -> Table:
    """Give every door."""
    return Table(web)


def is_refused(answer: httpx2.Response, code: str) -> bool:
    """Whether it says no for that reason, and nothing else."""
    if answer.headers.get("x-error-code", "") != code:
        return False
    if answer.status_code == 303:
        return answer.headers["location"].startswith(TO_SIGN_IN)
    return answer.status_code in (401, 403)


def told(answer: httpx2.Response) -> str:
    """What it said, in short."""
    return f"{answer.status_code} {answer.headers.get('x-error-code')} {answer.headers.get('location')}"


async def test_nobody_without_a_session_that_counts_passes_any_door(table: Table) -> None:
    before = await table.web.count("audit_log")
    strangers = {
        "no cookie": (None, "NOT_SIGNED_IN"),
        "nonsense": ("x" * 43, "NOT_SIGNED_IN"),
        "too long": ("x" * 5000, "NOT_SIGNED_IN"),
        "signed out": (await table.key(Role.ADMIN, ended=True), "NOT_SIGNED_IN"),
        "password only": (await table.key(Role.ADMIN, shown=None), "SECOND_FACTOR_MISSING"),
    }
    old = await table.key(Role.ADMIN)
    wrong = []
    for door in table.doors:
        if door.check is None:
            continue
        for who, (key, code) in strangers.items():
            if who == "password only" and isinstance(door.check, NeedsEntry):
                continue  # That is whom it is for.
            if not is_refused(await table.knock(door, key), code):
                wrong.append(f"{door.method} {door.path}: {who}")
    table.web.later(timedelta(minutes=30, seconds=1))
    locked = [door for door in table.doors if door.check is not None]
    for door in locked:
        answer = await table.knock(door, old)
        if not is_refused(answer, "NOT_SIGNED_IN"):
            wrong += [f"{door.method} {door.path}: idle for too long {told(answer)}"]
    assert not wrong
    assert await table.web.count("audit_log") == before, "and nothing was done"


async def test_nobody_passes_a_door_that_needs_a_higher_role(table: Table) -> None:
    before, wrong, tried = await table.web.count("audit_log"), [], 0
    for role in Role:
        key = await table.key(role)
        for door in table.doors:
            if isinstance(door.check, Needs) and not door.lets(role):
                tried += 1
                if not is_refused(await table.knock(door, key), "ROLE_TOO_LOW"):
                    wrong.append(f"{door.method} {door.path}: {role}")
    assert not wrong
    assert tried
    assert await table.web.count("audit_log") == before


async def test_what_needs_a_fresh_factor_does_not_take_an_old_one(table: Table) -> None:
    before, wrong, tried = await table.web.count("audit_log"), [], 0
    key = await table.key(Role.ADMIN, shown=timedelta(minutes=5, seconds=1))
    for door in table.doors:
        if door.fresh or isinstance(door.check, NeedsEnrolment):
            tried += 1
            if not is_refused(await table.knock(door, key), "STEP_UP_REQUIRED"):
                wrong.append(f"{door.method} {door.path}")
    assert not wrong
    assert tried
    assert await table.web.count("audit_log") == before


async def test_nothing_that_another_site_sends_changes_anything(table: Table) -> None:
    before, wrong, tried = await table.web.count("audit_log"), [], 0
    key = await table.key(Role.ADMIN)
    for door in table.doors:
        for headers in FOREIGN if door.changes else ():
            tried += 1
            answer = await table.knock(door, key, headers)
            if answer.status_code != 403 or answer.json()["error"]["code"] != "CROSS_SITE":
                wrong.append(f"{door.method} {door.path}: {headers}")
    assert not wrong
    assert tried
    assert await table.web.count("audit_log") == before


async def test_no_door_opens_by_another_method(table: Table) -> None:
    key = await table.key(Role.ADMIN)
    by_path: dict[str, set[str]] = {}
    for door in table.doors:
        by_path.setdefault(door.path, set()).add(door.method)
    for door in {door.path: door for door in table.doors}.values():
        for method in set(ALL_METHODS) - by_path[door.path]:
            answer = await table.knock(door, key, method=method)
            assert answer.status_code in (403, 404, 405), f"{method} {door.path}"


async def test_whoever_may_passes(table: Table) -> None:
    """Else the others would show nothing: an empty request passes the door, and what is behind it answers."""
    shut = []
    for role in Role:
        for door in table.doors:
            if door.check is None or not door.lets(role):
                continue
            answer = await table.knock(door, await table.key(role))
            if answer.headers.get("x-error-code") in (
                "NOT_SIGNED_IN", "SECOND_FACTOR_MISSING", "ROLE_TOO_LOW", "STEP_UP_REQUIRED", "CROSS_SITE",
                "INTERNAL",
            ):  # fmt: skip
                shut.append(f"{door.method} {door.path}: {role} {answer.headers['x-error-code']}")
    assert not shut


async def test_every_answer_carries_the_headers_of_security(table: Table) -> None:
    key = await table.key(Role.ADMIN)
    for door in table.doors:
        for answer in (await table.knock(door, key), await table.knock(door, None, {})):
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy, door
            assert "unsafe" not in policy, door
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "frame-ancestors 'none'" in policy
            if not door.path.startswith("/static"):
                assert answer.headers["cache-control"] == "no-store", door


async def test_another_host_is_told_where_the_console_is(table: Table) -> None:
    door = next(door for door in table.doors if door.path == "/")
    answer = await table.knock(door, await table.key(Role.ADMIN), {"Host": "rebound.example"})
    assert answer.status_code == 421
    assert (await table.web.browser().get("/healthz", headers={"Host": "10.0.0.7:8081"})).status_code == 200


def test_the_public_list_names_routes_that_there_are(web: Web) -> None:
    found = {(door.method, door.path) for door in doors(web.app)}
    assert found >= PUBLIC


async def _nothing() -> None: ...


@pytest.mark.parametrize(
    "dependencies",
    [[], [Depends(_nothing)], [Depends(needs(Role.VIEWER)), Depends(needs(Role.ADMIN))]],
)
def test_a_route_without_exactly_one_lock_would_be_found(dependencies: list[Any]) -> None:
    app, router = FastAPI(openapi_url=None, docs_url=None, redoc_url=None), APIRouter()
    router.add_api_route("/naked", _nothing, dependencies=dependencies)
    app.include_router(router)
    with pytest.raises(AssertionError, match="/naked"):
        list(doors(app))


def test_a_lock_is_found_wherever_it_is_named() -> None:
    async def inner(_: Annotated[object, Depends(needs(Role.RISK))]) -> None: ...

    app, outer, router = FastAPI(openapi_url=None, docs_url=None, redoc_url=None), APIRouter(), APIRouter()
    router.add_api_route("/a", _nothing, dependencies=[Depends(inner)])
    outer.include_router(router, prefix="/b")
    app.include_router(outer)
    [door] = doors(app)
    assert (door.path, door.lets(Role.OPERATOR), door.lets(Role.RISK)) == ("/b/a", False, True)
    app.router.routes.append(Route("/plain", lambda _: None))
    with pytest.raises(AssertionError, match="no route of FastAPI"):
        list(doors(app))
