"""Real Chromium for tests: one for a file, a context for each person, and all that their pages complain of."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from console.web.app import build_console
from gateway.server import listening
from schemas.people import Role
from security.passkeys import Passkeys
from tests.servers.session import unavailable
from tests.web.browser import COOKIE, PASSWORD, Browser, Web
from workers.datadir import free_port

if TYPE_CHECKING:
    from playwright.async_api import Browser as Chromium
    from playwright.async_api import Page

PROGRAM: Final = Path("/usr/bin/chromium")
WITHIN_MS: Final = 120_000
"""However busy the machine is."""
SIGNED_IN_BEFORE: Final = timedelta(minutes=6)
"""So that what needs a fresh second factor asks for it."""
NETWORK: Final = "Failed to load resource: the server responded with a status of"
"""What the browser's console says of each answer that `Seat.noes` holds too."""


@asynccontextmanager
async def running() -> AsyncIterator["Chromium"]:
    """The browser. Without one the test is skipped, and fails in CI."""
    if not PROGRAM.exists():
        unavailable(FileNotFoundError(f"{PROGRAM}: make install-servers puts it there"))
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox"])
        yield browser
        await browser.close()


@asynccontextmanager
async def served(web: Web, **deps: Any) -> AsyncIterator[Web]:
    """The console, with these deps changed, on a port of its own."""
    port = free_port()
    settings = replace(web.deps.settings, origin=f"http://localhost:{port}")
    passkeys = Passkeys(settings.origin, settings.rp_id)
    changed = replace(web.deps, settings=settings, passkeys=passkeys, **deps)
    made = Web(build_console(changed), changed, web.clock, web.owner)
    async with listening(made.app, port=port):
        yield made


@dataclass
class Seat:
    """One person at one page."""

    web: Web
    page: "Page"
    person: Browser | None
    complaints: list[str] = field(default_factory=list)
    """Errors of scripts and of the browser's console, what the policy refused among them."""
    noes: list[tuple[int, str]] = field(default_factory=list)
    """Answers that refused: status and path."""

    async def go(self, path: str) -> None:
        """Open a page."""
        answer = await self.page.goto(path)
        assert answer is not None
        assert answer.status == 200, (path, answer.status)

    async def press(self, button: str) -> None:
        await self.page.get_by_role("button", name=button, exact=True).click()

    async def follow(self, link: str) -> None:
        await self.page.get_by_role("link", name=link, exact=True).click()

    async def fill(self, **fields: str) -> None:
        """Fields by their names."""
        for name, value in fields.items():
            await self.page.locator(f"main [name={name}]:not([type=hidden])").fill(value)

    async def sees(self, text: str, *, within: str = "main") -> None:
        """Wait until the page shows it."""
        await self.page.locator(within, has_text=text).first.wait_for()

    async def text(self) -> str:
        return await self.page.locator("main").inner_text()

    async def was_told_no(self, status: int, path: str) -> None:
        """The page shows a refusal, which was meant; no other one was."""
        await self.page.locator("[role=alert]").first.wait_for()
        assert self.noes == [(status, path)]
        self.noes.clear()

    async def shows_code(self, code: str = "") -> None:
        """Type a code of the generator where the page asks for it: what it shows now."""
        if not code:
            assert self.person is not None
            self.web.clock[0] = datetime.now(UTC)
            code = self.person.code()
        await self.page.get_by_label("Code of your generator").fill(code)
        await self.page.locator("form:has([value=totp]) button").click()

    async def gives_password(self, name: str) -> None:
        await self.fill(name=name, password=PASSWORD)
        await self.press("Go on")

    async def steps_up(self, path: str) -> None:
        """Be asked for the second factor at an act, and show it."""
        await self.page.get_by_role("heading", name="Show your second factor").wait_for()
        await self.was_told_no(403, path)
        await self.shows_code()
        await self.page.locator(".step-up").wait_for(state="detached")


@asynccontextmanager
async def seated(chromium: "Chromium", web: Web, person: Browser | None = None) -> AsyncIterator[Seat]:
    """A context of the browser for one person, signed in; None: for somebody who is not.

    At its end nothing must be left that a page complained of, and no refusal that the test did not expect.
    """
    context = await chromium.new_context(base_url=web.deps.settings.origin)
    context.set_default_timeout(WITHIN_MS)
    try:
        if person is not None:
            assert person.cookie is not None
            cookie: Any = {
                "name": COOKIE, "value": person.cookie, "url": web.deps.settings.origin, "httpOnly": True,
                "sameSite": "Strict",
            }  # fmt: skip
            await context.add_cookies([cookie])
        seat = Seat(web, await context.new_page(), person)
        _listen(seat)
        yield seat
    finally:
        await context.close()
    assert (seat.complaints, seat.noes) == ([], [])


def _listen(seat: Seat) -> None:
    def said(told: Any) -> None:
        if told.type == "error" and not told.text.startswith(NETWORK):
            seat.complaints.append(told.text)

    def answered(answer: Any) -> None:
        if answer.status >= 400:
            seat.noes.append((answer.status, urlsplit(answer.url).path))

    seat.page.on("pageerror", lambda error: seat.complaints.append(str(error)))
    seat.page.on("console", said)
    seat.page.on("response", answered)


async def worker(web: Web, name: str, role: Role) -> Browser:
    """Somebody with a code generator who signed in a while ago. All of a test come in before anybody acts."""
    web.clock[0] = datetime.now(UTC) - SIGNED_IN_BEFORE
    person = await web.person(name, role)
    web.clock[0] = datetime.now(UTC)
    return person


def shown_secret(text: str) -> str:
    """The code generator's secret on the page that sets it up."""
    found = re.search(r"([A-Z2-7]{4} ){7}[A-Z2-7]{4}", text)
    assert found is not None, text
    return found[0].replace(" ", "")
