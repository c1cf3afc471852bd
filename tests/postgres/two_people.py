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
