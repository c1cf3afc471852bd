"""``trading strategy`` and ``trading equity``: a named person disables, enables and begins anew, with a reason."""

from datetime import UTC, datetime

from schemas.alerts import AlertCode
from schemas.conduct import StopCause, StrategyStop
from storage.alerts import list_alerts
from storage.conduct import stop_strategy
from storage.database import Database
from storage.events import timeline
from tests.console.commands import Trading, environment
from tests.postgres.books import prepare

WHY = ("--reason", "its loop was mended")


async def test_a_named_person_enables_what_ran_away_and_its_alert_ends(database: str) -> None:
    rows = await Database.connect(database)
    ran = StrategyStop(
        strategy="wild", since=datetime.now(UTC), cause=StopCause.REPEATED_EXECUTIONS, reason="11 > 10",
        stopped_by="RiskManager",
    )  # fmt: skip
    async with rows.transaction("test") as connection:
        assert await stop_strategy(connection, ran, component="test", evidence={}, correlation_id="s-1")
        assert not await stop_strategy(connection, ran, component="test", evidence={}, correlation_id="s-2")
        [alert] = await list_alerts(connection)
    assert (alert.code, alert.subject, alert.times) == (AlertCode.RUNAWAY_STRATEGY, "wild", 1)
    trading = Trading(environment(TRADING_DATABASE_URL=database))
    told = (await trading("status", "--json")).json["strategies_disabled"]
    assert [(each["strategy"], each["cause"]) for each in told] == [("wild", "REPEATED_EXECUTIONS")]
    assert "wild" in (await trading("strategy", "list")).out
    for command, code in (
        (("enable", "wild"), 2), (("enable", "wild", "--reason", " "), 2), (("enable", "tame", *WHY), 1),
        (("enable", "wild;", *WHY), 2), (("enable", "wild", *WHY, "--person", " "), 2),
    ):  # fmt: skip
        assert (await trading("strategy", *command, "--json")).code == code, command
    assert (await trading("strategy", "enable", "wild", *WHY, "--person", "Jo Doe")).code == 0
    assert (await trading("strategy", "enable", "wild", *WHY)).code == 1, "it was enabled"
    assert (await trading("strategy", "list", "--json")).json == []
    [over] = (await trading("strategy", "list", "--all", "--json")).json
    assert over["enabled_by"].startswith("Jo Doe (operator ")
    async with rows.connection() as connection:
        assert await list_alerts(connection) == []
        [entry] = [each for each in await timeline(connection, "wild") if each.decision == "STRATEGY_ENABLED"]
    assert (entry.actor, entry.detail) == (over["enabled_by"], WHY[1])
    await rows.close()


async def test_a_person_disables_a_strategy_and_resets_the_peak(database: str) -> None:
    rows = await Database.connect(database)
    trading = Trading(environment(TRADING_DATABASE_URL=database))
    assert (await trading("equity", "reset-peak", *WHY)).code == 1, "nothing was read yet"
    await prepare(rows)
    for fresh in (True, False):
        done = await trading("strategy", "disable", "wild", *WHY, "--json")
        assert (done.code, done.json["disabled"]) == (0, fresh)
    async with rows.transaction("test") as connection:
        assert await list_alerts(connection) == [], "whoever did it knows of it"
        await connection.execute("update account set peak_equity = 200000")
    shown = (await trading("equity", "show", "--json")).json["losses"]
    assert [(each["kind"], each["lost_pct"]) for each in shown] == [
        ("MAX_DAILY_LOSS_EXCEEDED", "0"),
        ("MAX_DAILY_DRAWDOWN_EXCEEDED", "50"),
    ]
    assert "50 %" in (await trading("equity", "show")).out
    assert (await trading("equity", "reset-peak", *WHY)).code == 0
    assert [each["lost"] for each in (await trading("equity", "show", "--json")).json["losses"]] == ["0", "0"]
    async with rows.connection() as connection:
        story = await timeline(connection, "equity")
    assert [(each.decision, WHY[1] in each.detail) for each in story] == [("PEAK_RESET", True)]
    await rows.close()
