"""The rows that clocks leave: a halt opened once, seen by everybody, closed by the second good reading."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from schemas.clock import ClockHealth, ClockReading, ClockSource, ClockVerdict
from schemas.runs import OrderQuestion
from storage.clock import note_clock, read_clock_checks, read_clock_health
from storage.database import Connection, Database
from storage.placement import read_gate
from tests.postgres.books import prepare, propose

SIGNAL = "s1"
NOW = datetime(2026, 11, 27, 15, 0, tzinfo=UTC)
GOOD = ClockReading(
    verdict=ClockVerdict.IN_SYNC, offset=timedelta(milliseconds=3), source=ClockSource.NTP, detail="3 of 3"
)
BAD = ClockReading(
    verdict=ClockVerdict.SKEWED, offset=timedelta(seconds=-5), source=ClockSource.NTP, detail="-5 s by 3 of 3"
)
SILENT = ClockReading(verdict=ClockVerdict.NO_SOURCE, detail="nobody")


@pytest.fixture
async def rows(database: str) -> AsyncIterator[Database]:
    opened = await Database.connect(database)
    await prepare(opened)
    await propose(opened, SIGNAL)
    yield opened
    await opened.close()


async def note(rows: Database, holder: str, reading: ClockReading, halts: str | None = None) -> bool:
    async with rows.transaction("test") as connection:
        return await note_clock(connection, holder, reading, halts=halts, now=NOW)


async def halt(connection: Connection) -> str | None:
    """What a new order is told."""
    return (await read_gate(connection, OrderQuestion(signal_id=SIGNAL, as_of=NOW))).wrong_clock


async def decisions(rows: Database) -> list[str]:
    async with rows.connection() as connection:
        found = await connection.fetch(
            "select decision from audit_log where correlation_id = 'clock' order by id"
        )
        return [row["decision"] for row in found]


async def test_a_halt_opens_once_and_ends_with_the_second_good_reading_in_a_row(rows: Database) -> None:
    async with rows.connection() as connection:
        assert await halt(connection) is None
        assert (await read_clock_health(connection)).in_sync is False, "nobody has asked yet"
        assert not await note(rows, "execution@one", GOOD)
        assert (await read_clock_health(connection)).in_sync
        assert await note(rows, "execution@one", BAD, "it is off")
        assert await note(rows, "execution@one", BAD, "it is still off")
        assert await halt(connection) == "execution@one: it is still off"
        assert await note(rows, "execution@one", GOOD)
        assert await note(rows, "execution@one", SILENT), "what is in between begins the count anew"
        assert await note(rows, "execution@one", GOOD)
        assert not (await read_clock_health(connection)).in_sync
        assert not await note(rows, "execution@one", GOOD)
        assert await halt(connection) is None
        (check,) = await read_clock_checks(connection)
        assert (check.offset, check.halted_since) == (GOOD.offset, None)
    assert await decisions(rows) == ["CLOCK_HALT_OPENED", "CLOCK_HALT_CLOSED"]


async def test_any_machine_halts_everybody_and_one_that_is_gone_halts_nobody(rows: Database) -> None:
    await note(rows, "execution@one", GOOD)
    await note(rows, "execution@two", BAD, "it is off")
    async with rows.connection() as connection:
        assert await halt(connection) == "execution@two: it is off"
        assert not (await read_clock_health(connection)).in_sync
        await connection.execute(
            "update clock_checks set checked_at = checked_at - interval '16 minutes' where holder = 'execution@two'"
        )
        assert await halt(connection) is None
        health = await read_clock_health(connection)
        assert health.in_sync
        assert health.age is not None
        assert timedelta(0) <= health.age < timedelta(minutes=1)


async def test_live_mode_asks_for_the_clock_of_the_process_that_places(rows: Database) -> None:
    """One that ended minutes ago, whose row stays, keeps nobody from trading; nor does one look without answer."""
    await note(rows, "execution@one", GOOD)
    await note(rows, "execution@gone", GOOD)
    async with rows.connection() as connection:
        await connection.execute(
            "update clock_checks set checked_at = checked_at - interval '12 minutes' where holder like '%gone'"
        )
        for own in ("execution@one", None):
            health = await read_clock_health(connection, own)
            assert health.in_sync
            assert health.age is not None
            assert health.age < timedelta(minutes=1)
        gone = await read_clock_health(connection, "execution@gone")
        assert gone.age is not None
        assert gone.age > timedelta(minutes=11)
        assert await read_clock_health(connection, "execution@new") == ClockHealth(in_sync=False)
        await note(rows, "execution@one", SILENT)
        assert (await read_clock_health(connection, "execution@one")).in_sync
        await note(rows, "operations@one", BAD, "it is off")
        assert not (await read_clock_health(connection, "execution@one")).in_sync
