"""Our books against the broker's, every five minutes: read, read again, overwrite what stood twice."""

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    import workflows.policies as policies  # noqa: PLR0402 - `from workflows import` is not passed through
    from activities.reconciliation import ReconciliationActivities
    from schemas import wire
    from schemas.kill import KillCommand
    from schemas.reconciliation import EndRun, Outcome, ReconcileInput, Report, SnapshotOrder, StepAnswer
    from workflows.steps import run_step

TRIGGER_MAX_CHARACTERS = 200


@workflow.defn(name=wire.WORKFLOW_RECONCILIATION)
class ReconciliationWorkflow:
    """One run each. All that it decides by is in rows: a forged start can at most cost a reading."""

    @workflow.init
    def __init__(self, start: ReconcileInput) -> None:
        # Whoever starts it may write anything; rows cannot hold everything.
        self._trigger = "".join(each for each in start.trigger if each.isprintable())[:TRIGGER_MAX_CHARACTERS]
        self._run_id = workflow.info().run_id

    @workflow.run
    async def run(self, start: ReconcileInput) -> Report:
        """Until the books agree, were brought to agree, or cannot be compared."""
        try:
            report = await self._reconcile()
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            report = await self._end(Outcome.FAILED, _why(error))
        workflow.set_current_details(f"**{report.outcome.value}** · {report.detail}")
        if report.killed:
            await self._sweep_now(report)
        return report

    async def _reconcile(self) -> Report:
        for number in range(1, policies.READINGS_MAX + 1):
            answer = await self._read(number)
            if answer.confirmed:
                answer = await self._overwrite(number)
            if answer.report is not None:
                return answer.report
            workflow.set_current_details(f"{answer.findings} differences: reading again")
            await workflow.sleep(
                timedelta(seconds=answer.look_again_seconds),
                summary="a difference must stand in two readings",
            )
        return await self._end(
            Outcome.UNSETTLED, f"no two of {policies.READINGS_MAX} readings showed the same differences"
        )

    def _order(self, number: int) -> SnapshotOrder:
        return SnapshotOrder(run_id=self._run_id, number=number, trigger=self._trigger, as_of=workflow.now())

    async def _read(self, number: int) -> StepAnswer:
        return await run_step(
            policies.READ_BROKER,
            ReconciliationActivities.read_broker_state,
            self._order(number),
            summary=f"reading {number}: account, positions, orders, executions, activities",
        )

    async def _overwrite(self, number: int) -> StepAnswer:
        return await run_step(
            policies.OVERWRITE_BOOKS,
            ReconciliationActivities.overwrite_books,
            self._order(number),
            summary="adopt executions, book the rest, tell of every difference",
        )

    async def _end(self, outcome: Outcome, detail: str) -> Report:
        end = EndRun(
            run_id=self._run_id,
            trigger=self._trigger,
            outcome=outcome,
            detail=detail,
            as_of=workflow.now(),
        )
        return await run_step(
            policies.END_RECONCILIATION,
            ReconciliationActivities.end_reconciliation,
            end,
            summary=f"note that it came to nothing: {outcome.value}",
        )

    async def _sweep_now(self, report: Report) -> None:
        """The row is engaged; its workflow cancels what is open. Where it is down, the watchers do."""
        switch = workflow.get_external_workflow_handle(wire.ID_KILL_SWITCH)
        command = KillCommand(reason=f"STATE_DRIFT: {report.detail}", triggered_by="DriftMonitor")
        try:
            await switch.signal(wire.SIGNAL_KILL, command)
        except ApplicationError:
            workflow.logger.warning("the kill switch's workflow does not run: the watchers sweep")


def _why(error: ActivityError) -> str:
    cause = error.cause
    if isinstance(cause, ApplicationError):
        return f"{cause.type}: {cause.message}"
    return str(cause or error)
