"""The workflows of which there is exactly one: started by whoever comes first, found by everyone else.

And the Schedules, made or brought up to date by whoever comes.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from observability.crash_points import calling
from schemas import wire
from schemas.archives import RetentionInput
from schemas.kill import KillCarried
from schemas.reconciliation import ReconcileInput
from schemas.runs import StreamInput
from schemas.wire import Queue
from workflows.policies import (
    RECONCILE_CATCH_UP,
    RECONCILE_EVERY,
    RECONCILE_TIMEOUT,
    RETENTION_AT,
    RETENTION_CATCH_UP,
    RETENTION_EVERY,
    RETENTION_TIMEOUT,
)

START_RPC_TIMEOUT: Final = timedelta(seconds=10)


async def ensure_singletons(client: Client, *, operations_queue: Queue) -> None:
    """Start kill switch and trade updates unless they run."""
    with calling("temporal.start_kill_switch"):
        await client.start_workflow(
            wire.WORKFLOW_KILL_SWITCH,
            KillCarried(),
            id=wire.ID_KILL_SWITCH,
            task_queue=Queue.KILL_SWITCH.value,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary="kill switch: any signal engages it",
            rpc_timeout=START_RPC_TIMEOUT,
        )
    with calling("temporal.start_trade_updates"):
        await client.start_workflow(
            wire.WORKFLOW_TRADE_UPDATES,
            StreamInput(),
            id=wire.ID_TRADE_UPDATES,
            task_queue=operations_queue.value,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary="the broker's update stream",
            rpc_timeout=START_RPC_TIMEOUT,
        )


async def ensure_schedule(client: Client, *, operations_queue: Queue) -> None:
    """Make the Schedules, or bring them up to this release; an operator's pause stays."""
    for name, schedule in _schedules(operations_queue):
        with calling("temporal.schedule"):
            try:
                await client.create_schedule(name, schedule, rpc_timeout=START_RPC_TIMEOUT)
            except ScheduleAlreadyRunningError:
                await _bring_up_to_date(client, name, schedule)


def _schedules(operations_queue: Queue) -> Iterator[tuple[str, Schedule]]:
    yield wire.SCHEDULE_RECONCILIATION, _reconciliation(operations_queue)
    yield wire.SCHEDULE_RETENTION, _retention(operations_queue)


async def _bring_up_to_date(client: Client, name: str, schedule: Schedule) -> None:
    handle = client.get_schedule_handle(name)

    def update(found: ScheduleUpdateInput) -> ScheduleUpdate:
        state = found.description.schedule.state
        return ScheduleUpdate(
            Schedule(action=schedule.action, spec=schedule.spec, policy=schedule.policy, state=state)
        )

    await handle.update(update, rpc_timeout=START_RPC_TIMEOUT)


def _reconciliation(operations_queue: Queue) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(
            wire.WORKFLOW_RECONCILIATION,
            ReconcileInput(trigger=wire.RECONCILE_BY_SCHEDULE),
            id=wire.SCHEDULE_RECONCILIATION,
            task_queue=operations_queue.value,
            execution_timeout=RECONCILE_TIMEOUT,
            static_summary="our books against the broker's",
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=RECONCILE_EVERY)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=RECONCILE_CATCH_UP),
    )


def _retention(operations_queue: Queue) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(
            wire.WORKFLOW_RETENTION,
            RetentionInput(),
            id=wire.SCHEDULE_RETENTION,
            task_queue=operations_queue.value,
            execution_timeout=RETENTION_TIMEOUT,
            static_summary="payloads and events to cold storage",
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=RETENTION_EVERY, offset=RETENTION_AT)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=RETENTION_CATCH_UP),
    )


async def start_reconciliation(client: Client, *, operations_queue: Queue, trigger: str) -> None:
    """Start the run that placing waits for, unless one is on its way."""
    with calling("temporal.start_reconciliation"):
        await client.start_workflow(
            wire.WORKFLOW_RECONCILIATION,
            ReconcileInput(trigger=trigger),
            id=wire.ID_RECONCILE_DUE,
            task_queue=operations_queue.value,
            execution_timeout=RECONCILE_TIMEOUT,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary="our books against the broker's: orders wait for it",
            rpc_timeout=START_RPC_TIMEOUT,
        )
