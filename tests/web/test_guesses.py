"""Guessing: what it costs, what it tells, and what an old code is worth."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from schemas.people import Role
from security.passwords import Passwords
from storage.sessions import TRIES_MAX
from tests.web.browser import Browser, Web

WRONG = "not the password of anybody"
REPLAYS_AT_ONCE = 20


class Counted(Passwords):
    """Counts comparisons, and notes whether each was of a real hash."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_kib=8, parallelism=1)
        self.compared: list[bool] = []

    def _check(self, stored: str | None, password: str) -> bool:
        self.compared.append(stored is not None)
        return super()._check(stored, password)


async def tries(web: Web) -> list[tuple[int, bool]]:
    """Each subject's tries, and whether it is locked."""
    async with web.deps.database.connection() as connection:
        rows = await connection.fetch(
            "select tries, locked_until > $1 as locked from sign_in_tries order by subject", web.clock[0]
        )
    return [(row["tries"], bool(row["locked"])) for row in rows]


async def forget(web: Web) -> None:
    """As if a day had gone by."""
    async with web.deps.database.transaction("test") as connection:
        await connection.execute("delete from sign_in_tries")


async def out(web: Web, name: str = "jo", role: Role = Role.VIEWER) -> Browser:
    """Somebody known, at a browser that knows nothing."""
    browser = await web.person(name, role)
    browser.http.cookies.clear()
    return browser


async def test_twenty_guesses_at_once_spend_twenty_tries(web: Web) -> None:
    jo = await out(web)
    # The right one is among them, and comes too late.
    guesses = [WRONG] * (REPLAYS_AT_ONCE - 1) + [jo.password]
    answers = await asyncio.gather(*(jo.give_password(guess) for guess in guesses[:-1]))
    assert {answer.status_code for answer in answers} == {401}
    assert await tries(web) == [(19, True)]
    assert (await jo.give_password()).status_code == 401
    assert await tries(web) == [(20, True)]
    assert await web.count("audit_log where decision = 'SIGN_IN_FAILED'") == 20


async def test_twenty_codes_at_once_spend_twenty_tries(web: Web) -> None:
    jo = await out(web)
    assert (await jo.give_password()).status_code == 303
    wrong = [f"{number:06d}" for number in range(REPLAYS_AT_ONCE) if f"{number:06d}" != jo.code()]
    answers = await asyncio.gather(*(jo.give_code(code) for code in wrong))
    assert {answer.status_code for answer in answers} == {401}
    assert await tries(web) == [(len(wrong), True)]
    assert (await jo.give_code()).status_code == 401, "locked: the right one is not even compared"


async def test_each_wrong_try_makes_the_next_one_wait_longer_and_ten_lock(web: Web) -> None:
    jo = await out(web)
    waited = []
    for _ in range(TRIES_MAX):
        assert (await jo.give_password(WRONG)).status_code == 401
        async with web.deps.database.connection() as connection:
            until = await connection.fetchval("select not_before from sign_in_tries")
        waited.append((until - web.clock[0]).total_seconds())
        if waited[-1] > 0 and len(waited) < TRIES_MAX:
            assert (await jo.give_password()).status_code == 401, "too soon, though right"
            # What came too soon counted too: take it back, so that this counts the waits alone.
            async with web.deps.database.transaction("test") as connection:
                await connection.execute("update sign_in_tries set tries = tries - 1, not_before = $1", until)
        web.later(timedelta(seconds=waited[-1]))
    assert waited == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert (await jo.give_password()).status_code == 401, "locked"
    web.later(timedelta(minutes=15))
    await jo.sign_in()
    assert await tries(web) == [], "a success forgets them"


async def test_a_second_lock_lasts_longer_and_an_admin_ends_it(web: Web) -> None:
    jo = await out(web)
    admin = await web.person("admin", Role.ADMIN)
    lengths = []
    for _ in range(3):
        for _ in range(TRIES_MAX + 1):
            await jo.give_password(WRONG)
        async with web.deps.database.connection() as connection:
            until = await connection.fetchval("select locked_until from sign_in_tries")
        lengths.append(round((until - web.clock[0]) / timedelta(minutes=1)))
        web.later(until - web.clock[0])
    assert lengths == [15, 30, 60]
    for _ in range(TRIES_MAX + 1):
        await jo.give_password(WRONG)
    await admin.sign_in()
    assert (await admin.post("/access/unlock", {"name": "jo"})).status_code == 303
    await jo.sign_in()


