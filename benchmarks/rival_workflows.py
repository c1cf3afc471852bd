"""Held against ours: a workflow of one activity; the commits alone, in our steps and in those of plain samples."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel

QUEUE = "rival"
STEP_TIMEOUT = timedelta(seconds=30)

PLACE_ALONE = "rival.place_alone"
STORE = "rival.store_signal"
ASSESS = "rival.assess_risk"
CHECK = "rival.check_pre_trade"
PLACE = "rival.place_order"
ACKNOWLEDGE = "rival.store_acknowledgement"
AWAIT_FILL = "rival.await_fill"
SETTLE = "rival.settle"
BEFORE_THE_POST = (STORE, ASSESS, CHECK, PLACE)
BEFORE_PLACING = 3
"""Commits of ours: signal, decision, pre-trade check."""


class Ask(BaseModel):
    """``name`` becomes the client_order_id; the rest are transactions to be committed."""

    name: str
    before: int
    """Until the POST."""
    acknowledging: int
    """Once the broker has answered it."""
    settling: int
    """Once it is filled."""


class StepAsk(BaseModel):
    """What one step of the plain pipeline is told."""

    name: str
    commits: int
    broker_order_id: str = ""


def shares(commits: int, steps: int) -> list[int]:
    """``commits`` dealt out to so many steps, the first ones first."""
    return [commits // steps + (index < commits % steps) for index in range(steps)]


@workflow.defn(name="bare")
class BareWorkflow:
    """Nothing but the activity: commits, POST, commits."""

    @workflow.run
    async def run(self, ask: Ask) -> None:
        """Run it once."""
        await workflow.execute_activity(PLACE_ALONE, ask, start_to_close_timeout=STEP_TIMEOUT)


@workflow.defn(name="bones")
class BonesWorkflow:
    """Ours without its work: two local activities and the one that places, each its commits and nothing else.

    The first commit, the signal's, is made before it starts; the intent's and the token's by the step that places.
    """

    @workflow.run
    async def run(self, ask: Ask) -> None:
        """Risk, pre-trade, place."""
        for step in (ASSESS, CHECK):
            await workflow.execute_local_activity(
                step, StepAsk(name=ask.name, commits=1), result_type=str, start_to_close_timeout=STEP_TIMEOUT
            )
        left = ask.model_copy(update={"before": ask.before - BEFORE_PLACING})
        await workflow.execute_activity(PLACE_ALONE, left, start_to_close_timeout=STEP_TIMEOUT)


@workflow.defn(name="plain")
class PlainWorkflow:
    """The pipeline's steps in their order, each a normal activity; a step's work is its commits, nothing else."""

    @workflow.run
    async def run(self, ask: Ask) -> None:
        """Store, risk, pre-trade, place; acknowledge, await the fill, settle."""
        placed = ""
        for step, commits in zip(BEFORE_THE_POST, shares(ask.before, len(BEFORE_THE_POST)), strict=True):
            placed = await self._step(step, StepAsk(name=ask.name, commits=commits))
        await self._step(ACKNOWLEDGE, StepAsk(name=ask.name, commits=ask.acknowledging))
        await self._step(AWAIT_FILL, StepAsk(name=ask.name, commits=0, broker_order_id=placed))
        await self._step(SETTLE, StepAsk(name=ask.name, commits=ask.settling))

    async def _step(self, step: str, ask: StepAsk) -> str:
        found: str = await workflow.execute_activity(
            step, ask, result_type=str, start_to_close_timeout=STEP_TIMEOUT
        )
        return found
