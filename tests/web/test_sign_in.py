"""Coming in, signing in and out, and what is asked once more."""

from datetime import timedelta

from schemas.people import Role
from tests.web.browser import COOKIE, Web


async def test_the_first_admin_comes_in_by_the_link_and_signs_in_again(web: Web) -> None:
    browser = web.browser()
    assert (await browser.get("/")).headers["location"] == "/login"
    link = await web.first_admin()
    assert "first Admin" in (await browser.get(link)).text
    await browser.come_in(link, "jo")
    again = await web.browser().get("/", headers={"Cookie": f"{COOKIE}={browser.cookie}"})
    assert again.status_code == 200
    home = await browser.get("/")
    assert home.status_code == 200
    assert "jo" in home.text
    assert "MODE NOT KNOWN" in home.text, "no broker has said yet"
    cookie = browser.cookie
    assert (await browser.post("/logout")).headers["location"] == "/login"
    browser.http.cookies.clear()
    old = await browser.get("/", headers={"Cookie": f"{COOKIE}={cookie}"})
    assert old.status_code == 303, "the old cookie opens nothing"
    await browser.sign_in()
    assert (await browser.get("/access")).status_code == 200
    assert (await web.browser().get(link)).status_code == 404, "the link works once"
    assert await web.decisions() == [
        "FIRST_ADMIN_LINK_MADE", "PERSON_CAME_IN", "TOTP_ENROLLED", "SIGNED_IN", "SIGNED_OUT", "PASSWORD_TAKEN",
        "SIGNED_IN",
    ]  # fmt: skip


async def test_an_admin_invites_after_showing_the_factor_once_more(web: Web) -> None:
    admin = await web.person("jo", Role.ADMIN)
    web.later(timedelta(minutes=6))
    asked = await admin.post("/access/invite", {"name": "sam", "role": "viewer"})
    assert asked.status_code == 403
    assert asked.headers["x-error-code"] == "STEP_UP_REQUIRED"
    cookie = admin.cookie
    await admin.step_up()
    assert admin.cookie != cookie, "another secret after each step-up"
    invited = await admin.post("/access/invite", {"name": "sam", "role": "viewer"})
    assert invited.status_code == 200
    assert "/welcome/" in invited.text
