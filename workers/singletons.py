"""The workflows of which there is exactly one: started by whoever comes first, found by everyone else."""

from datetime import timedelta
from typing import Final

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from schemas import wire
from schemas.kill import KillCarried
from schemas.runs import StreamInput
from schemas.wire import Queue

START_RPC_TIMEOUT: Final = timedelta(seconds=10)


async def ensure_singletons(client: Client, *, operations_queue: Queue) -> None:
    """Start kill switch and trade updates unless they run."""
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
