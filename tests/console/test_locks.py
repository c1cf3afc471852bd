"""``trading lock``, ``unlock``, ``locks`` and ``alerts ack|silence|hear``: by the person at this terminal."""

from datetime import UTC, datetime

from schemas.alerts import Alert, AlertCode, Severity
from storage.alerts import raise_alert
from storage.database import Database
from storage.events import timeline
from storage.locks import CORRELATION
from tests.console.commands import Trading, environment
from tests.postgres.books import prepare
from tests.postgres.two_people import always_two

WHY = ("--reason", "earnings tonight")


async def test_a_ticker_is_locked_listed_and_unlocked(database: str) -> None:
    trading = Trading(environment(TRADING_DATABASE_URL=database))
    locked = await trading("lock", "AAPL", *WHY, "--for", "2h", "--person", "Jo Doe", "--json")
    assert (locked.code, locked.json["ticker"]) == (0, "AAPL"), locked
    assert (await trading("lock", "AAPL", *WHY)).code == 0, "each lock is its own"
    for wrong in (("aapl", *WHY), ("AAPL",), ("AAPL", "--reason", " "), ("AAPL", *WHY, "--for", "soon")):
        assert (await trading("lock", *wrong, "--json")).code == 2, wrong
    listed = (await trading("locks", "--json")).json
    assert [each["ticker"] for each in listed] == ["AAPL", "AAPL"]
    assert "earnings tonight" in (await trading("locks")).out
    one = await trading("unlock", locked.json["lock_id"], "--reason", "they came", "--json")
    assert [each["lock_id"] for each in one.json] == [locked.json["lock_id"]]
    assert (await trading("unlock", "AAPL", "--reason", "they came")).code == 0
    assert (await trading("unlock", "AAPL", "--reason", "they came")).code == 1, "none holds"
    assert (await trading("locks", "--json")).json == []
    assert len((await trading("locks", "--all", "--json")).json) == 2
    rows = await Database.connect(database)
    async with rows.connection() as connection:
        story = await timeline(connection, CORRELATION)
    await rows.close()
    assert [each.decision for each in story] == ["SYMBOL_LOCKED"] * 2 + ["SYMBOL_UNLOCKED"] * 2
    assert story[0].actor.startswith("Jo Doe (operator ")


async def test_an_alert_is_seen_and_silenced_and_a_raise_is_asked_for_where_two_are_needed(
    database: str,
) -> None:
    rows = await Database.connect(database)
    await prepare(rows)
    alert = Alert(
        code=AlertCode.LATE_TRUTH, severity=Severity.HIGH, subject="x", text="look", correlation_id="test"
    )
    async with rows.transaction("test") as connection:
        await raise_alert(connection, alert, component="test", now=datetime.now(UTC))
    trading = Trading(environment(TRADING_DATABASE_URL=database))
    for fresh in (True, False):
        assert (await trading("alerts", "ack", alert.alert_id, "--json")).json["acknowledged"] is fresh
    assert (await trading("alerts", "silence", alert.alert_id, "--for", "25h", *WHY)).code == 2
    assert (await trading("alerts", "silence", alert.alert_id, "--for", "1h", *WHY)).code == 0
    assert "silenced by operator" in (await trading("alerts")).out
    assert (await trading("alerts", "hear", alert.alert_id)).code == 0
    assert (await trading("alerts", "hear", alert.alert_id)).code == 1, "nothing silences it"
    await always_two(rows)
    asked = await trading("limits", "set", "max_order_notional=77777", *WHY, "--json")
    assert (asked.code, asked.json["version"]) == (1, None)
    assert asked.json["asked"] is not None
    assert "two persons" in (await trading("limits", "set", "max_order_notional=77777", *WHY)).out
    lowered = await trading("limits", "set", "max_order_notional=1", *WHY, "--json")
    assert (lowered.code, lowered.json["asked"]) == (0, None), "a lowering needs one"
    await rows.close()
