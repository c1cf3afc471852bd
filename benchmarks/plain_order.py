"""An order's workflow as plain Temporal samples write one, over the product's own activities."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.market import MarketActivities
    from activities.order_end import OrderEndActivities
    from activities.placement import PlacementActivities
    from activities.resolution import ResolutionActivities
    from activities.risk import RiskActivities
    from schemas import wire
    from schemas.orders import OrderView
    from schemas.risk import AssessmentKind
    from schemas.runs import OrderInput, OrderQuestion, ResolveKind, RiskQuestion

STEP_TIMEOUT = timedelta(seconds=60)
"""The longest that one of the product's own steps may take."""
RETRIES = RetryPolicy(maximum_interval=timedelta(seconds=10))

_In = TypeVar("_In")
_Out = TypeVar("_Out")


@workflow.defn(name=wire.WORKFLOW_ORDER)
class PlainOrderWorkflow:
    """Risk, pre-trade check, POST, the fill, settlement: each step a normal activity on the one queue.

    It bears the product's name, by which the sweeper counts what runs. Left out is what a measured order never
    meets: cancels, protection, the bell, a long history, a new build.
    """

    def __init__(self) -> None:
        self._signal_id = ""
        self._order: OrderView | None = None

    @workflow.run
    async def run(self, start: OrderInput) -> None:
        """Until the outcome is settled."""
        self._signal_id = start.signal_id
        await self._assess()
        while not self._known.settled:
            await self._reach_the_broker()
            await workflow.wait_condition(lambda: self._known.status.is_final)
            self._learn(await _step(OrderEndActivities.settle_order, self._question()))

    @workflow.signal(name=wire.SIGNAL_ORDER_UPDATED)
    def hear(self, order: OrderView) -> None:
        """The product's update stream has changed the row."""
        self._learn(order)

    @property
    def _known(self) -> OrderView:
        assert self._order is not None, "the first step reads the row"
        return self._order

    def _learn(self, order: OrderView) -> None:
        if self._order is None or order.row_version > self._order.row_version:
            self._order = order

    def _question(self) -> OrderQuestion:
        return OrderQuestion(signal_id=self._signal_id, as_of=workflow.now())

    async def _assess(self) -> None:
        refreshes = 0
        while True:
            question = RiskQuestion(signal_id=self._signal_id, as_of=workflow.now(), refreshes=refreshes)
            answer = await _step(RiskActivities.assess_risk, question)
            self._learn(answer.order)
            if answer.kind not in (AssessmentKind.NEEDS_QUOTE, AssessmentKind.NEEDS_SNAPSHOT):
                return
            refreshes += 1
            await _step(MarketActivities.refresh_market, self._question())

    async def _reach_the_broker(self) -> None:
        while self._known.broker_order_id is None and not self._known.status.is_final:
            if self._known.may_stand:
                await self._resolve()
                continue
            checked = await _step(MarketActivities.check_pre_trade, self._question())
            self._learn(checked.order)
            if checked.passed:
                placed = await _step(PlacementActivities.place_order, self._question())
                self._learn(placed.order)

    async def _resolve(self) -> None:
        found = await _step(ResolutionActivities.resolve_order, self._question())
        self._learn(found.order)
        if found.kind is ResolveKind.UNKNOWN:
            await workflow.sleep(found.ask_again_seconds)


async def _step(method: Callable[[Any, _In], Awaitable[_Out]], arg: _In) -> _Out:
    return await workflow.execute_activity_method(
        method, arg, start_to_close_timeout=STEP_TIMEOUT, retry_policy=RETRIES
    )
