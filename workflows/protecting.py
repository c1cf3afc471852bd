"""How an order's workflow has its shares protected, and asks other protections for theirs."""

from collections.abc import Sequence

from temporalio import workflow
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import FailureError, WorkflowAlreadyStartedError

with workflow.unsafe.imports_passed_through():
    from activities.starter import SIDE, STRATEGY, TICKER, protection_line
    from schemas import wire
    from schemas.orders import OrderView
    from schemas.protection import ProtectInput
    from schemas.signals import TimelineEntry
    from workflows.protection import ProtectionWorkflow


PATCH_WAKE_RUNNING = "wake-running-protection"
"""A protection that ran before an entry's late executions measures them at once."""


async def start_protection(order: OrderView, timeline: Sequence[TimelineEntry]) -> None:
    """Start ``protect-<signal_id>``, which outlives the entry's workflow. One that runs is told to look again."""
    display = protection_line(order)
    try:
        await workflow.start_child_workflow(
            ProtectionWorkflow.run,
            ProtectInput(signal_id=order.signal_id, display=display, timeline=tuple(timeline)),
            id=wire.protect_workflow_id(order.signal_id),
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            static_summary=display,
            search_attributes=TypedSearchAttributes(
                [
                    SearchAttributePair(TICKER, order.ticker),
                    SearchAttributePair(STRATEGY, order.strategy),
                    SearchAttributePair(SIDE, order.action.side.value),
                ]
            ),
        )
    except WorkflowAlreadyStartedError:
        if workflow.patched(PATCH_WAKE_RUNNING):
            await wake_protections((order.signal_id,), "the entry has filled more")


async def wake_protections(signal_ids: Sequence[str], why: str) -> None:
    """Have each look again. One that does not run is started by the sweeper, and its first step looks."""
    for signal_id in signal_ids:
        handle = workflow.get_external_workflow_handle(wire.protect_workflow_id(signal_id))
        try:
            await handle.signal(wire.SIGNAL_LOOK_AGAIN, why)
        except FailureError:
            continue
