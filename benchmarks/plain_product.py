"""The product's compact process with its orders' workflow written as plain Temporal samples do.

Gateway, activities, clients, housekeeping and operations are the product's own; the start is a plain one and the
worker as the SDK makes it. ``python -m benchmarks.plain_product`` stands for ``python -m workers.run compact``.
"""

import asyncio
import os
import sys
from typing import Final

from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.worker import Worker

from activities.starter import OrderStarter
from benchmarks.plain_order import PlainOrderWorkflow
from schemas.risk import Proposal
from schemas.runs import OrderInput
from schemas.wire import Queue, order_workflow_id
from workers import run
from workers.compact import run_everything
from workers.parts import Parts, build
from workers.roles import COMPACT_ROLES, WORKFLOWS, activities_of, kill_worker
from workers.settings import WorkerSettings

QUEUE: Final = Queue.TRADING.value
NAME: Final = "compact"
"""Whose settings and secrets it has."""


class PlainStarter(OrderStarter):
    """Starts an order's workflow: no eager start, no search attributes, no summary."""

    async def _start(
        self, proposal: Proposal, reuse: WorkflowIDReusePolicy, *, replace: bool = False
    ) -> None:
        conflict = WorkflowIDConflictPolicy
        await self._client.start_workflow(
            PlainOrderWorkflow.run,
            OrderInput(signal_id=proposal.signal_id),
            id=order_workflow_id(proposal.signal_id),
            task_queue=QUEUE,
            id_reuse_policy=reuse,
            id_conflict_policy=conflict.TERMINATE_EXISTING if replace else conflict.USE_EXISTING,
        )


def plain_workers(parts: Parts) -> list[Worker]:
    """One worker with every role's activities, and the kill switch beside it as in the product."""
    worker = Worker(
        parts.client,
        task_queue=QUEUE,
        workflows=[PlainOrderWorkflow, *WORKFLOWS[Queue.OPERATIONS]],
        activities=[each for role in COMPACT_ROLES for each in activities_of(role, parts)],
    )
    return [worker, kill_worker(parts)]


async def run_plain(settings: WorkerSettings, stop: asyncio.Event) -> None:
    """Build what the product builds and run it."""
    async with build(settings) as parts:
        starter = PlainStarter(parts.client, QUEUE)
        await run_everything(parts, stop, starter=starter, workers=plain_workers(parts))


if __name__ == "__main__":
    run.RUNNERS[NAME] = "benchmarks.plain_product:run_plain"
    code = run.main([NAME])
    sys.stdout.flush()
    sys.stderr.flush()
    # The SDK's threads can abort an interpreter that is shutting down (temporalio sdk-python issue 300).
    os._exit(code)
