"""A reconciliation's steps under their wire names, on a script instead of a broker."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from schemas import wire
from schemas.reconciliation import (
    EndRun,
    Outcome,
    ReconcileInput,
    Report,
    SnapshotOrder,
    StepAnswer,
)
from tests.workflow.gates import Gates
from tests.workflow.running import WITHIN_SECONDS
from workflows.reconciliation import ReconciliationWorkflow

READ = wire.ACTIVITY_READ_BROKER
OVERWRITE = wire.ACTIVITY_OVERWRITE_BOOKS
END = wire.ACTIVITY_END_RECONCILIATION

Run = WorkflowHandle[ReconciliationWorkflow, Report]


class ScriptedBooks(Gates):
    """READ: ``DIFFERS``, ``CONFIRMED``, or clean. OVERWRITE: ``STALE``, ``KILLS``, or done."""

    def __init__(self, *, pause_seconds: float = 2.0) -> None:
        super().__init__()
        self.pause_seconds = pause_seconds
        self.read_at: list[datetime] = []
        """The workflow's time of each reading."""

    @property
    def activities(self) -> list[Callable[..., Any]]:
        return [self.read_broker_state, self.overwrite_books, self.end_reconciliation]

    @activity.defn(name=READ)
    async def read_broker_state(self, order: SnapshotOrder) -> StepAnswer:
        """Numbers count up from 1."""
        self.read_at.append(order.as_of)
        assert order.number == len(self.read_at) or activity.info().attempt > 1
        word = await self.asked(READ)
        if word:
            return StepAnswer(
                confirmed=word == "CONFIRMED", look_again_seconds=self.pause_seconds, findings=1
            )
        return StepAnswer(report=self._report(order.run_id, order.trigger, Outcome.CLEAN))

    @activity.defn(name=OVERWRITE)
    async def overwrite_books(self, order: SnapshotOrder) -> StepAnswer:
        """Of the reading that confirmed."""
        word = await self.asked(OVERWRITE)
        if word == "STALE":
            return StepAnswer(look_again_seconds=self.pause_seconds)
        report = self._report(order.run_id, order.trigger, Outcome.DRIFT)
        return StepAnswer(report=report.model_copy(update={"killed": word == "KILLS"}))

    @activity.defn(name=END)
    async def end_reconciliation(self, end: EndRun) -> Report:
        """With the reason that the workflow gives."""
        await self.asked(END)
        return self._report(end.run_id, end.trigger, end.outcome).model_copy(update={"detail": end.detail})

    def _report(self, run_id: str, trigger: str, outcome: Outcome) -> Report:
        at = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)
        return Report(
            run_id=run_id, trigger=trigger, outcome=outcome, started_at=at,
            finished_at=at + timedelta(seconds=1), drift=Decimal(0), detail=outcome.value,
        )  # fmt: skip


@asynccontextmanager
async def running(client: Client, books: ScriptedBooks, queue: str, workflow_id: str) -> AsyncIterator[Run]:
    """Run the workflow, which has ended when the block has."""
    async with Worker(
        client, task_queue=queue, workflows=[ReconciliationWorkflow], activities=books.activities
    ):
        run = await client.start_workflow(
            ReconciliationWorkflow.run, ReconcileInput(trigger="test"), id=workflow_id, task_queue=queue
        )
        yield run
        await asyncio.wait_for(run.result(), WITHIN_SECONDS)


async def reconciled(client: Client, books: ScriptedBooks, queue: str, workflow_id: str) -> Report:
    """Its report."""
    async with running(client, books, queue, workflow_id) as run:
        return await asyncio.wait_for(run.result(), WITHIN_SECONDS)
