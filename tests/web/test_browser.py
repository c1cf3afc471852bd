"""People in real Chromium: a first link, a passkey of a virtual authenticator, a code generator, a grant by two."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pyotp
import pytest

from schemas.mode import Mode
from schemas.orders import OrderStatus
from schemas.people import Role
from storage.live import save_configuration
from storage.orders import StoredOrder
from tests.postgres.books import refresh
from tests.postgres.test_live_orders import LiveDesk, desk
from tests.postgres.two_people import standing_for
from tests.servers import live
from tests.web.browser import PASSWORD, Web
from tests.web.chromium import Seat, running, seated, served, shown_secret, worker
from tests.web.conftest import console_on

if TYPE_CHECKING:
    from playwright.async_api import Browser as Chromium
    from playwright.async_api import Route

__all__ = ["desk"]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
async def chromium() -> AsyncIterator["Chromium"]:
    """Give the one browser of this file."""
    async with running() as browser:
        yield browser


INVITED_ROLE: Final = "form[action='/access/invite'] [name=role]"


async def with_authenticator(seat: Seat) -> None:
    """Give the page's browser an authenticator that says yes by itself."""
    session = await seat.page.context.new_cdp_session(seat.page)
    await session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
        "isUserVerified": True, "automaticPresenceSimulation": True,
    }  # fmt: skip
    await session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


async def test_the_first_admin_comes_in_with_a_passkey_and_adds_a_code_generator(
    web: Web, chromium: "Chromium"
) -> None:
    async with served(web) as console, seated(chromium, console) as seat:
        await with_authenticator(seat)
        page = seat.page
        await seat.go(await console.first_admin())
        await page.get_by_label("Your name").fill("jo")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_label("The same again").fill(PASSWORD)
        await seat.press("Go on")
        await seat.press("Register a passkey")
        await seat.press("Make recovery codes")
        assert await page.locator(".codes li").count() == 10
        await seat.go("/")
        await seat.press("Sign out")
        await seat.gives_password("jo")
        await seat.press("Use a passkey")
        await page.get_by_role("button", name="Sign out").wait_for()

        console.later(timedelta(minutes=6))
        await seat.go("/access")
        await page.get_by_label("Name").fill("sam")
        await page.locator(INVITED_ROLE).select_option("risk")
        await seat.press("Invite")
        await seat.was_told_no(403, "/access/invite")
        await seat.press("Use a passkey")
        await seat.sees("Nothing was done yet")
        assert await page.get_by_label("Name").input_value() == "sam", "it is not typed twice"
        assert await page.locator(INVITED_ROLE).input_value() == "risk"
        await seat.press("Invite")
        await seat.sees("sam is invited")

        await seat.go("/enrol")
        await seat.press("Set up a code generator")
        await page.get_by_alt_text("QR code").wait_for()
        generator = pyotp.TOTP(shown_secret(await seat.text()))
        assert await page.evaluate("document.querySelector('img.qr').naturalWidth") > 0, "it is drawn"
        await page.get_by_label("Code").fill(generator.at(console.clock[0]))
        await seat.press("Go on")
        await seat.press("Sign out")
        await seat.gives_password("jo")
        console.later(timedelta(seconds=30))
        await seat.shows_code(generator.at(console.clock[0]))
        await page.get_by_role("button", name="Sign out").wait_for()
    async with web.deps.database.connection() as connection:
        assert await connection.fetchval("select sign_count from passkeys") == 3


async def test_a_page_whose_scripts_come_late_is_live_all_the_same(web: Web, chromium: "Chromium") -> None:
    """How: what adds the stream to htmx is held back until htmx has run, and every timer that it may have set."""
    async with served(web) as console:
        viewer = await worker(console, "vera", Role.VIEWER)
        async with seated(chromium, console, viewer) as seat:
            page = seat.page

            async def late(route: "Route") -> None:
                await page.wait_for_function("typeof htmx === 'object'")
                await page.evaluate("new Promise(done => setTimeout(() => setTimeout(done, 50), 50))")
                await route.continue_()

            await page.route("**/htmx-sse*", late)
            await seat.go("/orders")
            await page.locator("#liveness[data-state=live]").wait_for()


