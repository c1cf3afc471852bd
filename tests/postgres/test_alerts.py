"""An alert is one row for as long as it lasts, with one audit row for each change."""

from datetime import UTC, datetime, timedelta

from schemas.alerts import Alert, AlertCode, Severity
from storage.alerts import clear_alert, list_alerts, raise_alert
from storage.database import Database

NOW = datetime(2026, 11, 26, 15, tzinfo=UTC)
UNPROTECTED = Alert(
    code=AlertCode.UNPROTECTED,
    severity=Severity.CRITICAL,
    subject="AAPL",
    text="100 shares of AAPL have no stop: place one by hand",
    correlation_id="sig-1",
)


async def test_raised_again_counts_cleared_and_raised_is_new(database: str) -> None:
    opened = await Database.connect(database)
    async with opened.transaction("test") as connection:
        assert await raise_alert(connection, UNPROTECTED, component="Test", now=NOW)
        later = NOW + timedelta(seconds=1)
        assert not await raise_alert(connection, UNPROTECTED, component="Test", now=later)
        [stored] = await list_alerts(connection)
        assert (stored.times, stored.raised_at, stored.last_raised_at) == (2, NOW, later)
        assert await clear_alert(connection, AlertCode.UNPROTECTED, "AAPL", component="Test", now=later)
        assert not await clear_alert(connection, AlertCode.UNPROTECTED, "AAPL", component="Test", now=later)
        assert await list_alerts(connection) == []
        assert len(await list_alerts(connection, everything=True)) == 1
        assert await raise_alert(connection, UNPROTECTED, component="Test", now=later)
        [stored] = await list_alerts(connection)
        assert (stored.times, stored.raised_at, stored.cleared_at) == (1, later, None)
        told = await connection.fetch(
            "select decision from audit_log where correlation_id = 'sig-1' order by id"
        )
    assert [row["decision"] for row in told] == ["ALERT_RAISED", "ALERT_CLEARED", "ALERT_RAISED"]
    await opened.close()
