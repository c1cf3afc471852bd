"""Where a step runs: one rule for both topologies."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from schemas.wire import Queue
    from workflows.policies import LOCAL_RETRY_THRESHOLD, Step

_In = TypeVar("_In")
_Out = TypeVar("_Out")

_ROLES = tuple(queue.value for queue in Queue if queue is not Queue.TRADING)


async def run_step(
    step: Step, method: Callable[[Any, _In], Awaitable[_Out]], arg: _In, *, summary: str
) -> _Out:
    """Run one activity on the queue of its role, or here where one worker has every role.

    The workflow's own queue decides: a role's name means the isolated topology. On one queue, steps that
    reach no broker run as local activities; the kill switch keeps its own queue in both.
    """
    isolated = workflow.info().task_queue in _ROLES
    if step.role is Queue.KILL_SWITCH or isolated or step.reaches_broker:
        return await workflow.execute_activity_method(
            method,
            arg,
            task_queue=step.role.value if isolated or step.role is Queue.KILL_SWITCH else None,
            start_to_close_timeout=step.start_to_close,
            heartbeat_timeout=step.heartbeat,
            retry_policy=step.retry,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            priority=step.priority,
            summary=summary,
        )
    return await workflow.execute_local_activity_method(
        method,
        arg,
        start_to_close_timeout=step.start_to_close,
        retry_policy=step.retry,
        local_retry_threshold=LOCAL_RETRY_THRESHOLD,
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=summary,
    )