async def test_nothing_tells_who_there_is(web: Web) -> None:
    """The same answer and the same work, whether the password, the name or the moment is wrong."""
    counted = Counted()
    object.__setattr__(web.deps, "passwords", counted)
    jo, sam = await out(web), await out(web, "sam")
    await web.link("invited", Role.VIEWER)
    async with web.deps.database.transaction("test") as connection:
        await connection.execute("update people set disabled_at = $1 where name = 'sam'", web.clock[0])
    counted.compared.clear()

    async def ask(name: str, password: str) -> tuple[Any, ...]:
        before = len(counted.compared)
        answer = await web.browser().post("/login", {"name": name, "password": password})
        return answer.status_code, answer.text, _plain(answer), len(counted.compared) - before

    told = {
        "wrong": await ask("jo", WRONG),
        "nobody": await ask("nobody-here", WRONG),
        "no name at all": await ask("' or 1=1 --", WRONG),
        "disabled": await ask("sam", sam.password),
        "not come in yet": await ask("invited", WRONG),
    }
    for _ in range(TRIES_MAX):
        await ask("jo", WRONG)
    told["locked"] = await ask("jo", jo.password)
    assert len(set(told.values())) == 1, told
    assert told["wrong"][0] == 401
    assert told["wrong"][-1] == 1, "one comparison, whoever it was"


def _plain(answer: httpx2.Response) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in answer.headers.items() if name != "date"))


async def test_names_that_nobody_has_lock_the_address_they_come_from_and_nobody_else(web: Web) -> None:
    jo = await out(web)
    for number in range(TRIES_MAX + 2):
        answer = await web.browser().post("/login", {"name": f"nobody{number}", "password": WRONG})
        assert answer.status_code == 401
    assert await tries(web) == [(TRIES_MAX + 2, True)]
    await jo.sign_in()


async def test_what_was_typed_is_in_no_audit_row(web: Web) -> None:
    jo = await out(web)
    secret = "typed-in-the-wrong-field"
    await web.browser().post("/login", {"name": secret, "password": secret})
    await jo.give_password(secret)
    await jo.give_password()
    await jo.post("/login/second/code", {"kind": "recovery", "code": secret})
    assert await web.count("audit_payloads where payload like $1", f"%{secret}%") == 0
    assert await web.count("audit_log where decision = 'SIGN_IN_FAILED'") == 3


@pytest.mark.parametrize("codes", [2, pytest.param(50, marks=pytest.mark.slow)])
async def test_no_code_opens_twice(web: Web, codes: int) -> None:
    """Each code once right, then 20 times more at once, from sessions of its own: 1,000 replays in the long run."""
    jo = await out(web)
    opened = 0
    sessions: list[Browser] = []
    for _ in range(REPLAYS_AT_ONCE):
        browser = web.browser()
        browser.name, browser.password, browser.totp = jo.name, jo.password, jo.totp
        assert (await browser.give_password()).status_code == 303
        sessions.append(browser)
    for _ in range(codes):
        code = jo.next_code()
        await forget(web)
        assert (await jo.give_password()).status_code == 303
        assert (await jo.give_code(code)).status_code == 303
        for at in range(0, REPLAYS_AT_ONCE, 2):
            await forget(web)  # So that nothing but the used step keeps them out.
            answers = await asyncio.gather(*(each.give_code(code) for each in sessions[at : at + 2]))
            opened += sum(answer.status_code == 303 for answer in answers)
    assert opened == 0
    used = await web.count("audit_payloads where payload like '%used before%'")
    assert used == codes * REPLAYS_AT_ONCE, "each was compared, and refused for that reason"


async def test_one_code_at_once_from_many_browsers_opens_once(web: Web) -> None:
    jo = await out(web)
    browsers = []
    for _ in range(6):
        browser = web.browser()
        browser.name, browser.password, browser.totp = jo.name, jo.password, jo.totp
        assert (await browser.give_password()).status_code == 303
        browsers.append(browser)
    code = jo.next_code()
    answers = await asyncio.gather(*(browser.give_code(code) for browser in browsers))
    assert sum(answer.status_code == 303 for answer in answers) == 1


async def test_a_code_of_another_step_or_shape_is_none(web: Web) -> None:
    jo = await out(web)
    assert (await jo.give_password()).status_code == 303
    soon = jo.next_code()
    web.later(timedelta(seconds=90))
    for code in (soon, "", " ", "12345", "1234567", "abcdef", "１２３４５６", "-00001", "0x1234"):
        await forget(web)
        assert (await jo.post("/login/second/code", {"kind": "totp", "code": code})).status_code in (401, 422)
    await forget(web)
    assert (await jo.post("/login/second/code", {"kind": "sms", "code": jo.code()})).status_code == 422


async def test_a_recovery_code_opens_once(web: Web) -> None:
    jo = await web.person("jo", Role.VIEWER)
    page = (await jo.post("/enrol/recovery")).text
    jo.codes = [part.partition("</code>")[0] for part in page.split("<code>")[1:]]
    assert len(set(jo.codes)) == 10
    jo.http.cookies.clear()
    for expected in (303, 401):
        assert (await jo.give_password()).status_code == 303
        typed = {"kind": "recovery", "code": jo.codes[0].upper().replace("-", " ")}
        assert (await jo.post("/login/second/code", typed)).status_code == expected
    assert (await jo.give_code()).status_code == 303
    assert (await jo.post("/enrol/recovery")).status_code == 200
    assert (await jo.give_password()).status_code == 303
    old = {"kind": "recovery", "code": jo.codes[1]}
    assert (await jo.post("/login/second/code", old)).status_code == 401, "new ones take the place of the old"
