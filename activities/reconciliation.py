"""The steps of a reconciliation: read the broker, overwrite our books where two readings agree, or give up."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from temporalio import activity

from activities.adoption import Adopter
from activities.broker_state import BrokerStateReader, SnapshotMoved, read_books, unexplained_since
from activities.drift_kill import COMPONENT, carry_out_kill
from activities.failures import as_failure, try_again
from activities.overwrite import Overwrite, book_activities, keep_day
from activities.run_report import ALERT_SUBJECT, in_vain, joined, report_in_vain, report_of, told
from broker.budget import patiently
from broker.errors import BrokerError
from market.calendar import new_york_date
from market.errors import ClockUnavailableError
from observability.logging import get_logger
from risk.drift import agree, compare, residual, worth_of_fills
from schemas import wire
from schemas.alerts import AlertCode
from schemas.broker import CashActivity
from schemas.reconciliation import (
    Books,
    BrokerState,
    Comparison,
    EndRun,
    Graces,
    Outcome,
    Report,
    SnapshotOrder,
    StepAnswer,
)
from storage import journal
from storage import reconciliation as rows
from storage.alerts import clear_alert, raise_alert
from storage.broker_side import save_broker_side
from storage.equity import move_peak

if TYPE_CHECKING:
    from storage.database import Connection, Database

MOVED_PAUSE: Final = timedelta(milliseconds=500)
"""Before a reading is tried again during which something was executed or booked."""
READ_TRIES: Final = 5
TOKENS_WAIT_MAX_SECONDS: Final = 40.0
"""For requests, of the 60 s that a reading may take: begun anew it would use up what it waits for."""
READ_PAUSE_SECONDS: Final = 0.05
OPENING_PAUSE_SECONDS: Final = 0.5
"""Between the first two readings ever: nothing of ours can be on its way yet, and orders wait for them."""
TICK: Final = timedelta(microseconds=1)
"""The smallest step of a time."""
READING_AGE_MAX: Final = timedelta(seconds=60)
"""An overwrite acts on no older reading."""
LEFT_OPEN_AFTER: Final = timedelta(minutes=6)
"""A workflow may run for 4.5 minutes and its last step for one more: an older run has nobody who ends it."""
LEFT_OPEN: Final = "the run was cut short after it had adopted what the broker showed"

_log = get_logger(__name__)


@dataclass(frozen=True)
class Pace:
    """How long what is on its way is left out, and how far apart two readings are. Seconds."""

    graces: Graces
    pause_seconds: float


class ReconciliationActivities:
    """Holds the right to read the broker, and nothing else of it. Acts on rows, never on what it is told."""

    def __init__(
        self,
        database: "Database",
        reader: BrokerStateReader,
        adopter: Adopter,
        pace: Pace,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._reader = reader
        self._adopter = adopter
        self._pace = pace
        self._now = now

    @activity.defn(name=wire.ACTIVITY_READ_BROKER)
    async def read_broker_state(self, order: SnapshotOrder) -> StepAnswer:
        """Read the broker once. Books that agree end the run; a difference is kept for the next reading.

        Idempotent: a finished run is answered as it is, and a repeated reading replaces the one of its number.

        Raises:
            ApplicationError: type SNAPSHOT_MOVED, ERR_CLOCK or the broker's code; read again.
        """
        started = self._now()
        if order.number == 1:
            await self._end_left_open(order, started)
        async with self._database.transaction("reconciliation.opened") as connection:
            run = await rows.open_run(connection, order.run_id, order.trigger, started)
            if run.report is not None:
                return StepAnswer(report=told(run.report))
            if order.number == 1:
                await self._mend(connection, started)
        try:
            with patiently(TOKENS_WAIT_MAX_SECONDS):
                started, state, books = await self._read_quietly(started)
        except BrokerError as error:
            raise as_failure(error) from error
        except ClockUnavailableError as error:
            raise try_again(error.code, error.message) from error
        except SnapshotMoved as moved:
            raise try_again("SNAPSHOT_MOVED", str(moved), MOVED_PAUSE) from moved
        comparison = compare(state, books, self._pace.graces)
        if comparison.findings:
            return await self._keep(
                order, rows.Reading(taken_at=started, state=state, comparison=comparison), books
            )
        async with self._database.transaction("reconciliation.finished") as connection:
            if not await self._is_still_late(connection, state, comparison):
                raise try_again("SNAPSHOT_MOVED", "what was listed late was booked meanwhile", MOVED_PAUSE)
            report = await self._finish(connection, order, run, state, comparison, read_at=started)
        if report.killed:
            await self._stop(order.run_id)
        return StepAnswer(report=told(report))

    async def _end_left_open(self, order: SnapshotOrder, now: datetime) -> None:
        """Tell of what runs had adopted whose workflow is over: no later reading shows it."""
        async with self._database.connection() as connection:
            left = await rows.left_open(connection, now - LEFT_OPEN_AFTER)
        for run_id, trigger in left:
            await self.end_reconciliation(
                EndRun(
                    run_id=run_id,
                    trigger=trigger,
                    outcome=Outcome.FAILED,
                    detail=LEFT_OPEN,
                    as_of=order.as_of,
                )
            )

    async def _is_still_late(
        self, connection: "Connection", state: BrokerState, comparison: Comparison
    ) -> bool:
        """Whether of what is listed just this is late in the books as they are now, which are locked.

        Another run may have overwritten them since, with cash that an activity of this reading explains.
        """
        if not state.activities:
            return True
        await journal.lock_books(connection)
        again = compare(*await read_books(connection, state), self._pace.graces)
        return again.late == comparison.late

    async def _read_quietly(self, started: datetime) -> tuple[datetime, BrokerState, Books]:
        """Read until nothing moves meanwhile, a few times over: executions come in bursts."""
        for _ in range(READ_TRIES - 1):
            try:
                return started, *await self._reader.read(started)
            except SnapshotMoved:
                await asyncio.sleep(READ_PAUSE_SECONDS)
                started = self._now()
        return started, *await self._reader.read(started)

    async def _mend(self, connection: "Connection", now: datetime) -> None:
        wrong = await journal.mend(connection, now)
        if wrong:
            # Only a hand in the database can do this: the sum is kept in every transaction.
            _log.error("positions were not the sum of executions and journal: written anew", rows=len(wrong))

    async def _keep(self, order: SnapshotOrder, reading: rows.Reading, books: Books) -> StepAnswer:
        async with self._database.transaction("reconciliation.reading") as connection:
            before = await rows.read_reading(connection, order.run_id, order.number - 1)
            await rows.save_reading(connection, order.run_id, order.number, reading)
        confirmed = before is not None and agree(before.comparison, reading.comparison)
        return StepAnswer(
            confirmed=confirmed,
            look_again_seconds=self._pause_seconds(opened=books.opened),
            findings=len(reading.comparison.findings),
        )

    def _pause_seconds(self, *, opened: bool) -> float:
        pause = self._pace.pause_seconds
        return pause if opened else min(pause, OPENING_PAUSE_SECONDS)

    @activity.defn(name=wire.ACTIVITY_OVERWRITE_BOOKS)
    async def overwrite_books(self, order: SnapshotOrder) -> StepAnswer:
        """Adopt what the broker shows, book the rest, tell of every difference, and stop trading above 5 %.

        Idempotent: executions and activities are booked under their ids, the rest in the one transaction that
        closes the run; a closed run is answered as it is. Without two agreeing readings on file nothing is
        done.

        Raises:
            ApplicationError: an order could not be read at the broker (its code); try again.
        """
        async with self._database.transaction("reconciliation.asked") as connection:
            run = await rows.open_run(connection, order.run_id, order.trigger, self._now())
            reading = await self._agreed(connection, order)
        if run.report is None and reading is not None:
            await self._carry(order, reading)
            try:
                await self._adopter.adopt(reading.comparison.findings, now=self._now())
            except BrokerError as error:
                raise as_failure(error) from error
            report = await self._database.run(
                "reconciliation.overwritten", lambda connection: self._overwrite(connection, order, reading)
            )
        else:
            report = run.report
        if report is not None and report.killed:
            await self._stop(order.run_id)
        return StepAnswer(
            report=None if report is None else told(report), look_again_seconds=self._pace.pause_seconds
        )

    async def _agreed(self, connection: "Connection", order: SnapshotOrder) -> rows.Reading | None:
        before = await rows.read_reading(connection, order.run_id, order.number - 1)
        reading = await rows.read_reading(connection, order.run_id, order.number)
        if before is None or reading is None or not agree(before.comparison, reading.comparison):
            return None
        opened = await rows.last_market_at(connection) is not None
        if reading.taken_at - before.taken_at < timedelta(seconds=self._pause_seconds(opened=opened)):
            return None
        age = max(self._now(), order.as_of) - reading.taken_at
        return reading if age <= READING_AGE_MAX else None

    async def _carry(self, order: SnapshotOrder, reading: rows.Reading) -> None:
        """Keep what is about to be adopted, before it is: it is gone from later readings, whoever dies meanwhile.

        Idempotent: of drift the run's largest counts, never a sum.
        """
        comparison = reading.comparison
        adopted = [each for each in comparison.findings if each.kind in Adopter.KINDS]
        if not adopted:
            return
        async with self._database.transaction("reconciliation.adopted") as connection:
            now = self._now()
            run = await rows.open_run(connection, order.run_id, order.trigger, now)
            opening = await rows.last_market_at(connection) is None
            # A purchase and a sale of ours that cancel out are no drift: no more than the reading had of it.
            worth = Decimal(0) if opening else min(worth_of_fills(adopted), comparison.drift)
            drift = max(run.drift, worth)
            found = joined(run.findings, adopted)
            await rows.carry(connection, order.run_id, found, drift, reading.state, now)

    async def _overwrite(
        self, connection: "Connection", order: SnapshotOrder, reading: rows.Reading
    ) -> Report | None:
        """The one transaction; None where the books have moved since the reading and it must be read again."""
        await journal.lock_books(connection)
        run = await rows.open_run(connection, order.run_id, order.trigger, self._now())
        if run.report is not None:
            return run.report
        now = self._now()
        state, books = await read_books(connection, reading.state)
        again = compare(state, books, self._pace.graces)
        not_adopted = any(found.fill and found.kind in Adopter.KINDS for found in again.findings)
        if not_adopted or residual(again) != residual(reading.comparison):
            return None
        opening = not books.opened
        overwrite = Overwrite(connection, order.run_id, state, books.held, opening=opening, now=now)
        told = reading.comparison.model_copy(update={"late": again.late, "waiting": again.waiting})
        return await self._finish(
            connection, order, run, state, told, read_at=reading.taken_at, overwrite=overwrite
        )

    async def _finish(
        self,
        connection: "Connection",
        order: SnapshotOrder,
        run: rows.Run,
        state: BrokerState,
        comparison: Comparison,
        *,
        read_at: datetime,
        overwrite: Overwrite | None = None,
    ) -> Report:
        now = self._now()
        last = await rows.last_market_at(connection)
        opening = last is None
        booked: list[CashActivity] = []
        if state.activities:
            await journal.lock_books(connection)
            since = unexplained_since(last, state.market_at)
            booked = await book_activities(connection, order.run_id, state, comparison, now, since=since)
        # What came before the books were opened is in every equity that was ever read.
        day = state.day or new_york_date(state.market_at)
        await move_peak(connection, () if opening else booked, day, late=comparison.late)
        if overwrite is not None:
            await overwrite.book(comparison.findings)
        await rows.save_external(connection, state.external, now)
        await keep_day(connection, state)
        report = report_of(run, state, comparison, opening=opening, booked=len(booked), now=self._now())
        await rows.finish(connection, report, read_at=read_at, market_at=self._known_up_to(state))
        await save_broker_side(connection, order.run_id, state, read_at)
        await clear_alert(connection, AlertCode.NOT_RECONCILED, ALERT_SUBJECT, component=COMPONENT, now=now)
        return report

    def _known_up_to(self, state: BrokerState) -> datetime:
        """Market time up to which others' executions are in the books: before the first that was left out."""
        grace = self._pace.graces.fill_seconds
        left_out = [each for each in state.fills if not each.ours and each.age_seconds < grace]
        return min((each.fill.executed_at - TICK for each in left_out), default=state.market_at)

    @activity.defn(name=wire.ACTIVITY_END_RECONCILIATION)
    async def end_reconciliation(self, end: EndRun) -> Report:
        """Close a run that came to nothing; the books stay as they are. Idempotent: the first close counts.

        Nothing is good by being called so: only a reading makes it.
        """
        now = self._now()
        outcome = Outcome.FAILED if end.outcome.is_good else end.outcome
        async with self._database.transaction("reconciliation.in_vain") as connection:
            run = await rows.open_run(connection, end.run_id, end.trigger, now)
            if run.report is not None:
                return told(run.report)
            report = report_in_vain(run, outcome, end.detail, now=now)
            await rows.finish(connection, report, read_at=None, market_at=run.market_at)
            await raise_alert(connection, in_vain(report), component=COMPONENT, now=now)
        if report.killed:
            await self._stop(end.run_id)
        _log.error("not reconciled", outcome=outcome.value, reason=end.detail, trigger=end.trigger)
        return told(report)

    async def _stop(self, run_id: str) -> None:
        await self._database.run(
            "reconciliation.kill", lambda connection: carry_out_kill(connection, run_id, self._now())
        )
