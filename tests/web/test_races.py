"""What somebody began before a way in was taken from him, and ends after it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from schemas.people import Role
from security.passwords import Passwords
from tests.web.browser import PASSWORD, Browser, Web

NEW = "another password altogether"
WAITING = (
    "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
)


class Slow(Passwords):
    """Works passwords out when it is told to: argon2 takes its time, and a crowded door more of it."""

    def __init__(self, time_cost: int = 1) -> None:
        super().__init__(time_cost=time_cost, memory_kib=8, parallelism=1)
        self.compared, self.go_on, self.waits = asyncio.Event(), asyncio.Event(), False

    async def check(self, stored: str | None, password: str) -> bool:
        found = await super().check(stored, password)
        await self._wait()
        return found

    async def hash(self, password: str) -> str:
        made = await super().hash(password)
        await self._wait()
        return made

    async def _wait(self) -> None:
        if self.waits:
            self.waits = False
            self.compared.set()
            await self.go_on.wait()


@asynccontextmanager
async def slow(web: Web, time_cost: int = 1) -> AsyncIterator[Slow]:
    """The next password that is worked out waits until the block ends."""
    passwords = Slow(time_cost)
    object.__setattr__(web.deps, "passwords", passwords)
    passwords.waits = True
    yield passwords
    passwords.go_on.set()


async def reset(admin: Browser, name: str) -> str:
    """*Reset the way in*, as an Admin does it. The link."""
    await admin.step_up()
    page = await admin.post("/access/reset", {"name": name})
    assert page.status_code == 200, page.text
    return "/welcome/" + page.text.partition("/welcome/")[2].partition("<")[0]


def thief_of(web: Web, person: Browser) -> Browser:
    """Somebody who knows the person's name and password, and nothing else."""
    thief = web.browser()
    thief.name, thief.password = person.name, person.password
    return thief


async def test_a_password_that_was_being_compared_does_not_outlive_a_reset(web: Web) -> None:
    admin, sam = await web.person("jo", Role.ADMIN), await web.person("sam", Role.ADMIN)
    thief = thief_of(web, sam)
    async with slow(web) as passwords:
        trying = asyncio.create_task(thief.give_password())
        await passwords.compared.wait()
        link = await reset(admin, "sam")
    assert (await trying).status_code == 401
    assert (
        await web.count(
            "sessions s join people p using (person_id) where p.name = 'sam' and ended_at is null"
        )
        == 0
    )
    # And sam's own way in gives the thief none.
    answer = await sam.post(link, {"name": "sam", "password": NEW, "again": NEW})
    assert answer.status_code == 303
    assert (await thief.post("/enrol/totp")).status_code == 401


async def test_a_half_session_ends_when_its_person_comes_in_anew(web: Web) -> None:
    admin, sam = await web.person("jo", Role.ADMIN), await web.person("sam", Role.ADMIN)
    thief = thief_of(web, sam)
    assert (await thief.give_password()).status_code == 303
    link = await reset(admin, "sam")
    # As if it had not been ended with the reset.
    async with web.owner.transaction("test") as connection:
        await connection.execute("update sessions set ended_at = null, ended_by = null")
    answer = await sam.post(link, {"name": "sam", "password": NEW, "again": NEW})
    assert answer.status_code == 303
    assert (await thief.post("/enrol/totp")).status_code == 401, "the newest password alone enrols"
    await sam.enrol_totp()


async def test_a_password_that_was_being_compared_does_not_outlive_another_one(web: Web) -> None:
    """Nor does it come back, worked out at today's cost."""
    jo = await web.person("jo", Role.VIEWER)
    thief = thief_of(web, jo)
    await jo.step_up()
    async with slow(web, time_cost=2) as passwords:
        trying = asyncio.create_task(thief.give_password())
        await passwords.compared.wait()
        assert (await jo.post("/enrol/password", {"password": NEW, "again": NEW})).status_code == 303
    assert (await trying).status_code == 401
    assert (await thief.give_password()).status_code == 401
    jo.password = NEW
    await jo.sign_in()


async def test_a_disabled_person_whose_password_was_being_compared_stays_out(web: Web) -> None:
    admin, sam = await web.person("jo", Role.ADMIN), await web.person("sam", Role.RISK)
    await admin.step_up()
    async with slow(web) as passwords:
        trying = asyncio.create_task(thief_of(web, sam).give_password())
        await passwords.compared.wait()
        assert (await admin.post("/access/disable", {"name": "sam"})).status_code == 303
    assert (await trying).status_code == 401


async def test_a_password_that_was_being_set_does_not_outlive_a_reset(web: Web) -> None:
    """Whoever sat in sam's session would have a password that sam's reset did not take."""
    admin, sam = await web.person("jo", Role.ADMIN), await web.person("sam", Role.ADMIN)
    await admin.step_up()
    await sam.step_up()
    async with slow(web) as passwords:
        changing = asyncio.create_task(sam.post("/enrol/password", {"password": NEW, "again": NEW}))
        await passwords.compared.wait()
        await reset(admin, "sam")
    assert (await changing).status_code == 401
    assert await web.count("people where name = 'sam' and password_hash is not null") == 0


async def test_the_last_second_factor_stays_though_both_go_at_once(web: Web) -> None:
    jo = await web.person("jo", Role.VIEWER)
    async with web.owner.transaction("test") as connection:
        await connection.execute(
            "insert into passkeys (credential_id, person_id, public_key, sign_count, label, created_at) "
            "select $1, person_id, $1, 0, 'key', now() from people",
            b"\x01",
        )
    async with web.owner.transaction("test") as connection:
        # Neither can write before both have come as far as they can.
        await connection.execute("select from people for update")
        await connection.execute("select from passkeys for update")
        both = asyncio.gather(
            jo.post("/enrol/totp/remove"), jo.post("/enrol/passkey/remove", {"credential_id": "01"})
        )
        await _waiting(web, 2)
    assert sorted(answer.status_code for answer in await both) == [303, 409]


async def _waiting(web: Web, least: int) -> None:
    """Until so many of this database's statements wait for a lock."""
    async with web.owner.connection() as connection:
        while await connection.fetchval(WAITING) < least:
            await asyncio.sleep(0.01)


async def test_the_first_admins_link_makes_nobody_where_there_is_an_admin(web: Web) -> None:
    link = await web.first_admin()
    await web.person("jo", Role.ADMIN)
    answer = await web.browser().post(link, {"name": "sam", "password": PASSWORD, "again": PASSWORD})
    assert answer.status_code == 404
    assert await web.count("people where role = 'admin'") == 1


async def test_a_first_admins_link_that_was_left_open_makes_nobody_either(web: Web) -> None:
    link = await web.first_admin()
    await web.person("jo", Role.VIEWER)
    async with web.owner.transaction("test") as connection:
        await connection.execute("update people set role = 'admin'")
    answer = await web.browser().post(link, {"name": "sam", "password": PASSWORD, "again": PASSWORD})
    assert answer.status_code == 409
    assert await web.count("people where role = 'admin'") == 1


async def test_two_first_admins_links_made_at_once_leave_one_good(web: Web) -> None:
    links = await asyncio.gather(web.first_admin(), web.first_admin())
    answers = [await web.browser().get(link) for link in links]
    assert sorted(answer.status_code for answer in answers) == [200, 404]
