"""People of every role at one console, and what their acts left in the audit log."""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from console.web.app import build_console
from schemas.people import Role
from storage.limits import current_limits
from tests.web.browser import Browser, Web

SEE_OTHER, FORBIDDEN, REFUSED, WRONG = 303, 403, 409, 422
CODE: Final = "x-error-code"


@dataclass
class Staff:
    """One browser for each role, signed in, with a second factor shown just now."""

    web: Web
    viewer: Browser
    operator: Browser
    risk: Browser
    admin: Browser

    def of(self, role: Role) -> Browser:
        """The person of that role, who is called like it."""
        return {
            Role.VIEWER: self.viewer, Role.OPERATOR: self.operator, Role.RISK: self.risk, Role.ADMIN: self.admin,
        }[role]  # fmt: skip

    @property
    def everybody(self) -> tuple[Browser, ...]:
        return (self.viewer, self.operator, self.risk, self.admin)

    async def fresh(self) -> None:
        """Everybody shows the factor again."""
        for each in self.everybody:
            await each.step_up()

    def stale(self) -> None:
        """Time goes on until nobody's factor counts as fresh."""
        self.web.later(timedelta(minutes=6))

    async def told(self, *decisions: str) -> list[tuple[str, str]]:
        """Decision and actor of the rows with these words, in order."""
        async with self.web.owner.connection() as connection:
            rows = await connection.fetch(
                "select decision, actor from audit_log where decision = any ($1) order by id", list(decisions)
            )
        return [(row["decision"], row["actor"]) for row in rows]


async def staff(web: Web, **deps: Any) -> Staff:
    """Everybody, at a console with these deps changed."""
    changed = replace(web.deps, **deps)
    here = Web(build_console(changed), changed, web.clock, web.owner)
    people = [await here.person(role.value, role) for role in Role]
    made = Staff(here, *people)
    await made.fresh()
    return made


async def state(people: Staff, read: Any, *arguments: Any, **options: Any) -> Any:
    async with people.web.owner.connection() as connection:
        return await read(connection, *arguments, **options)


async def twice(browser: Browser, path: str, data: dict[str, str]) -> None:
    """A double click."""
    for _ in range(2):
        answer = await browser.post(path, data)
        assert answer.status_code == SEE_OTHER, answer.text


async def refused_below(people: Staff, role: Role, path: str, data: dict[str, str]) -> None:
    """Everybody whose role is lower is told so."""
    for lower in Role:
        if not lower.covers(role):
            answer = await people.of(lower).post(path, data)
            assert (answer.status_code, answer.headers[CODE]) == (FORBIDDEN, "ROLE_TOO_LOW"), path


async def limit(people: Staff) -> str:
    now = datetime.now(UTC)
    return str((await state(people, current_limits, now)).limits.max_order_notional)


async def limits_form(people: Staff, value: str, **more: str) -> dict[str, str]:
    """The form as it stands, with another greatest order."""
    page = (await people.risk.get("/acts/limits")).text
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)"[^>]* value="([^"]*)">', page))
    fields = dict(re.findall(r'name="(limit\.\w+)" value="([^"]*)"', page))
    return {**hidden, **fields, "limit.max_order_notional": value, "reason": "a busy day", **more}
