"""The two-person rule on real rows: every wrong way changes nothing, and of two who decide at once one wins."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from console.acts import approvals
from console.acts.limits import Change, Changed, Wanted, change_limits
from console.acts.people import Actor, StepUpNeeded
from console.errors import Refused
from console.limits_change import edited
from schemas.people import STEP_UP_FRESH, Role
from schemas.risk import LimitScope
from schemas.two_persons import AskedApproval, AskedState
from storage.database import Connection, Database
from storage.limits import current_limits
from storage.two_persons import list_asked, read_asked, set_rule
from tests.postgres.books import prepare
from tests.postgres.two_people import always_two, person, set_role, standing_for

RAISED, BEFORE = Decimal(77_777), Decimal(10_000)
ACCOUNT = Wanted(LimitScope.ACCOUNT)


@pytest.fixture
async def rows(database: str) -> AsyncIterator[Database]:
    opened = await Database.connect(database)
    await prepare(opened, max_order_notional=str(BEFORE))
    await always_two(opened)
    yield opened
    await opened.close()


def to(value: Decimal, *, approval_id: UUID | None = None, **changes: Any) -> Change:
    def edit(stored: dict[str, Any]) -> Any:
        return edited(LimitScope.ACCOUNT, stored, [f"max_order_notional={value}"])

    return Change(ACCOUNT, edit, reason="a busy day", author="Ana", approval_id=approval_id, **changes)


async def change(rows: Database, wanted: Change, actor: Actor) -> Changed:
    async with rows.connection() as connection:
        return await change_limits(connection, wanted, actor)


async def ask(rows: Database, actor: Actor, **changes: Any) -> AskedApproval:
    found = await change(rows, to(RAISED, **changes), actor)
    assert found.asked is not None
    assert found.version is None
    return found.asked


async def act(rows: Database, work: Callable[[Connection], Awaitable[Any]]) -> Any:
    async with rows.connection() as connection:
        return await work(connection)


async def carry_out(
    rows: Database, asked: AskedApproval, actor: Actor, content_hash: str = ""
) -> AskedApproval:
    shown = content_hash or asked.content_hash
    async with rows.connection() as connection:
        return await approvals.carry_out(connection, asked.approval_id, actor, content_hash=shown)


async def limit(rows: Database) -> Decimal:
    async with rows.connection() as connection:
        return (await current_limits(connection, datetime.now(UTC))).limits.max_order_notional


async def decisions(rows: Database) -> list[tuple[str, str]]:
    async with rows.connection() as connection:
        found = await connection.fetch(
            "select decision, actor from audit_log where decision like 'APPROVAL%' or decision like 'LIMITS_R%'"
            " order by id"
        )
    return [(row["decision"], row["actor"]) for row in found]


async def test_one_asks_another_carries_it_out_and_both_are_named_in_one_transaction(rows: Database) -> None:
    ana, ben = await person(rows, "ana"), await person(rows, "ben")
    asked = await ask(rows, ana)
    assert await limit(rows) == BEFORE, "asking changes nothing"
    done = await carry_out(rows, asked, ben)
    assert (done.state, done.decided_name, await limit(rows)) == (AskedState.CARRIED_OUT, "ben", RAISED)
    assert await decisions(rows) == [
        ("APPROVAL_ASKED", "ana"), ("LIMITS_RAISED", "ben"), ("APPROVAL_CARRIED_OUT", "ben"),
    ]  # fmt: skip
    async with rows.connection() as connection:
        told = [
            json.loads(row["payload"])
            for row in await connection.fetch(
                "select p.payload from audit_log a join audit_payloads p on p.audit_id = a.id"
                " where a.decision in ('LIMITS_RAISED', 'APPROVAL_CARRIED_OUT') order by a.id"
            )
        ]
        [same] = await connection.fetch(
            "select count(distinct xmin::text) as transactions from audit_log"
            " where decision in ('LIMITS_RAISED', 'APPROVAL_CARRIED_OUT')"
        )
    assert (told[0]["asked_by"], told[0]["decided_by"]) == ("ana", "ben")
    assert "asked by ana, carried out by ben" in told[1]["detail"]
    assert same["transactions"] == 1


async def test_the_same_request_sent_twice_is_one(rows: Database) -> None:
    ana, approval_id = await person(rows, "ana"), uuid4()
    for _ in range(2):
        await ask(rows, ana, approval_id=approval_id)
    async with rows.connection() as connection:
        assert len(await list_asked(connection, datetime.now(UTC))) == 1
    assert [name for name, _ in await decisions(rows)] == ["APPROVAL_ASKED"]


async def expire(rows: Database, approval_id: UUID) -> None:
    async with rows.transaction("test") as connection:
        await connection.execute("alter table approvals_asked disable trigger all")
        await connection.execute(
            "update approvals_asked set asked_at = asked_at - interval '15 minutes',"
            " expires_at = expires_at - interval '15 minutes' where approval_id = $1",
            approval_id,
        )
        await connection.execute("alter table approvals_asked enable trigger all")


WRONG = {
    "himself": "asked for himself", "nobody": "only a person with an account",
    "viewer": "eve.* has not the role risk", "operator": "eve.* has not the role risk",
    "stale factor": "second factor", "no factor": "second factor",
    "expired": "could be decided until", "changed content": "not what was shown",
    "withdrawn": "was withdrawn already, by ana", "declined": "was declined already, by ben",
    "decider lost role": "ben.* has not the role", "decider disabled": "ben.* has not the role",
    "asker lost role": "ana.* has not the role .* any more",
    "asker disabled": "ana.* has not the role .* any more",
    "used twice": "was carried out already, by ben", "limits changed since": "have changed since",
}  # fmt: skip
"""And what the person is told of each."""


async def test_no_wrong_way_raises_a_limit(rows: Database) -> None:
    for number, wrong in enumerate(WRONG):
        await go_wrong(rows, wrong, str(number))
    raised = {actor[:3] for decision, actor in await decisions(rows) if decision == "LIMITS_RAISED"}
    assert raised == {"ben", "kim"}, "what was right until it was used twice, and this test's own"


async def go_wrong(rows: Database, wrong: str, tag: str) -> None:
    """Ask, do what is wrong, and try to carry it out all the same."""
    ana, ben = await person(rows, f"ana{tag}"), await person(rows, f"ben{tag}")
    await change(rows, to(BEFORE), ana)
    asked = await ask(rows, ana)
    decider, shown, should_be = ben, asked.content_hash, BEFORE
    match wrong:
        case "himself":
            decider = ana
        case "nobody":
            decider = replace(ben, person_id=uuid4())
        case "viewer" | "operator":
            decider = await person(rows, f"eve{tag}", Role(wrong))
        case "stale factor":
            decider = replace(ben, mfa_at=datetime.now(UTC) - STEP_UP_FRESH - timedelta(seconds=1))
        case "no factor":
            decider = replace(ben, mfa_at=None)
        case "expired":
            await expire(rows, asked.approval_id)
        case "changed content":
            shown = "0" * 64
        case "withdrawn":
            await act(rows, lambda one: approvals.withdraw(one, asked.approval_id, ana))
        case "declined":
            await act(rows, lambda one: approvals.decline(one, asked.approval_id, ben))
        case "decider lost role":
            await set_role(rows, ben.person_id, Role.OPERATOR)
        case "decider disabled":
            await set_role(rows, ben.person_id, Role.RISK, disabled=True)
        case "asker lost role":
            await set_role(rows, ana.person_id, Role.OPERATOR)
        case "asker disabled":
            await set_role(rows, ana.person_id, Role.RISK, disabled=True)
        case "used twice":
            await carry_out(rows, asked, ben)
            await change(rows, to(BEFORE), ana)
        case "limits changed since":
            should_be = BEFORE - 1
            await change(rows, to(should_be), ana)
    with pytest.raises(Refused, match=WRONG[wrong]):
        await carry_out(rows, asked, decider, shown)
    assert await limit(rows) == should_be, wrong
    await always_two(rows, always=False)
    await change(rows, to(BEFORE), await person(rows, f"kim{tag}"))
    await always_two(rows)


async def test_a_try_that_may_not_be_made_is_audited_with_who_made_it(rows: Database) -> None:
    ana = await person(rows, "ana")
    asked = await ask(rows, ana)
    with pytest.raises(Refused, match="himself"):
        await carry_out(rows, asked, ana)
    assert (await decisions(rows))[-1] == ("APPROVAL_REFUSED", "ana")
    eve = await person(rows, "eve")
    with pytest.raises(Refused, match="only ana"):
        await act(rows, lambda one: approvals.withdraw(one, asked.approval_id, eve))
    assert (await decisions(rows))[-1] == ("APPROVAL_REFUSED", "eve")


async def test_of_two_who_decide_at_once_one_wins(rows: Database) -> None:
    ana = await person(rows, "ana")
    asked = await ask(rows, ana)
    deciders = [await person(rows, f"person{number}") for number in range(4)]
    found = await asyncio.gather(*(carry_out(rows, asked, each) for each in deciders), return_exceptions=True)
    assert sorted(type(each).__name__ for each in found) == ["AskedApproval"] + ["Refused"] * 3
    assert [name for name, _ in await decisions(rows)].count("LIMITS_RAISED") == 1
    assert await limit(rows) == RAISED


async def test_what_the_command_line_asks_for_takes_two_persons_of_the_console(rows: Database) -> None:
    terminal = Actor("operator root")
    asked = await ask(rows, terminal)
    ana, ben = await person(rows, "ana"), await person(rows, "ben")
    with pytest.raises(Refused, match="takes it up"):
        await carry_out(rows, asked, ben)
    taken = await act(rows, lambda one: approvals.take_up(one, asked.approval_id, ana))
    assert (taken.asked_by, taken.content_hash) == (ana.person_id, asked.content_hash)
    with pytest.raises(Refused, match="himself"):
        await carry_out(rows, asked, ana)
    with pytest.raises(Refused, match="ana has asked"):
        await act(rows, lambda one: approvals.take_up(one, asked.approval_id, ben))
    await carry_out(rows, asked, ben)
    assert await limit(rows) == RAISED


async def test_a_raise_needs_a_fresh_factor_and_a_lowering_none_and_nobody_below_risk_changes_any(
    rows: Database,
) -> None:
    await always_two(rows, always=False)
    ana = await person(rows, "ana")
    old = replace(ana, mfa_at=None)
    with pytest.raises(StepUpNeeded):
        await change(rows, to(RAISED), old)
    assert (await change(rows, to(BEFORE - 1), old)).version is not None
    assert (await change(rows, to(RAISED), ana)).asked is None, "the rule is off on paper"
    assert await limit(rows) == RAISED
    for role in (Role.VIEWER, Role.OPERATOR):
        with pytest.raises(Refused, match="risk"):
            await change(rows, to(BEFORE), replace(ana, role=role))
    assert await limit(rows) == RAISED


async def go_live(rows: Database) -> None:
    async with rows.transaction("test") as connection:
        await set_rule(connection, always=False, now=datetime.now(UTC))
        await connection.execute(
            "alter table installation disable trigger installation_kept;update installation set mode = 'live'"
        )


async def test_in_live_mode_the_rule_is_on_whatever_was_said(rows: Database) -> None:
    await go_live(rows)
    ana = await person(rows, "ana")
    await standing_for(rows)
    assert (await change(rows, to(RAISED), ana)).asked is not None
    assert await limit(rows) == BEFORE


async def test_the_database_itself_lets_no_row_be_decided_twice_by_its_asker_or_changed(
    rows: Database,
) -> None:
    ana, ben = await person(rows, "ana"), await person(rows, "ben")
    asked = await ask(rows, ana)
    now = datetime.now(UTC)
    end = (
        "update approvals_asked set state = 'carried_out', decided_by = $2, decided_name = 'x', decided_at = $3"
        " where approval_id = $1"
    )
    statements: tuple[tuple[str, tuple[Any, ...]], ...] = (
        (end, (asked.approval_id, ana.person_id, now)),
        (end, (asked.approval_id, ben.person_id, now + timedelta(minutes=15))),
        (
            "update approvals_asked set asked_by = $2 where approval_id = $1",
            (asked.approval_id, ben.person_id),
        ),
        ("update approvals_asked set content = '{}' where approval_id = $1", (asked.approval_id,)),
    )
    for statement, values in statements:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            async with rows.transaction("test") as connection:
                await connection.execute(statement, *values)
    await carry_out(rows, asked, ben)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        async with rows.transaction("test") as connection:
            await connection.execute(
                "update approvals_asked set decided_name = 'y' where approval_id = $1", asked.approval_id
            )
    async with rows.connection() as connection:
        assert (await read_asked(connection, asked.approval_id)).decided_name == "ben"
