"""What a reconciliation found is one alert for the run, however many differences, however late it is seen to."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from activities.drift_alert import drift_alert
from activities.row_alerts import RowAlerts
from schemas.alerts import AlertCode, Severity, StoredAlert
from schemas.reconciliation import DriftKind, Finding, Outcome, Report
from storage.alerts import list_alerts, raise_alert
from storage.database import Database
from storage.reconciliation import finish, open_run, take_kill

START = datetime(2026, 11, 26, 15, tzinfo=UTC)
MANY = 40
WAITING = """
    select exists (
        select from pg_locks l join pg_database d on d.oid = l.database
        where not l.granted and l.locktype = 'advisory' and d.datname = current_database()
    )
"""


def missing(ticker: str, shares: int) -> Finding:
    return Finding(
        kind=DriftKind.POSITION_SMALLER_THERE, subject=ticker, ticker=ticker, difference=Decimal(shares),
        detail=f"{shares} {ticker} fewer there",
    )  # fmt: skip


@dataclass
class Desk:
    database: Database
    now: datetime = START
    runs: int = 0

    @property
    def watcher(self) -> RowAlerts:
        return RowAlerts(self.database, now=lambda: self.now)

    async def finished(
        self, *findings: Finding, outcome: Outcome | None = None, killed: bool = False
    ) -> Report:
        """A run of the reconciliation, at its end."""
        self.runs += 1
        self.now += timedelta(minutes=5)
        report = Report(
            run_id=f"run-{self.runs}", trigger="test", started_at=self.now, finished_at=self.now,
            outcome=outcome or (Outcome.DRIFT if findings else Outcome.CLEAN), findings=findings,
            drift=Decimal(50), equity=Decimal(1000), killed=killed, detail=f"{len(findings)} differences",
        )  # fmt: skip
        async with self.database.transaction("test") as connection:
            await open_run(connection, report.run_id, report.trigger, self.now)
            assert await finish(connection, report, read_at=self.now, market_at=self.now)
        return report

    async def lasting(self) -> list[StoredAlert]:
        async with self.database.connection() as connection:
            return await list_alerts(connection)

    async def told(self) -> int:
        """How many alerts there ever were, each raising counted."""
        async with self.database.connection() as connection:
            return int(
                await connection.fetchval("select count(*) from audit_log where decision = 'ALERT_RAISED'")
            )


@pytest.fixture
async def desk(database: str) -> AsyncIterator[Desk]:
    opened = await Database.connect(database)
    yield Desk(opened)
    await opened.close()


async def test_many_differences_are_one_alert_that_ends_with_a_run_that_does_not_find_them(
    desk: Desk,
) -> None:
    """How: three look at once; the same again is no news, another size is, a run in vain ends nothing."""
    many = tuple(missing(f"T{number:04d}", 1) for number in range(MANY))
    await desk.finished(*many)
    await asyncio.gather(*(desk.watcher.keep_drift() for _ in range(3)))
    [alert] = await desk.lasting()
    assert (alert.code, alert.severity, alert.times) == (AlertCode.STATE_DRIFT, Severity.HIGH, 1)
    assert alert.subject.startswith("T0000, T0001, T0002, T0003 and 36 more #")
    assert "1 T0000 fewer there" in alert.text
    assert len(alert.text) < 2000
    await desk.finished(*reversed(many))
    await desk.finished(outcome=Outcome.FAILED)
    await desk.watcher.keep_drift()
    [same] = await desk.lasting()
    assert (same.subject, same.times) == (alert.subject, 2)
    await desk.finished(missing("T0000", 2), *many[1:], killed=True)
    await desk.watcher.keep_drift()
    [worse] = await desk.lasting()
    assert worse.subject != alert.subject
    assert worse.severity is Severity.CRITICAL
    await desk.finished()
    await desk.watcher.keep_drift()
    assert await desk.lasting() == []
    assert await desk.told() == 2


async def test_a_run_whose_alert_nobody_could_see_to_is_told_of_all_the_same(desk: Desk) -> None:
    """Though a later one was clean before anybody looked."""
    await desk.finished(missing("AAPL", 1))
    await desk.finished()
    await desk.watcher.keep_drift()
    assert await desk.lasting() == []
    assert await desk.told() == 1


async def test_the_first_import_is_no_drift(desk: Desk) -> None:
    report = await desk.finished(missing("AAPL", 1), outcome=Outcome.OPENED)
    assert drift_alert(report) is None
    await desk.watcher.keep_drift()
    assert await desk.told() == 0


async def test_who_holds_an_alerts_lock_does_not_keep_the_kill_switch_from_being_engaged(desk: Desk) -> None:
    report = await desk.finished(missing("AAPL", 1), killed=True)
    told = drift_alert(report)
    assert told is not None
    async with desk.database.transaction("test") as held:
        await raise_alert(held, told, component="Test", now=desk.now)
        watching = asyncio.create_task(desk.watcher.keep_drift())
        async with desk.database.transaction("test") as connection:
            while not await connection.fetchval(WAITING):
                await asyncio.sleep(0.01)
            await connection.execute("set local lock_timeout = '500ms'")
            assert await take_kill(connection, report.run_id)
    await asyncio.gather(watching, return_exceptions=True)
    await desk.watcher.keep_drift()
    assert await desk.told() == 1
