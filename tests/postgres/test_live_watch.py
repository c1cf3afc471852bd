"""People hear of a live grant before it ends and when it has; the command line and the first page say it too."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from console.live_lines import live_lines, read_live_line
from console.web.lights import Kind, live_light
from risk.live_grant import ENDING_WITHIN, TOLD_FOR
from schemas.alerts import AlertCode, Severity
from security.live import sign_grant
from storage.alerts import list_alerts
from storage.database import Database
from storage.live import read_newest_grant, revoke_grants, save_grant
from tests.postgres.books import prepare
from tests.servers import live
from workers.live_watch import LiveGrantWatch

D = timedelta
GIVEN = datetime(2026, 11, 27, 14, 0, tzinfo=UTC)
ENDS = GIVEN + D(hours=8)


class Watched:
    """A live installation's rows, and what time it is there."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = GIVEN
        self.watch = LiveGrantWatch(database, now=lambda: self.now)

    async def give(self, given: datetime = GIVEN, ends: datetime = ENDS) -> None:
        signed = sign_grant(live.SIGNER, live.grant(given, "0" * 64, given_at=given, expires_at=ends))
        async with self.database.transaction("test") as connection:
            await save_grant(connection, signed, component="Console", now=given)

    async def told(self, now: datetime) -> Severity | None:
        """How the alert stands after a look at that time; None: there is none."""
        self.now = now
        await self.watch.watch_live_grant()
        async with self.database.connection() as connection:
            found = [
                each for each in await list_alerts(connection) if each.code is AlertCode.LIVE_GRANT_ENDING
            ]
        assert len(found) <= 1
        return found[0].severity if found else None

    async def lines(self, mode: str | None = "live") -> list[Any]:
        async with self.database.connection() as connection:
            return live_lines(await read_live_line(connection, mode, self.now))

    async def light(self) -> Kind:
        async with self.database.connection() as connection:
            return live_light(await read_newest_grant(connection), self.now).kind


@pytest.fixture
async def watched(database: str) -> AsyncIterator[Watched]:
    opened = await Database.connect(database)
    await prepare(opened)
    yield Watched(opened)
    await opened.close()


async def test_a_grant_is_told_of_before_its_end_at_its_end_and_no_more_after_the_next(
    watched: Watched,
) -> None:
    assert await watched.told(GIVEN) is None
    assert await watched.lines() == [("live grant", "none was ever given: no entry leaves", True)]
    await watched.give()
    for now, alert, line, light in (
        (GIVEN, None, "in force until 2026-11-27 22:00 UTC", Kind.GOOD),
        (ENDS - ENDING_WITHIN - D(seconds=1), None, "in force until 2026-11-27 22:00 UTC", Kind.GOOD),
        (ENDS - ENDING_WITHIN, Severity.MEDIUM, "ENDS IN 30 MIN, at 2026-11-27 22:00 UTC", Kind.WARN),
        (ENDS, Severity.MEDIUM, "ENDS IN 0 MIN, at 2026-11-27 22:00 UTC", Kind.WARN),
        (ENDS + D(seconds=1), Severity.HIGH, "ended at 2026-11-27 22:00 UTC: no entry leaves", Kind.BAD),
        (ENDS + TOLD_FOR, Severity.HIGH, "ended at 2026-11-27 22:00 UTC: no entry leaves", Kind.BAD),
        (ENDS + TOLD_FOR + D(seconds=1), None, "ended at 2026-11-27 22:00 UTC: no entry leaves", Kind.BAD),
        (ENDS + D(seconds=2), Severity.HIGH, "ended at 2026-11-27 22:00 UTC: no entry leaves", Kind.BAD),
    ):
        assert await watched.told(now) is alert, now
        assert await watched.lines() == [("live grant", line, light is not Kind.GOOD)]
        assert await watched.light() is light
    await watched.give(ENDS + D(minutes=1), ENDS + D(hours=8))
    assert await watched.told(ENDS + D(minutes=2)) is None
    assert await watched.lines("paper") == []
    assert await watched.lines(None) == []


async def test_a_grant_that_was_taken_back_is_nobodys_surprise(watched: Watched) -> None:
    await watched.give()
    assert await watched.told(ENDS - D(minutes=5)) is Severity.MEDIUM
    async with watched.database.transaction("test") as connection:
        await revoke_grants(connection, by="anna", reason="enough", component="Console", now=watched.now)
    assert await watched.told(ENDS - D(minutes=4)) is None
    assert await watched.told(ENDS + D(minutes=4)) is None
    assert await watched.lines() == [("live grant", "taken back: no entry leaves", True)]
    assert await watched.light() is Kind.BAD
