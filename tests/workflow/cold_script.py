"""The steps of retention under their wire names, on a script instead of a store."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

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
    RetentionInput,
)
from tests.workflow.gates import Gates
from tests.workflow.running import WITHIN_SECONDS
from workflows.retention import AuditDropWorkflow, AuditRestoreWorkflow, RetentionWorkflow

MOVE = wire.ACTIVITY_MOVE_TO_COLD
RESTORE = wire.ACTIVITY_RESTORE
DROP = wire.ACTIVITY_DROP_AUDIT
WHEN = datetime(2019, 3, 1, tzinfo=UTC)
RETENTION = (wire.WORKFLOW_RETENTION, RetentionInput())
RESTORATION = (
    wire.WORKFLOW_AUDIT_RESTORE,
    RestoreInput(since=WHEN, until=WHEN.replace(year=2020), person="ana"),
)
DROPPING = (
    wire.WORKFLOW_AUDIT_DROP,
    DropGrant(
        account="paper-1", partition="audit_log_2019_03", nonce="0123456789abcdef", expires_at=WHEN, person="ana",
        reason="old", key_id="k", signature="00",
    ),
)  # fmt: skip


class ScriptedStore(Gates):
    """``files`` of each kind wait to be moved, and as many to be restored. MOVE and RESTORE: ``WRONG`` or done."""

    def __init__(self, files: int = 2) -> None:
        super().__init__()
        self.left = dict.fromkeys(ArchiveKind, files)
        self.files = files
        self.kinds: list[ArchiveKind] = []
        self.afters: list[int] = []

    @property
    def activities(self) -> list[Callable[..., Any]]:
        return [self.move_to_cold_storage, self.restore_from_cold_storage, self.drop_audit_partition]

    @activity.defn(name=MOVE)
    async def move_to_cold_storage(self, order: MoveOrder) -> MoveAnswer:
        """One file fewer."""
        self.kinds.append(order.kind)
        if await self.asked(MOVE) == "WRONG":
            return MoveAnswer(problem=f"{order.kind.value}: a copy is wrong")
        if not self.left[order.kind]:
            return MoveAnswer()
        self.left[order.kind] -= 1
        return MoveAnswer(moved=f"{order.kind.value}/{self.left[order.kind]}", rows=10)

    @activity.defn(name=RESTORE)
    async def restore_from_cold_storage(self, order: RestoreOrder) -> RestoreAnswer:
        """Files begin at 0, 10, 20."""
        self.afters.append(order.after)
        word = await self.asked(RESTORE)
        first = 0 if order.after < 0 else order.after + 10
        if first >= 10 * self.files:
            return RestoreAnswer()
        return RestoreAnswer(
            first=first, name=f"audit/{first}", rows=10, refused="is wrong" if word == "WRONG" else None
        )

    @activity.defn(name=DROP)
    async def drop_audit_partition(self, order: DropOrder) -> DropAnswer:
        """Done."""
        await self.asked(DROP)
        return DropAnswer(dropped=True, message=order.grant.partition, rows=10)


@asynccontextmanager
async def running(
    client: Client, store: ScriptedStore, queue: str, workflow_id: str, what: tuple[str, Any] = RETENTION
) -> AsyncIterator[WorkflowHandle[Any, Any]]:
    """Run the workflow, which has ended when the block has."""
    workflows = [RetentionWorkflow, AuditRestoreWorkflow, AuditDropWorkflow]
    async with Worker(client, task_queue=queue, workflows=workflows, activities=store.activities):
        run: WorkflowHandle[Any, Any] = await client.start_workflow(
            what[0], what[1], id=workflow_id, task_queue=queue
        )
        yield run
        await asyncio.wait_for(run.result(), WITHIN_SECONDS)
