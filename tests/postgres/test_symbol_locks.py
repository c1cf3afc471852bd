"""Locked tickers: from the next decision on nothing is opened, what was approved does not leave, closes pass."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from schemas.locks import SymbolLockRow
from schemas.risk import AssessmentKind
from schemas.runs import PlaceKind
from storage.database import Database
from storage.events import timeline
from storage.locks import CORRELATION, holding_locks, lift_lock, lock_symbol, past_locks
from storage.orders import read_order
from tests.postgres.desk import SIGNAL, Desk
from tests.postgres.test_conduct import make as _make
from tests.postgres.test_conduct import rows as _rows

make, rows = _make, _rows
HOUR = timedelta(hours=1)
LOCKED = "SYMBOL_LOCKED"


async def lock(
    database: Database, ticker: str = "AAPL", *, until: datetime | None = None, lock_id: UUID | None = None
) -> SymbolLockRow:
    wanted = SymbolLockRow(
        lock_id=lock_id or uuid4(), ticker=ticker, locked_at=datetime.now(UTC) - HOUR, until=until,
        reason="earnings tonight", locked_by="ana",
    )  # fmt: skip
    async with database.transaction("test") as connection:
        await lock_symbol(connection, wanted, component="test")
    return wanted


async def lift(database: Database, lock_id: UUID) -> bool:
    async with database.transaction("test") as connection:
        found = await lift_lock(
            connection, lock_id, lifted_by="ben", reason="they came", component="test", now=datetime.now(UTC)
        )
    return found is not None


async def test_nothing_is_opened_in_a_locked_ticker_until_its_last_lock_is_lifted_or_over(make: Any) -> None:
    desk = await make()
    first = await lock(desk.rows, "MSFT")
    second = await lock(desk.rows, "MSFT", until=datetime.now(UTC) + HOUR)
    await lock(desk.rows, "MSFT", until=datetime.now(UTC) - timedelta(seconds=1))
    refused = await desk.decide(ticker="MSFT")
    assert LOCKED in refused.reasons
    close = await desk.decide(ticker="MSFT", action="SELL_TO_CLOSE", hard_stop_loss=None)
    assert LOCKED not in close.reasons
    assert LOCKED not in (await desk.decide(ticker="AAPL")).reasons
    assert await lift(desk.rows, first.lock_id)
    assert not await lift(desk.rows, first.lock_id), "it is lifted"
    assert LOCKED in (await desk.decide(ticker="MSFT")).reasons, "another person's lock holds"
    later = await desk.decide(ticker="MSFT", after=2 * HOUR)
    assert LOCKED in later.reasons, "no argument ends a lock: only our own clock does"
    assert await lift(desk.rows, second.lock_id)
    assert LOCKED not in (await desk.decide(ticker="MSFT")).reasons


async def test_a_lock_is_set_once_and_its_story_names_who_and_why(rows: Database) -> None:
    lock_id = uuid4()
    for _ in range(2):
        await lock(rows, lock_id=lock_id)
    async with rows.connection() as connection:
        assert [each.lock_id for each in await holding_locks(connection, datetime.now(UTC))] == [lock_id]
    assert await lift(rows, lock_id)
    async with rows.connection() as connection:
        assert await holding_locks(connection, datetime.now(UTC)) == []
        [past] = await past_locks(connection)
        story = await timeline(connection, CORRELATION)
    assert (past.locked_by, past.lifted_by, past.lift_reason) == ("ana", "ben", "they came")
    assert [(each.decision, each.actor) for each in story] == [(LOCKED, "ana"), ("SYMBOL_UNLOCKED", "ben")]


@pytest.mark.parametrize("ends", ["later", "over", "lifted"])
async def test_what_was_approved_does_not_leave_once_its_ticker_is_locked(desk: Desk, ends: str) -> None:
    async with desk.database.connection() as connection:
        ticker = (await read_order(connection, SIGNAL)).ticker
    over = datetime.now(UTC) + (-timedelta(seconds=1) if ends == "over" else HOUR)
    held = await lock(desk.database, ticker, until=over)
    if ends == "lifted":
        assert await lift(desk.database, held.lock_id)
    answer = await desk.place()
    if ends == "later":
        assert (answer.kind, answer.order.reason) == (PlaceKind.ENDED, LOCKED)
        assert desk.broker.posts == []
    else:
        assert answer.kind is PlaceKind.PLACED


async def test_a_decision_tells_of_the_lock_in_words(make: Any) -> None:
    desk = await make()
    held = await lock(desk.rows, "MSFT", until=datetime.now(UTC) + HOUR)
    refused = await desk.decide(ticker="MSFT")
    assert refused.kind is AssessmentKind.REJECTED
    checks = await desk.sql("select checks from decisions where signal_id = $1", refused.order.signal_id)
    assert f"MSFT is {held.text}" in checks
