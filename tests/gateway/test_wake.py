"""A signed push wakes the catch-up once; nothing else does, and nothing that is pushed is read."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from gateway import wake
from gateway.app import build_app
from gateway.problems import Problem
from gateway.wake import SIGNATURE, TOLERANCE, signed
from tests.gateway.conftest import Gateway

SECRET = "a-secret-of-the-broker-of-more-than-32-characters"
INVENTED = json.dumps(
    {
        "event": "fill",
        "execution_id": "x",
        "qty": "1000",
        "price": "1",
        "order": {"id": "o", "symbol": "AAPL"},
    }
).encode()
AT_ONCE = int(wake.WAKES_AT_ONCE)
NOW = datetime(2026, 11, 26, 15, 0, 0, 250_000, tzinfo=UTC)


def headers(body: bytes, *, secret: str = SECRET, ahead: timedelta = timedelta(0)) -> dict[str, str]:
    at = int((NOW + ahead).timestamp())
    return {SIGNATURE: f"t={at},v1={signed(secret, at, body).hex()}"}


@asynccontextmanager
async def door(gateway: Gateway, *, secret: str | None = SECRET) -> AsyncIterator[httpx2.AsyncClient]:
    """One gateway process of several on the same database."""
    deps = replace(gateway.deps, wake_secret=None if secret is None else SecretStr(secret), now=lambda: NOW)
    transport = httpx2.ASGITransport(app=build_app(deps), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as http:
        yield http


async def wakes(gateway: Gateway) -> int:
    async with gateway.database.connection() as connection:
        return int(await connection.fetchval("select wakes from broker_wakes"))


async def push(http: httpx2.AsyncClient, body: bytes, **how: Any) -> httpx2.Response:
    return await http.post("/v1/broker/wake", content=body, headers=headers(body, **how))


def refused(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, Problem.model_validate(answer.json()).error.code.value


async def test_a_signed_push_wakes_once_and_books_nothing(gateway: Gateway) -> None:
    async with door(gateway) as one, door(gateway) as two:
        answer = await push(one, INVENTED)
        assert (answer.status_code, answer.content, await wakes(gateway)) == (204, b"", 1)
        for replayed in (one, two, one):
            assert refused(await push(replayed, INVENTED)) == (401, "BAD_SIGNATURE")
        assert (await push(two, b"")).status_code == 204
        assert (await push(two, b"\xff not json")).status_code == 204
    assert await wakes(gateway) == 3
    for table in ("executions", "journal", "orders", "events"):
        assert await gateway.count(table) == 0, table


@pytest.mark.parametrize(
    "wrong",
    [
        {}, {SIGNATURE: ""}, {SIGNATURE: "v1=00"}, {SIGNATURE: f"t=1,v1={64 * '0'}"},
        {SIGNATURE: f"t={12 * '9'},v1={64 * '0'}"}, headers(b"{} "),
        headers(b"{}", secret="another secret of more than 32 characters"),
        headers(b"{}", ahead=TOLERANCE + timedelta(seconds=1)),
        headers(b"{}", ahead=-TOLERANCE - timedelta(seconds=1)),
        {SIGNATURE: headers(b"{}")[SIGNATURE].upper()}, {SIGNATURE: headers(b"{}")[SIGNATURE] + ",v1=00"},
        {SIGNATURE: headers(b"{}")[SIGNATURE].replace("t=1", "t=0")},
    ],
)  # fmt: skip
async def test_whatever_is_wrong_is_one_refusal(shared_gateway: Gateway, wrong: dict[str, str]) -> None:
    async with door(shared_gateway) as http:
        answer = await http.post("/v1/broker/wake", content=b"{}", headers=wrong)
    assert refused(answer) == (401, "BAD_SIGNATURE")
    assert await wakes(shared_gateway) == 0


async def test_without_a_secret_and_with_too_large_a_body(shared_gateway: Gateway) -> None:
    async with door(shared_gateway, secret=None) as http:
        assert refused(await push(http, b"{}")) == (501, "WAKE_NOT_CONFIGURED")
    async with door(shared_gateway) as http:
        assert refused(await push(http, b" " * 70_000)) == (413, "TOO_LARGE")
        token = {"Authorization": "Bearer token-of-momentum"}
        assert refused(await http.post("/v1/broker/wake", headers=token)) == (401, "BAD_SIGNATURE")
        document = (await http.get("/openapi.json")).json()
    documented = document["paths"]["/v1/broker/wake"]["post"]
    assert {"204", "401", "408", "413", "429", "500", "501", "503"} == set(documented["responses"])
    assert "security" not in documented
    assert await wakes(shared_gateway) == 0


async def test_a_flood_is_bounded_and_forged_ones_take_nobodys_turn(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake, "WAKES_PER_SECOND", 0.0)
    async with door(gateway) as http:
        for number in range(2 * AT_ONCE):
            await push(http, b"%d" % number, secret="another secret of more than 32 characters")
        codes = [(await push(http, b"%d" % number)).status_code for number in range(AT_ONCE + 2)]
        assert codes == [204] * AT_ONCE + [429, 429]
        answer = await push(http, b"one more")
        assert refused(answer) == (429, "TOO_MANY_WAKES")
        assert int(answer.headers["Retry-After"]) > 0
    assert await wakes(gateway) == AT_ONCE


async def test_what_could_not_be_noted_may_be_pushed_again(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> bool:
        raise OSError("the database is away")

    async with door(gateway) as http:
        with monkeypatch.context() as broken:
            broken.setattr(wake, "wake", away)
            assert refused(await push(http, b"{}")) == (503, "UNAVAILABLE")
        assert (await push(http, b"{}")).status_code == 204
