"""The order workflow with changes that no running order would survive: what replay is there to catch."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.order_end import OrderEndActivities
    from schemas import wire
    from schemas.runs import OrderInput, OrderOutcome
    from workflows import policies
    from workflows.orders import OrderWorkflow
    from workflows.steps import run_step


@workflow.defn(name=wire.WORKFLOW_ORDER)
class OneStepMore(OrderWorkflow):
    """Reads the row once more before the last checks."""

    @workflow.run
    async def run(self, start: OrderInput) -> OrderOutcome:
        """As before."""
        return await super().run(start)

    async def _pass_pre_trade(self) -> bool:
        await run_step(
            policies.READ_ORDER, OrderEndActivities.read_order, self._question(), summary="read the row"
        )
        return await super()._pass_pre_trade()


@workflow.defn(name=wire.WORKFLOW_ORDER)
class OneStepLess(OrderWorkflow):
    """Ends without settling."""

    @workflow.run
    async def run(self, start: OrderInput) -> OrderOutcome:
        """As before."""
        return await super().run(start)

    async def _settle(self) -> None:
        self._order = self._known.model_copy(update={"settled": True})


@workflow.defn(name=wire.WORKFLOW_ORDER)
class OtherAlarm(OrderWorkflow):
    """Sleeps before it asks risk."""

    @workflow.run
    async def run(self, start: OrderInput) -> OrderOutcome:
        """As before, a second later."""
        await workflow.sleep(1)
        return await super().run(start)


@workflow.defn(name=wire.WORKFLOW_ORDER)
class SameSteps(OrderWorkflow):
    """Changed in nothing that a history knows."""

    @workflow.run
    async def run(self, start: OrderInput) -> OrderOutcome:
        """As before."""
        return await super().run(start)
