"""A person in real Chromium: first link, a passkey by a virtual authenticator, a code generator, step-up."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyotp
import pytest

from console.web.app import build_console
from gateway.server import listening
from security.passkeys import Passkeys
from tests.servers.session import unavailable
from tests.web.browser import PASSWORD, Web
from workers.datadir import free_port

if TYPE_CHECKING:
    from playwright.async_api import Page

CHROMIUM: Final = Path("/usr/bin/chromium")
SECRET: Final = re.compile(r"([A-Z2-7]{4} ){7}[A-Z2-7]{4}")


@asynccontextmanager
async def page_of(web: Web) -> AsyncIterator[tuple["Page", list[str]]]:
    """A page at the console, served on a port of its own, with an authenticator; and what it complained of."""
    if not CHROMIUM.exists():
        unavailable(FileNotFoundError(f"{CHROMIUM}: make install-servers puts it there"))
    from playwright.async_api import async_playwright

    port = free_port()
    settings = replace(web.deps.settings, origin=f"http://localhost:{port}")
    passkeys = Passkeys(settings.origin, settings.rp_id)
    app = build_console(replace(web.deps, settings=settings, passkeys=passkeys))
    async with listening(app, port=port), async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = await browser.new_context(base_url=settings.origin)
        page = await context.new_page()
        complaints: list[str] = []
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        session = await context.new_cdp_session(page)
        await session.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
            "isUserVerified": True, "automaticPresenceSimulation": True,
        }  # fmt: skip
        await session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        try:
            yield page, complaints
        finally:
            await browser.close()


@pytest.mark.timeout(300)
async def test_the_first_admin_comes_in_with_a_passkey_and_adds_a_code_generator(web: Web) -> None:
    link = await web.first_admin()
    async with page_of(web) as (page, complaints):
        await page.goto(link)
        await page.get_by_label("Your name").fill("jo")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_label("The same again").fill(PASSWORD)
        await page.get_by_role("button", name="Go on").click()
        await page.get_by_role("button", name="Register a passkey").click()
        await page.get_by_role("button", name="Make recovery codes").click()
        assert await page.locator(".codes li").count() == 10
        await page.goto("/")
        await page.get_by_role("button", name="Sign out").click()
        await sign_in(page)
        await page.get_by_role("button", name="Use a passkey").click()
        await page.get_by_role("button", name="Sign out").wait_for()

        web.later(timedelta(minutes=6))
        await page.goto("/access")
        await page.get_by_label("Name").fill("sam")
        await page.get_by_role("button", name="Invite").click()
        await page.get_by_role("button", name="Use a passkey").click()
        await page.get_by_role("heading", name="Access").wait_for()
        await page.get_by_label("Name").fill("sam")
        await page.get_by_role("button", name="Invite").click()
        await page.get_by_text("sam is invited").wait_for()

        await page.goto("/enrol")
        await page.get_by_role("button", name="Set up a code generator").click()
        await page.get_by_alt_text("QR code").wait_for()
        found = SECRET.search(await page.locator("main").inner_text())
        assert found is not None
        generator = pyotp.TOTP(found[0].replace(" ", ""))
        assert await page.evaluate("document.querySelector('img.qr').naturalWidth") > 0, "it is drawn"
        await page.get_by_label("Code").fill(generator.at(web.clock[0]))
        await page.get_by_role("button", name="Go on").click()
        await page.get_by_role("button", name="Sign out").click()
        await sign_in(page)
        web.later(timedelta(seconds=30))
        await page.get_by_label("Code of your generator").fill(generator.at(web.clock[0]))
        await page.get_by_role("button", name="Go on").last.click()
        await page.get_by_role("button", name="Sign out").wait_for()
        assert _unexpected(complaints) == []
    async with web.deps.database.connection() as connection:
        assert await connection.fetchval("select sign_count from passkeys") == 3


async def sign_in(page: Any) -> None:
    await page.get_by_label("Name").fill("jo")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Go on").click()


def _unexpected(complaints: list[str]) -> list[str]:
    """The 403 that asks for the factor once more is meant."""
    return [each for each in complaints if "403" not in each]
