"""``trading people``: what the operator of the machine does, told and audited, and refused where it must be."""

import json
from typing import Any

import pytest

from console import people
from console.common import Common
from console.errors import Refused
from console.kill_steps import operator
from schemas.people import Role
from tests.web.browser import Web
from workers.console import MASKED, shown
from workers.settings import ConsoleSettings
from workers.setup import first_admin_link

JSON = Common(json=True)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, database: str) -> None:
    """The command line finds this test's database."""
    monkeypatch.setenv("TRADING_DATA_DIR", "/nonexistent/trading-tests")
    monkeypatch.setenv("TRADING_DATABASE_URL", database)
    monkeypatch.setenv("TRADING_CONSOLE_URL", "https://console.example.com")


def told(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


async def test_people_come_and_go_by_the_command_line(web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    await people.first_admin(common=JSON)
    origin, _, path = told(capsys)["link"].partition("/welcome/")
    assert origin == "https://console.example.com"
    jo = web.browser()
    await jo.come_in(f"/welcome/{path}", "jo")
    with pytest.raises(Refused, match="there is an Admin"):
        await people.first_admin(common=JSON)
    await people.invite("sam", role=Role.VIEWER, common=JSON)
    sam = web.browser()
    await sam.come_in("/welcome/" + told(capsys)["link"].partition("/welcome/")[2], "sam")
    for command, refused in (
        (people.role("sam", Role.RISK, common=JSON), None),
        (people.role("sam", Role.RISK, common=JSON), "already"),
        (people.disable("sam", common=JSON), None),
        (people.enable("sam", common=JSON), None),
        (people.disable("jo", common=JSON), "last Admin"),
        (people.role("jo", Role.RISK, common=JSON), "last Admin"),
        (people.unlock("jo", common=JSON), "no wrong tries"),
        (people.disable("nobody", common=JSON), "nobody is called"),
        (people.invite("jo", role=Role.VIEWER, common=JSON), "there already"),
        (people.invite("system", role=Role.VIEWER, common=JSON), "audit log"),
        (people.invite("a b", role=Role.VIEWER, common=JSON), "letters"),
    ):
        if refused is None:
            await command
        else:
            with pytest.raises(Refused, match=refused):
                await command
    capsys.readouterr()
    await people.list_people(common=JSON)
    listed = {each["name"]: each["role"] for each in told(capsys)}
    assert listed == {"jo": "admin", "sam": "risk"}
    await people.reset("jo", common=JSON)
    await jo.come_in("/welcome/" + told(capsys)["link"].partition("/welcome/")[2], "jo")
    await people.list_people()
    assert "jo" in capsys.readouterr().out
    async with web.deps.database.connection() as connection:
        rows = await connection.fetch(
            "select decision, actor from audit_log where actor like 'operator %' order by id"
        )
    assert [row["decision"] for row in rows] == [
        "FIRST_ADMIN_LINK_MADE", "PERSON_INVITED", "ROLE_SET", "PERSON_DISABLED", "PERSON_ENABLED", "PERSON_RESET",
    ]  # fmt: skip
    assert {row["actor"] for row in rows} == {operator()}


async def test_a_start_makes_the_first_admins_link_once(web: Web, database: str) -> None:
    link = await first_admin_link(database)
    assert link is not None
    assert await first_admin_link(database) is None
    assert (await web.browser().get(link)).status_code == 200


def test_settings_are_shown_with_their_source_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    secret, password = "ab" * 32, "s3cr3t"
    monkeypatch.setenv("TRADING_CONSOLE_KEY", secret)
    monkeypatch.setenv("TRADING_DATABASE_URL", f"postgresql://ti_console:{password}@127.0.0.1/trading")
    monkeypatch.setenv("TRADING_TEMPORAL_ADDRESS", "127.0.0.1:7233")
    found = {each.name: (each.value, each.source) for each in shown(ConsoleSettings())}
    assert found["TRADING_CONSOLE_KEY"] == (MASKED, "environment")
    assert found["TRADING_TEMPORAL_ADDRESS"] == ("127.0.0.1:7233", "environment")
    assert found["TRADING_CONSOLE_PORT"] == ("8081", "default")
    assert secret not in str(found)
    assert password not in str(found)
