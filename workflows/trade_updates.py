"""Keeps one activity running for ever: the holder of the broker's update stream."""

import asyncio

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    import workflows.policies as policies  # noqa: PLR0402 - `from workflows import` is not passed through
    from activities.trade_updates import TradeUpdateActivities
    from schemas import wire
    from schemas.runs import StreamInput
    from workflows.steps import run_step


@workflow.defn(name=wire.WORKFLOW_TRADE_UPDATES)
class TradeUpdatesWorkflow:
    """Id ``trade-updates``. One per account: a second holder would fight the first for the socket."""

    def __init__(self) -> None:
        self._renew = False
        self._holding: asyncio.Task[None] | None = None

    @workflow.run
    async def run(self, start: StreamInput) -> None:
        """Hold the stream; whenever the activity ends, start over."""
        workflow.set_current_details("holds the broker's trade-updates stream")
        while not (self._renew or workflow.info().is_continue_as_new_suggested()):
            self._holding = asyncio.create_task(
                run_step(
                    policies.HOLD_TRADE_UPDATES,
                    TradeUpdateActivities.hold_trade_updates,
                    start,
                    summary="hold the update stream, catch up after every gap",
                )
            )
            try:
                await self._holding
            except ActivityError as error:
                if is_cancelled_exception(error):
                    if self._renew:
                        break
                    raise
                # What no retry mends a person may: without a holder nobody would hear of it.
                await workflow.sleep(policies.HOLD_AGAIN, summary="hold the update stream again")
        workflow.continue_as_new(StreamInput(run=start.run + 1))

    @workflow.update(name=wire.UPDATE_RENEW, unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)
    async def renew(self) -> None:
        """Let go of the stream and go on as a new run, which catches up."""
        self._renew = True
        if self._holding is not None:
            self._holding.cancel()
