"""What each database role may do and, above all, may not: held against the schema and every statement of ours."""

import re
from typing import Any, Final

import asyncpg
import pytest

from storage import grants, statements
from storage.grants import GrantsUnsound, Role, parse, verifier
from tests.postgres.as_role import connected, roles
from tests.postgres.role_rights import FORBIDDEN, FORBIDDEN_TO_ALL, WRITERS

__all__ = ["roles"]

MOVES: Final = ("- 1", "+ 1", "+ 9223372036854775000")
"""Of the epoch alone: back, or so far on that nobody could engage any more."""
WRITES: Final = re.compile(r"\b(?:insert into|update \w+ |delete from|for update|lock table)", re.IGNORECASE)


async def test_every_table_says_of_every_role_what_it_may_do(database: str) -> None:
    async with connected(database) as owner:
        tables = {row["name"] for row in await owner.fetch(statements.load("roles")["tables"])}
    assert tables - grants.load().keys() == set(), "add a section to storage/grants.toml"
    assert grants.load().keys() - tables == set(), "storage/grants.toml names tables that are not there"


async def test_every_statement_that_writes_can_be_run_by_those_who_must_and_by_nobody_else(
    database: str,
) -> None:
    """How: EXPLAIN asks for the rights of a statement and does nothing."""
    texts = {
        f"{group}.{name}": sql
        for group in statements.groups()
        for name, sql in statements.load(group).items()
        if WRITES.search(sql)
    }
    assert texts.keys() == WRITERS.keys(), "say in role_rights.WRITERS who runs each statement that writes"
    found = {}
    async with connected(database) as owner:
        for name, sql in texts.items():
            able = [role.short for role in Role if await may(owner, role, sql)]
            found[name] = " ".join(able)
    assert found == WRITERS


async def may(owner: "asyncpg.Connection[Any]", role: Role, sql: str) -> bool:
    # A lock cannot be explained; this one ends with the transaction.
    question = sql if sql.lower().startswith("lock table") else f"explain (generic_plan) {sql}"
    async with owner.transaction():
        await owner.execute(f"set local role {role}")
        try:
            async with owner.transaction():
                await owner.execute(question)
        except asyncpg.InsufficientPrivilegeError:
            return False
        return True


@pytest.mark.parametrize("role", Role)
async def test_what_a_role_may_not_do_is_refused(roles: str, role: Role) -> None:
    async with connected(roles, role) as connection:
        assert await connection.fetchval("select current_user") == role
        allowed = []
        for attempt in (*FORBIDDEN[role], *FORBIDDEN_TO_ALL):
            try:
                await connection.execute(attempt)
            except asyncpg.InsufficientPrivilegeError:
                continue
            allowed.append(attempt)
        assert allowed == []


async def test_nobody_releases_the_kill_switch_by_hand(roles: str) -> None:
    release = "update kill_switch set engaged = false, epoch = epoch + 1"
    async with connected(roles) as owner:
        await owner.execute("update kill_switch set engaged = true, epoch = epoch + 1")
        for role in (Role.CONSOLE, Role.EXECUTION, Role.OPERATIONS, None):
            async with connected(roles, role) as connection:
                for attempt in (release, *(f"update kill_switch set epoch = epoch {by}" for by in MOVES)):
                    with pytest.raises(asyncpg.InsufficientPrivilegeError):
                        await connection.execute(attempt)
        assert await owner.fetchval("select engaged and epoch = 1 from kill_switch")


async def test_rights_given_by_hand_are_taken_back(database: str) -> None:
    async with connected(database) as owner:
        await owner.execute(
            "grant delete on orders to ti_risk; grant update (document) on signals to ti_console"
        )
        assert await may(owner, Role.RISK, "delete from orders")
        await grants.apply(owner)
        assert not await may(owner, Role.RISK, "delete from orders")
        assert not await may(owner, Role.CONSOLE, "update signals set document = '{}'")


async def test_a_table_without_a_section_is_closed(database: str) -> None:
    async with connected(database) as owner:
        await owner.execute("create table later (id integer)")
        await grants.apply(owner)
        assert [role for role in Role if await may(owner, role, "select * from later")] == []


@pytest.mark.parametrize(
    ("right", "told"),
    [
        ("truncate", "may have select, insert, update, delete"),
        ("all", "may have select, insert, update, delete"),
        ("select; drop table orders", "may have select, insert, update, delete"),
        ("select (a), insert on other to public", "may have select, insert, update, delete"),
        ("", "may have select, insert, update, delete"),
    ],
)
def test_rights_that_nobody_may_have_are_no_rights(right: str, told: str) -> None:
    others = "".join(f'{role.short} = "none"\n' for role in Role if role is not Role.RISK)
    with pytest.raises(GrantsUnsound, match=told):
        parse(f'[orders]\nrisk = "{right}"\n{others}')


def test_a_role_that_is_not_named_is_missed() -> None:
    with pytest.raises(GrantsUnsound, match="name every role"):
        parse('[orders]\nrisk = "select"\n')


def test_the_verifier_holds_no_password() -> None:
    assert "secret" not in verifier("secret")
    assert verifier("secret") != verifier("secret")
