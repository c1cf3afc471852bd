"""``trading alerts clear``: only what does not end by itself, once, audited with who and why."""

from datetime import UTC, datetime

from schemas.alerts import Alert, AlertCode, Channel, Severity
from storage.alerts import raise_alert
from storage.database import Database
from storage.deliveries import claim, mark_failed, set_channels
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


async def test_a_person_sees_what_was_not_told_and_has_it_sent_again(database: str) -> None:
    rows = await Database.connect(database)
    now = datetime.now(UTC)
    async with rows.transaction("test") as connection:
        await set_channels(connection, {Channel.SLACK: tuple(Severity), Channel.PAGERDUTY: ()}, now)
        raised = Alert(
            code=AlertCode.LATE_TRUTH,
            severity=Severity.HIGH,
            subject="ti-1",
            text="look",
            correlation_id="s-1",
        )
        await raise_alert(connection, raised, component="test", now=now)
        [claimed] = await claim(connection, Channel.SLACK, now=now, until=now, limit=9)
        await mark_failed(connection, claimed, "404 no_service", next_try_at=None)
    trading = Trading(environment(TRADING_DATABASE_URL=database))
    [dead] = (await trading("alerts", "--deliveries", "--json")).json
    assert (dead["state"], dead["channel"], dead["last_error"]) == ("dead", "slack", "404 no_service")
    assert "404 no_service" in (await trading("alerts", "--deliveries")).out
    status = await trading("status")
    assert "slack: critical, high, medium; 1 NOT TOLD" in status.out
    identity = str(dead["delivery_id"])
    for code in (0, 1):
        assert (await trading("alerts", "resend", identity, "--json")).code == code
    assert (await trading("alerts", "resend", "4711")).code == 1
    [due] = (await trading("alerts", "--deliveries", "--json")).json
    assert (due["state"], due["tries"]) == ("due", 0)
    async with rows.connection() as connection:
        [entry] = [each for each in await timeline(connection, "s-1") if each.decision == "ALERT_RESENT"]
    assert entry.actor.startswith("operator ")
    await rows.close()
