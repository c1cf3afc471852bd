"""What a strategy's token opens: its own signals and nothing else, on every route, so often and so long."""

import asyncio
import dataclasses
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import httpx2
import pytest
from fastapi.routing import APIRoute

from gateway import event_reader
from gateway.app import build_app
from gateway.deps import caller
from gateway.server import serving
from schemas.audit import AuditEntry
from schemas.signals import RESERVED_SIGNAL_IDS
from schemas.tokens import TokenOrder
from security.tokens import is_mistyped, make_secret, shown_part
from storage.database import Database
from storage.event_feed import EventFeed
from storage.event_stream import number_events
from storage.events import append
from storage.signals import Token, find_token, token_hash
from storage.switches import bind_installation
from storage.tokens import WINDOW_SECONDS, make_token, revoke_token, use_token
from tests.gateway.conftest import ANY_TOKEN, TOKEN, Gateway, bearer, gateway_on, signal
from tests.servers.postgres import fresh
from tests.servers.sse import ENOUGH_SECONDS, reading
from tests.tidy.tree import ROOT

PUBLIC: Final = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    # Opened by the broker's own signature; tests/gateway/test_wake.py.
    ("POST", "/v1/broker/wake"),
}
"""Beside the OpenAPI document, which is no route of ours."""
OWN: Final = "own-1"
NOW: Final = datetime(2026, 11, 27, 15, tzinfo=UTC)


async def made(gateway: Gateway, name: str, **fields: Any) -> str:
    """The secret of a new token, for `momentum` unless told otherwise."""
    order = TokenOrder.model_validate({"name": name, "strategies": ("momentum",)} | fields)
    secret = make_secret()
    async with gateway.database.transaction("test") as connection:
        await make_token(
            connection, order, secret=secret, prefix=shown_part(secret), by="test", component="Console",
            now=datetime.now(UTC),
        )  # fmt: skip
    return secret


@pytest.fixture(scope="module")
async def shared(postgres_server: Any, _admin: Any, _migrated_template: str) -> AsyncIterator[Gateway]:
    """A gateway with one signal of the token `owner-1`."""
    async for dsn in fresh(postgres_server, _admin, _migrated_template):
        async with gateway_on(dsn) as found:
            secret = await made(found, "owner-1")
            answer = await found.submit(signal(OWN, rationale="a reason"), secret)
            assert answer.status_code == 202, answer.text
            yield found


async def kinds(gateway: Gateway) -> dict[str, dict[str, str]]:
    """Headers that open nothing."""
    expired, revoked = await made(gateway, f"e{uuid4().hex}"), await made(gateway, f"r{uuid4().hex}")
    good = await made(gateway, f"g{uuid4().hex}")
    async with gateway.database.connection() as connection:
        # A made token keeps its end; only without the trigger can one of the past be had.
        await connection.execute("alter table api_tokens disable trigger api_tokens_bound")
        await connection.execute(
            "update api_tokens set created_at = now() - interval '3 d', expires_at = now() - interval '1 ms'"
            " where token_hash = $1",
            token_hash(expired),
        )
        await connection.execute("alter table api_tokens enable trigger api_tokens_bound")
        await connection.execute(
            "update api_tokens set revoked_at = now() where token_hash = $1", token_hash(revoked)
        )
    return {
        "none": {},
        "wrong": bearer(make_secret()),
        "mistyped": bearer(good[:-1] + ("a" if good[-1] != "a" else "b")),
        "expired": bearer(expired),
        "revoked": bearer(revoked),
        "prefix alone": bearer(good[:20]),
        "two": {"Authorization": f"Bearer {good}, Bearer {good}"},
        "as a password": {"Authorization": f"Basic {good}"},
        "hash": bearer(token_hash(good).hex()),
    }


def routes(gateway: Gateway) -> list[APIRoute]:
    """Every route of ours; what is none must be the OpenAPI document."""
    found: list[APIRoute] = []
    for each in build_app(gateway.deps).routes:
        if (router := getattr(each, "original_router", None)) is None:
            assert getattr(each, "path", None) == "/openapi.json"
            continue
        for route in router.routes:
            assert isinstance(route, APIRoute)
            found.append(route)
    assert len(found) > 8
    return found


def asks_for_a_token(dependant: Any) -> bool:
    return dependant.call is caller or any(asks_for_a_token(each) for each in dependant.dependencies)


