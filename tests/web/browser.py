"""What a test of the console holds: people with browsers, and the clock."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import httpx2
import pyotp
from fastapi import FastAPI

from console.person_changes import first_admin_link, invite
from console.web.deps import ConsoleDeps
from schemas.people import Role
from security.one_time import new_secret
from storage.database import Database

ORIGIN: Final = "http://localhost:8081"
PASSWORD: Final = "correct horse battery staple"
COOKIE: Final = "console"
SAME_ORIGIN: Final = {"Sec-Fetch-Site": "same-origin", "Origin": ORIGIN}
"""Of a console at ``ORIGIN``."""


@dataclass
class Web:
    """One console."""

    app: FastAPI
    deps: ConsoleDeps
    clock: list[datetime]
    owner: Database
    """What a test itself reads and writes with: its rights are the owner's."""

    def browser(self) -> "Browser":
        """A new one, with no cookie."""
        http = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=self.app, raise_app_exceptions=False),
            base_url=self.deps.settings.origin,
            headers=SAME_ORIGIN | {"Origin": self.deps.settings.origin},
        )
        return Browser(self, http)

    def later(self, span: timedelta) -> None:
        """Move the console's clock."""
        self.clock[0] += span

    async def link(self, name: str, role: Role) -> str:
        """Invite somebody; the link's path."""
        async with self.deps.database.connection() as connection:
            done = await invite(connection, name, role, by="test", now=self.clock[0], secret=new_secret())
        assert done.link is not None
        return done.link

    async def first_admin(self) -> str:
        """The first Admin's link."""
        async with self.deps.database.connection() as connection:
            done = await first_admin_link(
                connection, by="test", now=self.clock[0], secret=new_secret(), again=True
            )
        assert done is not None
        assert done.link is not None
        return done.link

    async def person(self, name: str, role: Role) -> "Browser":
        """Somebody who has come in by a link, enrolled a code generator and is signed in."""
        browser = self.browser()
        await browser.come_in(await self.link(name, role), name)
        return browser

    async def count(self, what: str, *arguments: Any) -> int:
        """Rows of a table, with a condition."""
        async with self.deps.database.connection() as connection:
            return int(await connection.fetchval(f"select count(*) from {what}", *arguments))

    async def decisions(self) -> list[str]:
        """Every audit row's word, in order."""
        async with self.deps.database.connection() as connection:
            return [
                row["decision"]
                for row in await connection.fetch("select decision from audit_log order by id")
            ]


@dataclass
class Browser:
    """One person's."""

    web: Web
    http: httpx2.AsyncClient
    name: str = ""
    password: str = PASSWORD
    totp: str = ""
    """The secret of the code generator."""
    codes: list[str] = field(default_factory=list)
    """Recovery codes."""

    def code(self) -> str:
        """What the generator shows."""
        return pyotp.TOTP(self.totp).at(self.web.clock[0])

    def next_code(self) -> str:
        """The next one: the clock goes on until it comes."""
        self.web.later(timedelta(seconds=30))
        return self.code()

    @property
    def cookie(self) -> str | None:
        return self.http.cookies.get(COOKIE)

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        return await self.http.get(path, **options)

    async def post(self, path: str, data: Any = None, **options: Any) -> httpx2.Response:
        return await self.http.post(path, data=data, **options)

    async def come_in(self, link: str, name: str = "", password: str = PASSWORD) -> None:
        """By a link: set the password, enrol a code generator."""
        self.name, self.password = name, password
        answer = await self.post(link, {"name": name, "password": password, "again": password})
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"] == "/enrol"
        await self.enrol_totp()

    async def enrol_totp(self) -> None:
        assert (await self.post("/enrol/totp")).status_code == 303
        page = await self.get("/enrol/totp")
        found = re.search(r"<code>([A-Z2-7 ]{32,})</code>", page.text)
        assert found is not None, page.text
        self.totp = found[1].replace(" ", "")
        answer = await self.post("/enrol/totp/code", {"code": self.next_code()})
        assert answer.status_code == 303, answer.text

    async def give_password(self, password: str | None = None) -> httpx2.Response:
        """The first step of signing in."""
        return await self.post("/login", {"name": self.name, "password": password or self.password})

    async def give_code(self, code: str | None = None) -> httpx2.Response:
        """The second step; by default the generator's next code."""
        data = {"kind": "totp", "code": code or self.next_code()}
        return await self.post("/login/second/code", data)

    async def sign_in(self) -> None:
        assert (await self.give_password()).status_code == 303
        answer = await self.give_code()
        assert answer.status_code == 303, answer.text

    async def step_up(self) -> None:
        """Show the factor once more."""
        answer = await self.give_code()
        assert answer.status_code == 303, answer.text


@asynccontextmanager
async def signed_out(web: Web, name: str, role: Role) -> AsyncIterator[Browser]:
    """Somebody known, whose browser has forgotten the session."""
    browser = await web.person(name, role)
    browser.http.cookies.clear()
    yield browser
