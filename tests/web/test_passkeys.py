"""Passkeys: a software authenticator that does it right, and one that does it wrong in every way."""

import os
from datetime import timedelta
from typing import Any, Final

import httpx2
import pytest

from schemas.people import Role
from tests.web.browser import ORIGIN, Browser, Web
from workers.chaos.authenticator import Passkey

JSON: Final = {"Accept": "application/json"}
ROUNDS: Final = 10
"""Of every attack below: with eleven of them more than a hundred tries."""


async def options(browser: Browser, path: str) -> dict[str, Any]:
    found: dict[str, Any] = (await browser.http.post(path, headers=JSON)).json()
    return found


async def register(browser: Browser, passkey: Passkey, **wrong: Any) -> httpx2.Response:
    asked = await options(browser, "/enrol/passkey/options")
    origin = wrong.pop("origin", ORIGIN)
    return await browser.http.post(
        "/enrol/passkey", json=passkey.register(asked, origin, **wrong), headers=JSON
    )


async def show(browser: Browser, passkey: Passkey, **wrong: Any) -> httpx2.Response:
    """Answer a fresh challenge, with what an attacker changes."""
    asked = await options(browser, "/login/second/passkey/options")
    answer = passkey.sign_in(asked, wrong.pop("origin", ORIGIN), **wrong)
    return await browser.http.post("/login/second/passkey", json=answer, headers=JSON)


async def with_passkey(web: Web, name: str = "jo") -> tuple[Browser, Passkey]:
    """Somebody with a passkey, at the second step of signing in."""
    browser, passkey = await web.person(name, Role.VIEWER), Passkey()
    assert (await register(browser, passkey)).status_code == 200
    browser.http.cookies.clear()
    assert (await browser.give_password()).status_code == 303
    return browser, passkey


async def test_a_passkey_is_registered_and_signs_in(web: Web) -> None:
    browser, passkey = await with_passkey(web)
    assert (await browser.get("/")).status_code == 303
    answer = await show(browser, passkey)
    assert answer.status_code == 200, answer.text
    assert (await browser.get("/")).status_code == 200
    async with web.deps.database.connection() as connection:
        assert await connection.fetchval("select sign_count from passkeys") == 2


async def test_a_passkey_can_be_the_first_factor(web: Web) -> None:
    browser, passkey = web.browser(), Passkey()
    link = await web.link("jo", Role.VIEWER)
    await browser.post(link, {"password": browser.password, "again": browser.password})
    answer = await register(browser, passkey)
    assert answer.json()["location"] == "/enrol/recovery"
    assert (await browser.get("/")).status_code == 200


async def test_a_passkey_that_does_not_count_at_all_is_taken(web: Web) -> None:
    browser, passkey = await web.person("jo", Role.VIEWER), Passkey(counter=-1)
    assert (await register(browser, passkey)).status_code == 200
    for _ in range(2):
        assert (await show(browser, passkey, counter=0)).status_code == 200


async def forget(web: Web) -> None:
    """So that it is the check, not the lock, that keeps an attacker out."""
    async with web.deps.database.transaction("test") as connection:
        await connection.execute("delete from sign_in_tries")


async def attack(web: Web, jo: Browser, passkey: Passkey, others: Passkey, kind: str) -> httpx2.Response:
    """One wrong answer of that kind."""
    match kind:
        case "wrong origin":
            return await show(jo, passkey, origin="https://console.evil.example")
        case "wrong scheme":
            return await show(jo, passkey, origin=ORIGIN.replace("http:", "https:"))
        case "wrong rpId":
            return await show(jo, passkey, rp_id="evil.example")
        case "reused challenge":
            asked = await options(jo, "/login/second/passkey/options")
            wrong = passkey.sign_in(asked, ORIGIN, verified=False)
            await jo.http.post("/login/second/passkey", json=wrong, headers=JSON)
            await forget(web)
            right = passkey.sign_in(asked, ORIGIN)
            return await jo.http.post("/login/second/passkey", json=right, headers=JSON)
        case "another challenge":
            return await show(jo, passkey, challenge="A" * 43)
        case "counter back":
            return await show(jo, passkey, counter=1)
        case "other user's credential":
            return await show(jo, others)
        case "another key under this name":
            return await show(jo, Passkey(credential_id=passkey.credential_id, counter=100))
        case "no verification":
            return await show(jo, passkey, verified=False)
        case "another act's answer":
            return await show(jo, passkey, kind="webauthn.create")
        case "other user's handle":
            return await show(jo, passkey, user_handle=os.urandom(16))
        case _:
            return await show(jo, passkey, signature=os.urandom(70))


ATTACKS: Final = (
    "wrong origin", "wrong scheme", "wrong rpId", "reused challenge", "another challenge", "counter back",
    "other user's credential", "another key under this name", "no verification", "another act's answer",
    "other user's handle", "nonsense signature",
)  # fmt: skip


async def test_no_wrong_answer_of_more_than_a_hundred_is_taken(web: Web) -> None:
    _, others = await with_passkey(web, "sam")
    jo, passkey = await with_passkey(web)
    made, accepted = 0, []
    for kind in ATTACKS:
        for _ in range(ROUNDS):
            await forget(web)
            answer = await attack(web, jo, passkey, others, kind)
            made += 1
            if answer.status_code != 401 or (await jo.get("/")).status_code == 200:
                accepted.append(f"{kind}: {answer.status_code} {answer.text}")
    assert made >= 100
    assert accepted == []
    await forget(web)
    passkey.counter = 1000
    assert (await show(jo, passkey)).status_code == 200, "and the right answer still is"


@pytest.mark.parametrize(
    "wrong",
    [
        {"origin": "https://console.evil.example"}, {"rp_id": "evil.example"}, {"verified": False},
        {"challenge": "A" * 43}, {"kind": "webauthn.get"},
    ],
)  # fmt: skip
async def test_no_passkey_is_registered_by_a_wrong_answer(web: Web, wrong: dict[str, Any]) -> None:
    jo = await web.person("jo", Role.VIEWER)
    assert (await register(jo, Passkey(), **wrong)).status_code == 422
    assert await web.count("passkeys") == 0


async def test_a_challenge_is_of_one_session_and_not_for_long(web: Web) -> None:
    jo, passkey = await with_passkey(web)
    other = web.browser()
    other.name, other.password = jo.name, jo.password
    assert (await other.give_password()).status_code == 303
    asked = await options(jo, "/login/second/passkey/options")
    stolen = passkey.sign_in(asked, ORIGIN)
    answer = await other.http.post("/login/second/passkey", json=stolen, headers=JSON)
    assert answer.status_code == 401
    web.later(timedelta(minutes=5))
    late = await jo.http.post("/login/second/passkey", json=passkey.sign_in(asked, ORIGIN), headers=JSON)
    assert late.status_code == 401


@pytest.mark.parametrize(
    "answer",
    [{}, {"id": 1}, {"rawId": "%%%"}, {"rawId": "QQ", "response": "x"}, {"rawId": "QQ", "response": {}}],
)
async def test_a_malformed_answer_is_a_wrong_one(web: Web, answer: dict[str, Any]) -> None:
    jo, passkey = await with_passkey(web)
    known = passkey.sign_in(await options(jo, "/login/second/passkey/options"), ORIGIN)["rawId"]
    for given in (answer, answer | {"rawId": known}):
        await options(jo, "/login/second/passkey/options")
        await forget(web)
        assert (await jo.http.post("/login/second/passkey", json=given, headers=JSON)).status_code == 401
