"""A reconciliation now, as an act of a person: the run of a workflow, which a second asking joins."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from console.errors import DependencyDown
from console.temporal import SIGNAL_RPC_TIMEOUT, operations_queue, reading_answer
from schemas import wire
from schemas.reconciliation import ReconcileInput, Report

if TYPE_CHECKING:
    from temporalio.client import Client


async def start_reconciliation(client: Client, name: str) -> Any:
    """Start a run in a person's name, or join the one that a person started before.

    Returns:
        The run's handle.

    Raises:
        DependencyDown: Temporal does not answer, or no worker has said where operations run.
    """
    from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
    from temporalio.service import RPCError

    from workflows.policies import RECONCILE_TIMEOUT

    queue = await operations_queue(client)
    try:
        return await client.start_workflow(
            wire.WORKFLOW_RECONCILIATION,
            ReconcileInput(trigger=name),
            id=wire.ID_RECONCILE_NOW,
            task_queue=queue,
            execution_timeout=RECONCILE_TIMEOUT,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary="our books against the broker's: asked by a person",
            result_type=Report,
            rpc_timeout=SIGNAL_RPC_TIMEOUT,
        )
    except RPCError as error:
        raise DependencyDown(f"the run did not begin: {error}", do="see `trading doctor`") from error


async def wait_for(handle: Any, seconds: float) -> Report:
    """The run's report.

    Raises:
        DependencyDown: none came in time, it cannot be read, or the run did not end well.
    """
    from temporalio.client import WorkflowFailureError
    from temporalio.service import RPCError

    try:
        with reading_answer("`trading reconcile --list` shows the run"):
            report: Report = await asyncio.wait_for(handle.result(), seconds)
    except TimeoutError as error:
        raise DependencyDown(
            f"no result within {seconds:g} s: no worker took it, or the broker is slow",
            do="is `trading up` running? it goes on; look with `trading reconcile --list`",
        ) from error
    except (RPCError, WorkflowFailureError) as error:
        raise DependencyDown(f"the run did not end: {error}", do="see `trading doctor`") from error
    return report
