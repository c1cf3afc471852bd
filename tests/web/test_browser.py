"""People in real Chromium: a first link, a passkey of a virtual authenticator, a code generator, step-up."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pyotp
import pytest

from tests.web.browser import PASSWORD, Web
from tests.web.chromium import Seat, running, seated, served, shown_secret

if TYPE_CHECKING:
    from playwright.async_api import Browser as Chromium

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