@pytest.mark.slow
async def test_two_admins_in_two_browsers_let_orders_go_live_and_one_person_ends_it(
    desk: LiveDesk, database: str, chromium: "Chromium"
) -> None:
    """Judged by the server that stands in for the live brokerage: it is sent one order, between grant and end."""
    await runs_live(desk)
    async with console_on(database) as web, served(web, grant_key=live.SIGNER) as console:
        first, second = await worker(console, "ada", Role.ADMIN), await worker(console, "ben", Role.ADMIN)
        operator = await worker(console, "olga", Role.OPERATOR)
        await standing_for(web.owner)
        async with seated(chromium, console, first) as ada, seated(chromium, console, second) as ben:
            await asks(ada)
            await nobody_grants_to_himself(ada)
            assert (await order(desk, "s1")).reason == "LIVE_NOT_PERMITTED"
            await ben.go("/acts/approvals")
            await ben.sees("Asked by ada")
            path = f"/acts/approvals/{await asked_id(ben)}/carry-out"
            await ben.press(CARRY_OUT)
            await ben.steps_up(path)
            assert (await order(desk, "s2")).reason == "LIVE_NOT_PERMITTED", "the factor alone grants nothing"
            assert desk.posts == 0
            await ben.press(CARRY_OUT)
            await ben.sees("Nothing waits")
            await ada.go("/acts/live")
            await ada.sees("by ada and ben until")
            await ada.sees("in force")
            assert await ada.page.locator("#mode").inner_text() == "LIVE"
            assert (await order(desk, "s3")).status is OrderStatus.ACKNOWLEDGED
            assert desk.posts == 1
        async with seated(chromium, console, operator) as olga:
            await olga.go("/acts/live")
            await olga.fill(reason="enough for today")
            await olga.press("No order may leave any more")
            await olga.sees("by olga: enough for today")
            assert (await order(desk, "s4")).reason == "LIVE_NOT_PERMITTED"
    assert desk.posts == 1


async def order(desk: LiveDesk, signal_id: str) -> StoredOrder:
    """One more, on quotes of this moment: browsers take their time."""
    async with desk.database.transaction("test") as connection:
        await refresh(connection)
    placed: StoredOrder = await desk.order(signal_id)
    return placed


CARRY_OUT: Final = "Carry it out, with my second factor"


async def runs_live(desk: LiveDesk) -> None:
    """What execution writes when it starts."""
    found = live.configuration(desk.server.url, installation=desk.installation.namespace)
    assert found.hash == desk.setup.configuration_hash
    async with desk.database.transaction("test") as connection:
        await save_configuration(
            connection, found, mode=Mode.LIVE, reasons=["nobody has granted it"], component="test",
            now=datetime.now(UTC),
        )  # fmt: skip


async def asks(ada: Seat) -> None:
    """The first Admin; what was typed outlives the second factor."""
    await ada.go("/acts/live")
    await ada.fill(span="8h", reason="the pilot")
    await ada.press("Ask, with my second factor")
    await ada.steps_up("/acts/live/ask")
    assert await ada.page.locator("[name=span]").input_value() == "8h"
    await ada.press("Ask, with my second factor")
    await ada.page.get_by_role("button", name="Take it back").wait_for()


async def nobody_grants_to_himself(ada: Seat) -> None:
    """There is no button; and by hand it is refused."""
    assert await ada.page.get_by_role("button", name=CARRY_OUT).count() == 0
    path = f"/acts/approvals/{await asked_id(ada)}/carry-out"
    shown = await ada.page.locator("article code").text_content()
    await ada.page.evaluate(FORGE, [path, shown])
    await ada.sees("nobody decides what he has asked for himself")
    await ada.was_told_no(409, path)


async def asked_id(seat: Seat) -> str:
    """Of the one wish on the page of approvals."""
    action = await seat.page.locator("article form").first.get_attribute("action")
    assert action is not None
    return action.split("/")[3]


FORGE: Final = """([path, hash]) => {
  const form = Object.assign(document.createElement("form"), { method: "post", action: path });
  form.append(Object.assign(document.createElement("input"), { name: "content_hash", value: hash }));
  document.body.append(form);
  form.submit();
}"""
"""The form that the page does not show."""
