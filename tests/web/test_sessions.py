"""Sessions and people: what ends one, what bites on the next request, what nobody can do."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import httpx2
import pytest

from console.web.app import build_console
from schemas.people import Role
from tests.web.browser import COOKIE, PASSWORD, Browser, Web


async def reaches(browser: Browser, path: str = "/") -> bool:
    return (await browser.get(path)).status_code == 200


async def test_a_lost_role_bites_on_the_next_request(web: Web) -> None:
    admin, sam = await web.person("jo", Role.ADMIN), await web.person("sam", Role.ADMIN)
    assert await reaches(sam, "/settings")
    await admin.step_up()
    assert (await admin.post("/access/role", {"name": "sam", "role": "viewer"})).status_code == 303
    answer = await sam.get("/settings")
    assert answer.status_code == 403
    assert answer.headers["x-error-code"] == "ROLE_TOO_LOW"
    assert await reaches(sam)


async def test_disabling_bites_on_the_next_request(web: Web) -> None:
    admin, sam = await web.person("jo", Role.ADMIN), await web.person("sam", Role.RISK)
    assert await reaches(sam)
    await admin.step_up()
    assert (await admin.post("/access/disable", {"name": "sam"})).status_code == 303
    assert not await reaches(sam)
    assert (await sam.give_password()).status_code == 401
    assert (await admin.post("/access/enable", {"name": "sam"})).status_code == 303
    assert not await reaches(sam), "old sessions stay ended"
    await sam.sign_in()


async def test_a_session_ended_elsewhere_is_ended_here(web: Web) -> None:
    jo = await web.person("jo", Role.VIEWER)
    async with web.deps.database.connection() as connection:
        session_id = str(await connection.fetchval("select session_id from sessions"))
    other = web.browser()
    other.name, other.totp = jo.name, jo.totp
    await other.sign_in()
    sam = await web.person("sam", Role.RISK)
    await sam.post("/access/session", {"session_id": session_id})
    assert await reaches(jo), "another's session is an Admin's to end"
    assert (await other.post("/access/session", {"session_id": session_id})).status_code == 303
    assert not await reaches(jo)
    assert await reaches(other)


async def test_sessions_end_when_idle_and_at_last(web: Web) -> None:
    jo = await web.person("jo", Role.VIEWER)
    for _ in range(28):
        web.later(timedelta(minutes=25))
        assert await reaches(jo), "in use"
    web.later(timedelta(minutes=20))
    assert not await reaches(jo), "twelve hours are enough"
    await jo.sign_in()
    web.later(timedelta(minutes=30, seconds=1))
    assert not await reaches(jo), "idle"


async def test_only_a_hash_of_the_cookie_is_stored_and_it_changes_at_each_factor(web: Web) -> None:
    jo = await web.person("jo", Role.VIEWER)
    seen = {jo.cookie}
    await jo.step_up()
    seen.add(jo.cookie)
    for each in (*seen, PASSWORD, jo.totp):
        for table in ("sessions", "people", "one_time_links", "audit_payloads"):
            assert await web.count(f"{table} t where t::text like $1", f"%{each}%") == 0
    assert len(seen) == 2
    old = web.browser()
    for each in seen - {jo.cookie}:
        answer = await old.get("/", headers={"Cookie": f"{COOKIE}={each}"})
        assert answer.status_code == 303


async def test_the_cookie_is_bound_to_the_host_over_https(web: Web) -> None:
    settings = replace(web.deps.settings, origin="https://console.example.com")
    app = build_console(replace(web.deps, settings=settings))
    await web.person("jo", Role.VIEWER)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url="https://console.example.com",
        headers={"Origin": "https://console.example.com"},
    ) as http:  # fmt: skip
        answer = await http.post("/login", data={"name": "jo", "password": PASSWORD})
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("__host-console=")
    assert {"secure", "httponly", "samesite=strict", "path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "domain" not in cookie
    assert answer.headers["strict-transport-security"]


async def test_the_last_admin_stays(web: Web) -> None:
    jo = await web.person("jo", Role.ADMIN)
    for path, more in (("disable", {}), ("reset", {}), ("role", {"role": "risk"})):
        answer = await jo.post(f"/access/{path}", {"name": "jo", **more})
        assert answer.status_code == 409, path
    sam = await web.person("sam", Role.ADMIN)
    await jo.step_up()
    await sam.step_up()
    both = await asyncio.gather(
        jo.post("/access/disable", {"name": "sam"}), sam.post("/access/disable", {"name": "jo"})
    )
    assert sorted(answer.status_code for answer in both)[0] == 303
    assert await web.count("people where role = 'admin' and disabled_at is null") == 1


async def test_a_link_lets_one_in_once_and_for_an_hour(web: Web) -> None:
    link = await web.first_admin()
    form = {"name": "jo", "password": PASSWORD, "again": PASSWORD}
    answers = await asyncio.gather(
        *(web.browser().post(link, {**form, "name": f"jo{number}"}) for number in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [303, 404, 404, 404, 404]
    assert await web.count("people") == 1
    late = await web.link("sam", Role.VIEWER)
    web.later(timedelta(hours=1))
    assert (await web.browser().get(late)).status_code == 404
    assert (await web.browser().post(late, form)).status_code == 404
    newer = await web.link("sam", Role.VIEWER)
    newest = await web.link("sam", Role.VIEWER)
    assert (await web.browser().get(newer)).status_code == 404, "the newest alone"
    assert (await web.browser().get(newest)).status_code == 200


@pytest.mark.parametrize(
    ("password", "status"),
    [
        ("elevenchars", 422), ("aaaaaaaaaaaaaa", 422), ("jojojojojojo", 422), ("twelve chars", 303),
        ("x y" * 100, 422), ("correct horse " * 30, 303),
    ],
)  # fmt: skip
async def test_what_may_be_a_password(web: Web, password: str, status: int) -> None:
    link = await web.first_admin()
    answer = await web.browser().post(link, {"name": "jo", "password": password, "again": password})
    assert answer.status_code == status


async def test_a_reset_takes_every_way_in_and_its_link_gives_new_ones(web: Web) -> None:
    admin, sam = await web.person("jo", Role.ADMIN), await web.person("sam", Role.RISK)
    await admin.step_up()
    page = await admin.post("/access/reset", {"name": "sam"})
    link = "/welcome/" + page.text.partition("/welcome/")[2].partition("<")[0]
    assert not await reaches(sam)
    assert (await sam.give_password()).status_code == 401
    await sam.come_in(link, "sam", "another password altogether")
    assert await reaches(sam)


async def test_without_a_second_factor_nothing_can_be_done_but_to_enrol_one(web: Web) -> None:
    browser = web.browser()
    await browser.post(await web.first_admin(), {"name": "jo", "password": PASSWORD, "again": PASSWORD})
    for path in ("/", "/access", "/settings"):
        assert (await browser.get(path)).headers["location"] == "/enrol"
    assert (await browser.post("/access/invite", {"name": "sam", "role": "admin"})).status_code == 401
    assert (await browser.post("/enrol/recovery")).status_code == 422
    assert (await browser.post("/enrol/password", {"password": "y" * 20, "again": "y" * 20})).status_code in (
        403,
        422,
    )
    assert await reaches(browser, "/enrol")


async def test_a_changed_password_ends_every_other_session(web: Web) -> None:
    jo = await web.person("jo", Role.VIEWER)
    other = web.browser()
    other.name, other.totp = jo.name, jo.totp
    await other.sign_in()
    new = "a wholly different sentence"
    assert (await jo.post("/enrol/password", {"password": new, "again": new})).status_code == 303
    assert await reaches(jo)
    assert not await reaches(other)
    assert (await other.give_password()).status_code == 401
    other.password = new
    await other.sign_in()


async def test_the_last_second_factor_stays(web: Web) -> None:
    jo = await web.person("jo", Role.VIEWER)
    assert (await jo.post("/enrol/totp/remove")).status_code == 409


async def test_the_picture_of_a_secret_is_plain_and_its_page_holds_no_style(web: Web) -> None:
    jo = await web.person("jo", Role.VIEWER)
    await jo.post("/enrol/totp")
    picture = await jo.get("/enrol/totp.svg")
    assert picture.headers["content-type"] == "image/svg+xml"
    assert picture.headers["cache-control"] == "no-store"
    assert b"style" not in picture.content
    assert b"script" not in picture.content
    page = (await jo.get("/enrol/totp")).text
    assert " style=" not in page
    assert "<script>" not in page
