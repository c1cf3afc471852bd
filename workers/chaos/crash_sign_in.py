"""Scenarios of people at the console: whoever's request dies in the middle tries again, and comes in."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import httpx2
import pyotp

from console.person_changes import Change, ChangeRefused, change, invite
from schemas.people import Role
from security.one_time import new_secret
from storage.people import find_person, read_person
from workers.chaos import crash_sql as sql
from workers.chaos.authenticator import Passkey
from workers.chaos.crash_books import EXIT_REFUSED, PROGRAM
from workers.chaos.crash_play import END_SECONDS, WrongEnd
from workers.chaos.crash_scenario import Scenario

PASSWORD: Final = "nobody's password but this sweep's"  # noqa: S105
WRONG_PASSWORD: Final = "quite another password"  # noqa: S105
ADMIN: Final = "crash sweep"
TIMEOUT_SECONDS: Final = 20.0
STEP_SECONDS: Final = 90.0
"""For one step of several requests, after which it is taken again."""
TRIES_MAX: Final = 5
PAUSE_SECONDS: Final = 0.3
SECRET: Final = re.compile(r"<code>([A-Z2-7 ]{32,})</code>")


class AtConsole(Scenario):
    """One person with a browser, a code generator and a passkey."""

    again_seconds = 4.0
    role: ClassVar[Role] = Role.VIEWER
    is_acting = False

    async def prepare(self) -> None:
        self.name = self.tag.replace(".", "-")
        self.passkey = Passkey()
        url = urlsplit(self.play.stage.addresses["console_url"])
        self.origin = f"http://{url.netloc}"
        headers = {"Host": url.netloc, "Sec-Fetch-Site": "same-origin", "Accept": "text/html"}
        # By number: the name may lead to another address first.
        self.http = httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{url.port}", headers=headers, timeout=TIMEOUT_SECONDS, trust_env=False
        )
        self._holds.push_async_callback(self.http.aclose)
        async with self.play.stage.database() as connection:
            done = await invite(
                connection,
                self.name,
                self.role,
                by=ADMIN,
                now=datetime.now(UTC),
                secret=new_secret(),
            )
        self.link = done.link or ""

    async def provoke(self) -> None:
        """Whoever dies leaves it where it is, and it is begun again; one person does one thing at a time.

        Two at once would use up each other's challenges, and every try that so fails counts until there is a lock.
        """
        if self.is_acting:
            return
        self.is_acting = True
        try:
            with suppress(httpx2.TransportError, Lost):
                await self.act()
        finally:
            self.is_acting = False

    async def act(self) -> None:
        """What passes the point."""
        raise NotImplementedError

    async def finish(self) -> None:
        """However often somebody died: this person comes in, and each sign-in has its row."""
        await self.until(self.enter, "signed in")
        async with self.play.stage.database() as connection:
            person_id = await find_person(connection, self.name)
            assert person_id is not None, "invited above"
            person = await read_person(connection, person_id, datetime.now(UTC))
            told = await connection.fetchval(sql.SIGNED_IN, self.name)
            shown = await connection.fetchval(sql.SHOWN, person_id)
        if not person.has_factor or told < shown:
            raise WrongEnd(f"{self.name}: {told} sign-ins are told, {shown} sessions have shown a factor")

    async def until(self, step: Callable[[], Awaitable[None]], what: str) -> None:
        """Raises WrongEnd: it never works."""
        last: Exception | None = None
        gives_up = time.monotonic() + END_SECONDS
        while time.monotonic() < gives_up:
            try:
                async with asyncio.timeout(min(STEP_SECONDS, gives_up - time.monotonic())):
                    return await step()
            except (httpx2.TransportError, Lost) as error:
                last = error
            except TimeoutError as error:
                last = last or error  # It says nothing; what was answered before it does.
            await asyncio.sleep(PAUSE_SECONDS)
        raise WrongEnd(f"{self.name} is not {what}: {type(last).__name__} {last}")

    async def post(self, path: str, data: Any = None, *, json: Any = None) -> httpx2.Response:
        """Raises Lost: a fault of the console, which may have half done it."""
        answer = await self.http.post(path, data=data, json=json)
        if answer.status_code >= 500:
            raise Lost(f"{path}: {answer.status_code}")
        return answer

    async def enter(self) -> None:
        """Come in from wherever this person is. Raises Lost: not yet."""
        answer = await self.http.get("/access")
        where = urlsplit(answer.headers.get("location", "")).path
        if answer.status_code == 200:
            return
        if where == "/login":
            await self.give_password()
        elif where == "/login/second":
            await self.show_passkey()
        elif where == "/enrol":
            await self.register_passkey()
        raise Lost(f"at {where or answer.status_code}")

    async def give_password(self) -> None:
        answer = await self.post("/login", {"name": self.name, "password": PASSWORD})
        if answer.status_code == 401:
            # Not set yet, or tried too soon or too often.
            await self.unlock()
            await self.post(self.link, {"password": PASSWORD, "again": PASSWORD})

    async def show_passkey(self) -> None:
        options = await self.options("/login/second/passkey/options")
        answer = await self.post("/login/second/passkey", json=self.passkey.sign_in(options, self.origin))
        if answer.status_code == 401:
            # Whoever tries on while it is too soon only comes to wait for longer.
            await self.unlock()

    async def unlock(self) -> None:
        """An Admin lets this person try again."""
        async with self.play.stage.database() as connection:
            # No try of this person's may count: it was the address that had tried too often.
            with suppress(ChangeRefused):
                await change(connection, Change.UNLOCK, self.name, by=ADMIN, now=datetime.now(UTC))

    async def register_passkey(self) -> None:
        options = await self.options("/enrol/passkey/options")
        if "challenge" in options:
            await self.post("/enrol/passkey", json=self.passkey.register(options, self.origin))

    async def options(self, path: str) -> Any:
        """What the browser is asked to sign. Raises Lost: this session is not so far."""
        answer = await self.post(path)
        if answer.status_code in (303, 401):
            raise Lost(f"{path}: {answer.status_code} {answer.headers.get('location', '')}")
        return answer.json()

    async def enrol_totp(self) -> None:
        await self.post("/enrol/totp")
        found = SECRET.search((await self.http.get("/enrol/totp")).text)
        if found is not None:
            code = pyotp.TOTP(found[1].replace(" ", "")).now()
            await self.post("/enrol/totp/code", {"code": code})

    async def anew(self) -> None:
        """Signed in just now, with everything that needs it."""
        await self.until(self.enter, "signed in")
        await self.show_passkey()


class Lost(Exception):
    """Not yet where it was to come."""


class ComesIn(AtConsole):
    """By the link, a passkey as the first factor, a code generator, recovery codes."""

    covers = (
        "commit people.link_used", "commit people.challenge_made", "commit people.passkey_added",
        "commit people.totp_offered", "commit people.totp_enrolled", "commit people.recovery_codes",
    )  # fmt: skip

    async def act(self) -> None:
        for _ in range(TRIES_MAX):
            with suppress(Lost):
                await self.enter()
                break
        await self.show_passkey()
        await self.enrol_totp()
        await self.post("/enrol/recovery")


class SignsIn(AtConsole):
    """Wrong, right, shown again, out."""

    covers = (
        "commit people.try_counted", "commit people.password_refused", "commit people.password_taken",
        "commit people.factor_shown", "commit people.session_seen", "commit people.session_ended",
    )  # fmt: skip

    async def prepare(self) -> None:
        await super().prepare()
        await self.until(self.enter, "signed in")

    async def act(self) -> None:
        await self.post("/logout")
        await self.post("/login", {"name": self.name, "password": WRONG_PASSWORD})
        await self.give_password()
        await self.show_passkey()
        await self.play.ask(sql.SEEN_LONG_AGO, self.name)
        await self.http.get("/")


class ChangesOwn(AtConsole):
    """Another password, the same in truth, and the code generator and a passkey taken away."""

    covers = (
        "commit people.password_changed", "commit people.totp_removed", "commit people.passkey_removed",
    )  # fmt: skip

    async def prepare(self) -> None:
        await super().prepare()
        await self.until(self.enter, "signed in")

    async def act(self) -> None:
        await self.anew()
        await self.post("/enrol/password", {"password": PASSWORD, "again": PASSWORD})
        await self.enrol_totp()
        await self.post("/enrol/totp/remove")
        mine, self.passkey = self.passkey, Passkey()
        try:
            await self.register_passkey()
            await self.post("/enrol/passkey/remove", {"credential_id": self.passkey.credential_id.hex()})
        finally:
            self.passkey = mine


class PeopleByCommand(Scenario):
    """Whose command died is not sure; given again, it is done or refused as done."""

    covers: ClassVar[tuple[str, ...]] = (
        "commit people.invited", "commit people.changed", "commit people.first_admin",
    )  # fmt: skip

    async def provoke(self) -> None:
        name = self.tag.replace(".", "-")
        for command in (("invite", name, "--role", "viewer"), ("disable", name), ("first-admin",)):
            code = -1
            for _ in range(TRIES_MAX):
                code = await self.play.run(PROGRAM, "people", *command, **self.play.console())
                if code in (0, EXIT_REFUSED):
                    break
            else:
                raise WrongEnd(
                    f"{self.tag}: `trading people {' '.join(command)}` ended with exit code {code}"
                )

    async def finish(self) -> None:
        name, now = self.tag.replace(".", "-"), datetime.now(UTC)
        async with self.play.stage.database() as connection:
            person_id = await find_person(connection, name)
            if person_id is None or (await read_person(connection, person_id, now)).disabled_at is None:
                raise WrongEnd(f"{self.tag}: {name} is not disabled after all")
            await change(connection, Change.ENABLE, name, by="crash sweep", now=now)
