"""People of every role at one console, and what their acts left in the audit log."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from console.web.app import build_console
from schemas.people import Role
from tests.web.browser import Browser, Web


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
