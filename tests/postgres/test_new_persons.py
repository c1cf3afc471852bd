"""In live mode nobody whom one Admin has just let in is one of two persons, and others hear of him."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from console.acts.people import Actor
from console.errors import Refused
from console.person_changes import Change as PersonChange
from console.person_changes import change as change_person
from console.person_changes import invite
from schemas.alerts import AlertCode
from schemas.people import STANDING_MIN, Role
from storage import people
from storage.alerts import list_alerts
from storage.database import Database
from storage.two_persons import read_standing
from tests.postgres.test_two_persons import (
    BEFORE,
    RAISED,
    ask,
    carry_out,
    decisions,
    go_live,
    limit,
    rows,
)
from tests.postgres.two_people import person, standing_for

__all__ = ["rows"]

CAME_JUST_NOW = ("made", "role", "reset", "enabled")
"""What one Admin alone can do to have a second person at hand."""


@pytest.mark.parametrize("way", CAME_JUST_NOW)
@pytest.mark.parametrize("who", ["asks", "carries out"])
async def test_in_live_mode_nobody_whom_an_admin_has_just_let_in_is_one_of_the_two(
    rows: Database, way: str, who: str
) -> None:
    """How: an attacker with the session of one Admin, ``ana``, who has a second person do either half."""
    await go_live(rows)
    ana, second = await person(rows, "ana"), await person(rows, "second")
    assert second.person_id is not None
    await standing_for(rows)
    if who == "carries out":
        asked = await ask(rows, ana)
        await let_in(rows, second, way)
        with pytest.raises(Refused, match="second has account, role or way in since"):
            await carry_out(rows, asked, second)
        with pytest.raises(Refused, match="second has account"):
            await ask(rows, second)
    else:
        asked = await ask(rows, second)
        await let_in(rows, second, way)
        with pytest.raises(Refused, match="second has account, role or way in since"):
            await carry_out(rows, asked, ana)
    assert (await decisions(rows))[-1][0] == "APPROVAL_REFUSED" or who == "carries out"
    assert await limit(rows) == BEFORE
    await standing_for(rows, STANDING_MIN - timedelta(seconds=30), name="second")
    with pytest.raises(Refused, match="second has account"):
        await carry_out(rows, asked, second if who == "carries out" else ana)
    await standing_for(rows, STANDING_MIN, name="second")
    await carry_out(rows, asked, second if who == "carries out" else ana)
    assert await limit(rows) == RAISED


async def let_in(rows: Database, second: Actor, way: str) -> None:
    """As the console does it, in its statements."""
    who, now = second.person_id, datetime.now(UTC)
    assert who is not None
    async with rows.transaction("test") as connection:
        match way:
            case "made":
                await connection.execute("update people set password_hash = null where person_id = $1", who)
                await people.set_password(connection, who, "a hash")
            case "role":
                await people.set_role(connection, who, Role.ADMIN)
            case "reset":
                await people.forget_all_secrets(connection, who)
                await people.set_password(connection, who, "a hash")
            case "enabled":
                await people.set_disabled(connection, who, now)
                await people.set_disabled(connection, who, None)


async def test_what_a_person_changes_for_himself_and_what_is_written_past_us_moves_nothing(
    rows: Database,
) -> None:
    ana = await person(rows, "ana")
    assert ana.person_id is not None
    async with rows.transaction("test") as connection:
        await people.set_password(connection, ana.person_id, "a hash")
    await standing_for(rows)
    async with rows.transaction("test") as connection:
        before = await read_standing(connection, ana.person_id)
        await people.set_password(connection, ana.person_id, "another hash")
        await people.offer_totp(connection, ana.person_id, b"sealed", datetime.now(UTC))
        await people.take_totp(connection, ana.person_id, b"sealed", 1)
        await connection.execute("update people set standing_since = '2020-01-01'")
        assert await read_standing(connection, ana.person_id) == before
        made = "insert into people (person_id, name, role, created_at, created_by, standing_since)"
        await connection.execute(
            f"{made} values ($1, 'eve', 'admin', '2020-01-01', 'x', '2020-01-01')", uuid4()
        )
        eve = await read_standing(connection, await people.find_person(connection, "eve"))
    assert eve is not None
    assert datetime.now(UTC) - eve.standing_since < timedelta(minutes=5)


async def test_in_live_mode_others_are_told_of_whoever_may_be_a_second_person_a_day_from_now(
    rows: Database,
) -> None:
    """How: an Admin alone makes one, raises one, resets one; and one who could never decide, and one on paper."""

    async def told() -> set[str]:
        async with rows.connection() as connection:
            found = await list_alerts(connection)
        return {each.subject for each in found if each.code is AlertCode.SECOND_PERSON_NEW}

    async def made(name: str, role: Role) -> None:
        async with rows.connection() as connection:
            await invite(connection, name, role, by="ana", now=datetime.now(UTC), secret=name * 8)

    async def changed(what: PersonChange, name: str, role: Role | None = None) -> None:
        async with rows.connection() as connection:
            await change_person(
                connection, what, name, by="ana", now=datetime.now(UTC), role=role, secret=f"{name}{what}" * 8
            )

    await made("paula", Role.ADMIN)
    assert await told() == set()
    await go_live(rows)
    for name, role in (
        ("adam", Role.ADMIN),
        ("rita", Role.RISK),
        ("olga", Role.OPERATOR),
        ("vera", Role.VIEWER),
    ):
        await made(name, role)
    assert await told() == {"adam", "rita"}
    await changed(PersonChange.RESET, "olga")
    assert await told() == {"adam", "rita"}
    await changed(PersonChange.ROLE, "olga", Role.RISK)
    await changed(PersonChange.DISABLE, "paula")
    assert await told() == {"adam", "rita", "olga"}
    await changed(PersonChange.ENABLE, "paula")
    assert await told() == {"adam", "rita", "olga", "paula"}
