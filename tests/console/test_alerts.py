"""``trading alerts clear``: only what does not end by itself, once, audited with who and why."""

from datetime import UTC, datetime

from schemas.alerts import Alert, AlertCode, Severity
from storage.alerts import raise_alert
from storage.database import Database
from storage.events import timeline
from tests.console.commands import Trading, environment

CODES = (AlertCode.IDENTITY_CONFLICT, AlertCode.KILL_SWITCH)
CONFLICT = "IDENTITY_CONFLICT:ti-1"
WHY = ("--reason", "the order is our other desk's")


async def test_a_person_clears_an_alert_once_and_is_named(database: str) -> None:
    rows = await Database.connect(database)
    async with rows.transaction("test") as connection:
        for code in CODES:
            told = Alert(
                code=code, severity=Severity.CRITICAL, subject="ti-1", text="look", correlation_id="s-1"
            )
            await raise_alert(connection, told, component="test", now=datetime.now(UTC))
    trading = Trading(environment(TRADING_DATABASE_URL=database))
    listed = await trading("alerts", "--json")
    assert {each["code"] for each in listed.json} == set(CODES)
    for told, more, code in (
        (CONFLICT, ("--reason", "  "), 2), ("IDENTITY_CONFLICT", WHY, 2), ("NO_SUCH:ti-1", WHY, 2),
        (CONFLICT, (), 2), ("KILL_SWITCH:ti-1", WHY, 1), ("NOT_AT_BROKER:ti-1", WHY, 1),
    ):  # fmt: skip
        assert (await trading("alerts", "clear", told, *more, "--json")).code == code, (told, more)
    assert len((await trading("alerts", "--json")).json) == 2, "nothing was cleared by those"
    for cleared in (True, False):
        done = await trading("alerts", "clear", CONFLICT, *WHY, "--json")
        assert (done.code, done.json["cleared"]) == (0, cleared)
    [left] = (await trading("alerts", "--json")).json
    assert left["code"] == "KILL_SWITCH"
    async with rows.connection() as connection:
        story = [each for each in await timeline(connection, "s-1") if each.decision == "ALERT_CLEARED"]
    [entry] = story
    assert entry.actor.startswith("operator ")
    assert WHY[1] in entry.detail
    await rows.close()