async def test_every_route_asks_for_a_token_or_is_known_to_be_public(shared: Gateway) -> None:
    open_ones = {
        (method, route.path)
        for route in routes(shared)
        for method in route.methods
        if not asks_for_a_token(route.dependant)
    }
    assert open_ones == PUBLIC


async def test_no_route_opens_to_what_is_no_token(shared: Gateway) -> None:
    opened, asked = [], 0
    for kind, headers in (await kinds(shared)).items():
        for route in routes(shared):
            for method in sorted(route.methods or ()):
                if (method, route.path) in PUBLIC:
                    continue
                path = re.sub(r"\{\w+\}", OWN, route.path)
                body = {"json": signal(f"new-{uuid4().hex}")} if method == "POST" else {}
                answer = await shared.http.request(method, path, headers=headers, **body)
                asked += 1
                if answer.status_code != 401 or OWN in answer.text:
                    opened.append((kind, method, path, answer.status_code))
    assert asked == 9 * 6
    assert opened == []
    assert await shared.count("signals") == 1


async def test_another_token_of_the_same_strategy_sees_nothing_of_it(shared: Gateway) -> None:
    other = bearer(await made(shared, f"o{uuid4().hex}"))
    async with shared.database.connection() as connection:
        order_id = await connection.fetchval("select internal_order_id from orders where signal_id = $1", OWN)
    for path in (
        f"/v1/signals/{OWN}", f"/v1/signals/{OWN}/timeline", f"/v1/orders/{OWN}", f"/v1/orders/{order_id}",
    ):  # fmt: skip
        answer = await shared.http.get(path, headers=other)
        assert (answer.status_code, "AAPL" in answer.text) == (404, False), path
    listed = await shared.http.get("/v1/signals?limit=100", headers=other)
    assert listed.json() == {"signals": []}
    taken = await shared.http.post("/v1/signals", json=signal(OWN, ticker="MSFT"), headers=other)
    assert (taken.status_code, "AAPL" in taken.text, "reason" in taken.text) == (409, False, False)


@pytest.mark.parametrize(
    ("scope", "fields", "wanted", "code"),
    [
        ("strategy", {}, {"strategy": "carry"}, "STRATEGY_FORBIDDEN"),
        ("strategy", {}, {"strategy": "momentum2"}, "STRATEGY_FORBIDDEN"),
        ("ticker", {"tickers": ("MSFT", "KO")}, {"ticker": "AAPL"}, "TICKER_FORBIDDEN"),
        ("ticker", {"tickers": ("BRK.B",)}, {"ticker": "BRK"}, "TICKER_FORBIDDEN"),
    ],
)
async def test_a_signal_beyond_the_tokens_scope_is_refused_and_written_down(
    shared: Gateway, scope: str, fields: dict[str, Any], wanted: dict[str, Any], code: str
) -> None:
    name, signal_id = f"s{uuid4().hex}", uuid4().hex
    secret = await made(shared, name, **fields)
    answer = await shared.submit(signal(signal_id, **wanted), secret)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, code)
    assert answer.json()["error"]["fields"][0]["field"] == scope
    async with shared.database.connection() as connection:
        row = await connection.fetchrow(
            "select decision, actor, refs, payload from audit_log join audit_payloads on audit_id = id"
            " where actor = $1",
            name,
        )
    assert row is not None
    assert (row["decision"], json.loads(row["payload"])["wanted"]) == ("TOKEN_REFUSED", wanted[scope])
    assert await shared.count(f"signals where signal_id = '{signal_id}'") == 0


async def test_a_token_of_two_strategies_and_a_ticker_is_taken_for_these(shared: Gateway) -> None:
    secret = await made(shared, f"t{uuid4().hex}", strategies=("momentum", "carry"), tickers=("AAPL",))
    for strategy in ("momentum", "carry"):
        assert (await shared.submit(signal(uuid4().hex, strategy=strategy), secret)).status_code == 202


async def test_a_topic_beyond_the_tokens_scope_is_refused(shared: Gateway) -> None:
    secret = await made(shared, f"h{uuid4().hex}", topics=("trading.execution.fill",))
    answer = await shared.http.get("/v1/events?topic=trading.signal.created", headers=bearer(secret))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "TOPIC_FORBIDDEN")


