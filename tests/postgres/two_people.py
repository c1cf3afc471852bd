"""Persons of the console as rows, for tests of what they may do."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from console.acts.people import Actor
from schemas.people import Role
from storage.database import Database


async def person(rows: Database, name: str, role: Role = Role.RISK) -> Actor:
    """One with an account and a second factor shown just now."""
    person_id = uuid4()
    async with rows.transaction("test") as connection:
        await connection.execute(
            "insert into people (person_id, name, role, created_at, created_by) values ($1, $2, $3, $4, 'test')",
            person_id, name, role.value, datetime.now(UTC),
        )  # fmt: skip
    return Actor(name, person_id, role, datetime.now(UTC) - timedelta(seconds=1))


async def set_role(rows: Database, person_id: UUID | None, role: Role, *, disabled: bool = False) -> None:
    async with rows.transaction("test") as connection:
        await connection.execute(
            "update people set role = $2, disabled_at = $3 where person_id = $1",
            person_id, role.value, datetime.now(UTC) if disabled else None,
        )  # fmt: skip


async def always_two(rows: Database, *, always: bool = True) -> None:
    async with rows.transaction("test") as connection:
        await connection.execute("update approval_rule set always = $1", always)


async def standing_for(
    rows: Database, age: timedelta = timedelta(days=2), *, name: str | None = None
) -> None:
    """Everybody, or one, has had account, role and way in for so long: by the owner, past the trigger."""
    async with rows.transaction("test") as connection:
        await connection.execute("alter table people disable trigger people_standing")
        await connection.execute(
            "update people set standing_since = $1 where $2::text is null or name = $2",
            datetime.now(UTC) - age, name,
        )  # fmt: skip
        await connection.execute("alter table people enable trigger people_standing")
