"""Keeps one activity running for ever: the holder of the broker's update stream."""

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

    @workflow.run
    async def run(self, start: StreamInput) -> None:
        """Hold the stream; whenever the activity ends, start over."""
        workflow.set_current_details("holds the broker's trade-updates stream")
        while not workflow.info().is_continue_as_new_suggested():
            try:
                await run_step(
                    policies.HOLD_TRADE_UPDATES,
                    TradeUpdateActivities.hold_trade_updates,
                    start,
                    summary="hold the update stream, catch up after every gap",
                )
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise
                # What no retry mends a person may: without a holder nobody would hear of it.
                await workflow.sleep(policies.HOLD_AGAIN, summary="hold the update stream again")
        workflow.continue_as_new(StreamInput(run=start.run + 1))