async def test_the_stream_tells_each_token_of_its_own_signals_and_topics_alone(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_reader, "CHECK_SECONDS", 0.05)
    one, two = await made(gateway, "one"), await made(gateway, "two")
    some = await made(gateway, "some", topics=("trading.execution.fill",))
    tokens = {"one": (one, 1), "two": (two, 1), "some": (some, 0), "any": (ANY_TOKEN, 4)}
    for number, (secret, _) in enumerate(tokens.values()):
        assert (await gateway.submit(signal(f"sig-{number}"), secret)).status_code == 202
    async with gateway.database.connection() as connection:
        await number_events(connection, limit=1000)
    seen: dict[str, list[str]] = {}
    async with served(gateway) as http:
        for name, (secret, wanted) in tokens.items():
            async with reading(http, secret, since="0") as stream:
                blocks = await stream.events(wanted) if wanted else []
                seen[name] = [json.loads(block.data or "{}")["signal_id"] for block in blocks]
                if not wanted:
                    await until_position(stream, 4)
    assert seen == {"one": ["sig-0"], "two": ["sig-1"], "some": [], "any": [f"sig-{n}" for n in range(4)]}


async def until_position(stream: Any, position: int) -> None:
    """Read on until it has come so far, having been told of nothing."""
    while (stream.last_id or 0) < position:
        block = await stream.next()
        assert block is not None
        assert block.data is None


@asynccontextmanager
async def served(gateway: Gateway) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        serving(build_app(gateway.deps)) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http,
    ):
        yield http


