"""Retention: once a day what is old enough goes to cold storage; a person brings payloads back, or lets a month go.

Rows say what may go and how far each file is, and the database checks it again: a forged start can at most do what
was due anyway.
"""

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    import workflows.policies as policies  # noqa: PLR0402 - `from workflows import` is not passed through
    from activities.retention import RetentionActivities
    from schemas import wire
    from schemas.archives import (
        ArchiveKind,
        DropAnswer,
        DropGrant,
        DropOrder,
        MoveAnswer,
        MoveOrder,
        RestoreAnswer,
        RestoreInput,
        RestoreOrder,
        RestoreReport,
        RetentionInput,
        RetentionReport,
    )
    from workflows.steps import run_step

KINDS = (ArchiveKind.AUDIT, ArchiveKind.EVENTS)


@workflow.defn(name=wire.WORKFLOW_RETENTION)
class RetentionWorkflow:
    """Moves file after file until nothing more may go. One kind that cannot go on does not keep the other."""

    @workflow.init
    def __init__(self, start: RetentionInput) -> None:
        self._files = start.moved
        self._problems: list[str] = []

    @workflow.run
    async def run(self, start: RetentionInput) -> RetentionReport:
        """Until everything that is due is moved, or says why it is not."""
        left = policies.FILES_IN_RUN_MAX
        for kind in KINDS:
            while left and await self._move(kind):
                left -= 1
        if not left:
            workflow.continue_as_new(start.model_copy(update={"moved": self._files}))
        told = "; ".join(self._problems) or "nothing more is due"
        workflow.set_current_details(f"**{self._files} files** · {told}")
        return RetentionReport(files=self._files, problems=tuple(self._problems))

    async def _move(self, kind: ArchiveKind) -> bool:
        """Whether a file was moved, so that another may follow."""
        try:
            answer: MoveAnswer = await run_step(
                policies.MOVE_TO_COLD,
                RetentionActivities.move_to_cold_storage,
                MoveOrder(kind=kind, as_of=workflow.now()),
                summary=f"{kind.value}: the next file",
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            answer = MoveAnswer(problem=f"{kind.value}: {_why(error)}")
        if answer.problem is not None:
            self._problems.append(answer.problem)
        if answer.moved is None:
            return False
        self._files += 1
        workflow.set_current_details(f"**{self._files} files** · {answer.moved}")
        return True


@workflow.defn(name=wire.WORKFLOW_AUDIT_RESTORE)
class AuditRestoreWorkflow:
    """Brings back the payloads of a time, file by file."""

    @workflow.run
    async def run(self, start: RestoreInput) -> RestoreReport:
        """Until no file of that time is left; what is refused is named and passed over."""
        report, after = start.so_far or RestoreReport(), start.after
        for _ in range(policies.FILES_IN_RUN_MAX):
            answer = await self._restore(start, after)
            if answer.first is None:
                break
            after = answer.first
            report = RestoreReport(
                files=report.files + 1,
                rows=report.rows + answer.rows,
                refused=(*report.refused, *([] if answer.refused is None else [answer.refused])),
            )
            workflow.set_current_details(f"**{report.files} files**, {report.rows} payloads · {answer.name}")
        else:
            workflow.continue_as_new(start.model_copy(update={"after": after, "so_far": report}))
        return report

    async def _restore(self, start: RestoreInput, after: int) -> RestoreAnswer:
        order = RestoreOrder(
            since=start.since, until=start.until, person=start.person, after=after, as_of=workflow.now()
        )
        return await run_step(
            policies.RESTORE_FROM_COLD,
            RetentionActivities.restore_from_cold_storage,
            order,
            summary=f"the file after sequence {after}",
        )


@workflow.defn(name=wire.WORKFLOW_AUDIT_DROP)
class AuditDropWorkflow:
    """Lets a month go by a signed grant, which the step verifies."""

    @workflow.run
    async def run(self, grant: DropGrant) -> DropAnswer:
        """One step."""
        return await run_step(
            policies.DROP_AUDIT,
            RetentionActivities.drop_audit_partition,
            DropOrder(grant=grant, as_of=workflow.now()),
            summary=f"{grant.partition}, by {grant.person}",
        )


def _why(error: ActivityError) -> str:
    cause = error.cause
    if isinstance(cause, ApplicationError):
        return f"{cause.type}: {cause.message}"
    return str(cause or error)