async def test_a_revoked_token_is_refused_next_and_its_streams_end_at_once(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: nobody looks at a token again by the clock here: only the revocation itself can end the stream."""
    monkeypatch.setattr(event_reader, "CHECK_SECONDS", 3600)
    secret = await made(gateway, "short")
    async with (
        served(gateway) as http,
        asyncio.timeout(ENOUGH_SECONDS),
        reading(http, secret) as stream,
        reading(http, ANY_TOKEN) as another,
    ):
        assert await stream.next() is not None
        assert await another.next() is not None
        async with gateway.database.transaction("test") as connection:
            done = await revoke_token(
                connection, "short", by="test", reason="lost", component="Console", now=datetime.now(UTC)
            )
        assert done
        assert (await gateway.submit(signal(), secret)).status_code == 401
        assert await stream.ending() == "end: token-ended"
        assert (await gateway.submit(signal(), ANY_TOKEN)).status_code == 202
        async with gateway.database.connection() as connection:
            await number_events(connection, limit=10)
        assert len(await another.events(1)) == 1, "who was not revoked reads on"


async def test_a_token_revoked_while_it_is_looked_at_ends_its_stream_too(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How: word of the revocation comes after the look has read the row, and before the reader waits."""
    monkeypatch.setattr(event_reader, "CHECK_SECONDS", 3600)
    feed, looks = EventFeed(gateway.database, gateway.deps.dsn), iter((True, False))

    async def still_allowed() -> bool:
        feed._look_at_tokens()
        return next(looks)

    async with gateway.database.connection() as connection:
        token = await find_token(connection, TOKEN, datetime.now(UTC))
    assert token is not None
    reader = event_reader.Reader(feed, token, frozenset(), 0, still_allowed)
    feed._look_at_tokens()
    async with asyncio.timeout(ENOUGH_SECONDS):
        assert [item.comment async for item in reader.items()] == ["following", "end: token-ended"]


async def test_the_rate_holds_over_gateways_and_restarts(gateway: Gateway) -> None:
    secret = await made(gateway, "busy", rate_per_minute=8)
    pool = await Database.connect(gateway.deps.dsn)
    second = build_app(dataclasses.replace(gateway.deps, database=pool))
    transport = httpx2.ASGITransport(app=second, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://other") as other:
        answers = await asyncio.gather(
            *(http.get("/v1/signals", headers=bearer(secret)) for http in (gateway.http, other) * 8)
        )
        assert sorted(answer.status_code for answer in answers) == [200] * 4 + [429] * 12
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.json()["error"]["code"] == "RATE_LIMITED"
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
    await pool.close()
    again = httpx2.ASGITransport(app=build_app(gateway.deps), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=again, base_url="http://again") as restarted:
        assert (await restarted.get("/v1/signals", headers=bearer(secret))).status_code == 429
        assert (await restarted.get("/v1/signals", headers=bearer(ANY_TOKEN))).status_code == 200


@pytest.mark.parametrize("rate", [2, 7, 60])
async def test_no_minute_has_more_uses_than_the_rate(gateway: Gateway, rate: int) -> None:
    secret = await made(gateway, "even", rate_per_minute=rate)
    granted: list[float] = []
    async with gateway.database.connection() as connection:
        token = await find_token(connection, secret, datetime.now(UTC))
        assert token is not None
        for half_second in range(400):
            at = half_second / 2
            use = await use_token(connection, token, now=NOW + timedelta(seconds=at))
            if use.granted:
                granted.append(at)
    most = max(sum(1 for at in granted if begin <= at < begin + WINDOW_SECONDS) for begin in granted)
    assert most <= rate
    assert len(granted) >= rate * 2, "and over the minutes it gets what it may"


async def test_made_tokens_keep_their_bounds_whoever_writes(gateway: Gateway) -> None:
    await made(gateway, "kept")
    async with gateway.database.connection() as connection:
        await connection.execute("update api_tokens set revoked_at = now() where name = 'kept'")
        for change in (
            "revoked_at = null", "expires_at = expires_at + interval '1 day'", "strategies = null",
            "rate_per_minute = null", "token_hash = 'x'", "made_by = null",
        ):  # fmt: skip
            with pytest.raises(Exception, match="stays"):
                await connection.execute(f"update api_tokens set {change} where name = 'kept'")


async def test_an_unbound_token_opens_nothing_in_live_mode(gateway: Gateway) -> None:
    bound = await made(gateway, "bound")
    async with gateway.database.transaction("test") as connection:
        await bind_installation(connection, account="A1", mode="live", now=datetime.now(UTC))
    assert (await gateway.http.get("/v1/signals", headers=bearer(ANY_TOKEN))).status_code == 401
    assert (await gateway.http.get("/v1/signals", headers=bearer(bound))).status_code == 200


async def test_a_signal_cannot_take_the_name_of_a_story_of_ours(gateway: Gateway) -> None:
    """And one whose name another story takes later shows nothing of it."""
    for name in sorted(RESERVED_SIGNAL_IDS):
        answer = await gateway.submit(signal(name))
        assert (answer.status_code, answer.json()["error"]["fields"][0]["field"]) == (422, "signal_id")
    assert (await gateway.submit(signal("carry"))).status_code == 202
    async with gateway.database.transaction("test") as connection:
        for component, decision in (
            ("Console", "STRATEGY_DISABLED"), ("Operations", "ALERT_RAISED"), ("BrokerWatcher", "FUNDS_COVERED"),
        ):  # fmt: skip
            entry = AuditEntry(
                occurred_at=datetime.now(UTC), correlation_id="carry", component=component, actor="x",
                decision=decision, input={"detail": "another's story"},
            )  # fmt: skip
            await append(connection, entry)
    told = (await gateway.http.get("/v1/signals/carry/timeline", headers=bearer())).json()
    assert [each["decision"] for each in told["entries"]] == ["SIGNAL_ACCEPTED"]


def test_the_names_of_the_audit_page_are_reserved() -> None:
    table = (ROOT / "docs" / "AUDIT.md").read_text().split("## Whose story")[1].split("## Decisions")[0]
    named = set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE))
    assert len(named) > 9
    assert named <= RESERVED_SIGNAL_IDS


def test_a_secret_is_known_by_its_shape_and_its_checksum() -> None:
    secrets = {make_secret() for _ in range(200)}
    assert len(secrets) == 200
    for secret in secrets:
        assert re.fullmatch(r"ti_[0-9A-Za-z]{49}", secret)
        assert not is_mistyped(secret)
        place = 3 + len(secret) % 40
        assert is_mistyped(secret[:place] + ("x" if secret[place] != "x" else "y") + secret[place + 1 :])
    assert not is_mistyped("a token of before"), "which has no shape"
    assert len(shown_part(make_secret())) == 9


def test_a_token_says_what_it_may() -> None:
    token = Token(uuid4(), "n", frozenset({"a"}), frozenset({"AAPL"}), frozenset({"t"}))
    assert token.may_propose_for("a")
    assert not token.may_propose_for("b")
    assert not token.may_trade("MSFT")
    assert not token.may_hear_of("u")
