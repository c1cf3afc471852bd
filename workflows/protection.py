"""The stop under what one entry has filled: placed, kept as large as what is held, replaced until all is closed."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    import workflows.policies as policies  # noqa: PLR0402 - `from workflows import` is not passed through
    from activities.market import MarketActivities
    from activities.order_end import OrderEndActivities
    from activities.placement import PlacementActivities
    from activities.protection import ProtectionActivities
    from activities.resolution import ResolutionActivities
    from schemas import wire
    from schemas.orders import OrderView
    from schemas.protection import (
        Act,
        ProtectInput,
        ProtectOutcome,
        ProtectQuestion,
        ProtectReport,
        ProtectView,
    )
    from schemas.runs import CancelStep, OrderQuestion, PlaceKind, ResolveKind
    from schemas.wire import Leg
    from workflows.blotter import Blotter
    from workflows.builds import Move, go_on_as_new
    from workflows.steps import run_step

ACTOR = "protection"
AT_ONCE = timedelta(0)


@workflow.defn(name=wire.WORKFLOW_PROTECT)
class ProtectionWorkflow:
    """Id ``protect-<signal_id>``. Level-triggered: each look measures held against covered, and does one thing.

    A run has no modes and no memory that counts: rows say what is held, what stands and what stands in the way.
    """

    @workflow.init
    def __init__(self, start: ProtectInput) -> None:
        self._start = start
        self._news = 0
        self._view: ProtectView | None = None
        self._seen: dict[str, str] = {}
        self._move = Move()
        self._blotter = Blotter(start.display)
        self._blotter.timeline.extend(start.timeline)

    @workflow.run
    async def run(self, start: ProtectInput) -> ProtectOutcome:
        """Live until every share is closed. Cancelling the workflow changes nothing: shares keep their stop."""
        life = asyncio.create_task(self._live())
        while not life.done():
            try:
                await asyncio.shield(life)
            except asyncio.CancelledError:
                self._blotter.note(
                    "Protection", "CANCEL_IGNORED", "close the position, or engage the kill switch"
                )
        return life.result()

    async def _live(self) -> ProtectOutcome:
        while True:
            news = self._news
            view = await self._look()
            if view.act is Act.CLOSED and self._news == news:
                found = view.protection
                return ProtectOutcome(
                    signal_id=found.signal_id,
                    filled=found.filled,
                    exited=found.exited,
                    given_up=found.given_up,
                )
            pause = await self._do(view)
            if pause > AT_ONCE:
                await self._wake_up(lambda seen=news: self._news != seen, pause, view.why)  # type: ignore[misc]
            if workflow.info().is_continue_as_new_suggested() or self._move.is_due:
                go_on_as_new(self._next_start())

    def _next_start(self) -> ProtectInput:
        """The story goes on with the next run; all else is in rows."""
        return self._start.model_copy(update={"timeline": tuple(self._blotter.timeline)})

    async def _look(self) -> ProtectView:
        question = ProtectQuestion(signal_id=self._start.signal_id, as_of=workflow.now())
        view = await run_step(
            policies.REVIEW_PROTECTION,
            ProtectionActivities.review_protection,
            question,
            summary="what is held, what is covered",
        )
        self._view = view
        for leg in (view.leg, *view.orders):
            if leg is not None:
                self._learn(leg)
        self._blotter.show(view.leg, view.why)
        return view

    def _learn(self, order: OrderView) -> None:
        """One line for each state that a leg comes to."""
        if order.signal_id != self._start.signal_id or order.leg is Leg.ENTRY:
            return
        name = f"{order.leg.value} {order.generation}"
        filled = f", {order.filled_quantity.normalize():f} filled" if order.filled_quantity else ""
        told = f"{order.status.value} of {order.quantity.normalize():f}{filled}"
        if self._seen.get(name) != told:
            self._seen[name] = told
            self._blotter.note("ProtectionWorkflow", order.status.value, f"{name}: {told}")

    # --- the one thing ---------------------------------------------------------------------------

    async def _do(self, view: ProtectView) -> timedelta:
        """Do it, and say how long to wait for news before the next look. What fails is seen at the next look."""
        try:
            match view.act:
                case Act.PLACE:
                    return await self._place(view.orders[0])
                case Act.RESOLVE:
                    return await self._resolve(view.orders[0])
                case Act.SETTLE:
                    return await self._settle(view.orders[0])
                case Act.CANCEL | Act.CLEAR:
                    return await self._cancel(view)
                case Act.REFRESH:
                    return await self._refresh(view)
                case Act.WAIT | Act.CLOSED:
                    return timedelta(seconds=view.look_again_seconds)
        except ActivityError as error:
            self._blotter.note("ProtectionWorkflow", f"{view.act.value}_FAILED", str(error.cause or error))
            return policies.PROTECT_AGAIN

    async def _place(self, leg: OrderView) -> timedelta:
        answer = await run_step(
            policies.PLACE_LEG,
            PlacementActivities.place_order,
            self._question(leg),
            summary=f"POST {leg.leg.value} {leg.generation}: {leg.action.side.value} {leg.quantity} {leg.ticker}",
        )
        self._learn(answer.order)
        self._blotter.note("ExecutionAgent", answer.kind.value, leg.leg.value)
        return policies.PROTECT_AGAIN if answer.kind is PlaceKind.RECHECK else AT_ONCE

    async def _resolve(self, leg: OrderView) -> timedelta:
        answer = await run_step(
            policies.RESOLVE_LEG,
            ResolutionActivities.resolve_order,
            self._question(leg),
            summary=f"look up {leg.client_order_id}",
        )
        self._learn(answer.order)
        if answer.kind is ResolveKind.UNKNOWN:
            return timedelta(seconds=answer.ask_again_seconds)
        return AT_ONCE

    async def _settle(self, leg: OrderView) -> timedelta:
        settled = await run_step(
            policies.SETTLE_LEG,
            OrderEndActivities.settle_order,
            self._question(leg),
            summary=f"read {leg.leg.value} {leg.generation} back, join fills",
        )
        self._learn(settled)
        return AT_ONCE

    async def _refresh(self, view: ProtectView) -> timedelta:
        question = OrderQuestion(signal_id=self._start.signal_id, as_of=workflow.now())
        await run_step(
            policies.REFRESH_MARKET,
            MarketActivities.refresh_market,
            question,
            summary="fetch a quote, to exit by",
        )
        return timedelta(seconds=view.look_again_seconds)

    async def _cancel(self, view: ProtectView) -> timedelta:
        reason = "it stands in the way of a protective stop" if view.act is Act.CLEAR else view.why
        for order in view.orders:
            step = CancelStep(
                signal_id=order.signal_id,
                as_of=workflow.now(),
                actor=ACTOR,
                reason=reason,
                leg=order.leg,
                generation=order.generation,
            )
            reply = await run_step(
                policies.CANCEL_LEG,
                OrderEndActivities.cancel_order,
                step,
                summary=f"cancel {order.client_order_id}",
            )
            self._blotter.note("ExecutionAgent", f"CANCEL_{reply.answer.value}", reply.message)
        return policies.PROTECT_AGAIN

    def _question(self, leg: OrderView) -> OrderQuestion:
        return OrderQuestion(
            signal_id=leg.signal_id, as_of=workflow.now(), leg=leg.leg, generation=leg.generation
        )

    async def _wake_up(self, condition: Callable[[], bool], pause: timedelta, why: str) -> None:
        try:
            await workflow.wait_condition(condition, timeout=pause, timeout_summary=why)
        except TimeoutError:
            return

    # --- doors -----------------------------------------------------------------------------------

    @workflow.signal(dynamic=True)
    def hear(self, name: str, args: Sequence[RawValue]) -> None:
        """Whatever it says, it is a reason to look; rows say what is true."""
        self._news += 1
        self._move.hear(name)
        if name != wire.SIGNAL_ORDER_UPDATED:
            return
        try:
            self._learn(OrderView.model_validate_json(args[0].payload.data))
        except (IndexError, ValidationError):
            return

    @workflow.query(name=wire.QUERY_STATUS)
    def status(self) -> ProtectReport:
        """How it stands, and what it waits for."""
        return ProtectReport(
            view=self._view, waiting_for=self._blotter.waiting_for, timeline=tuple(self._blotter.timeline)
        )

    @workflow.query(name=wire.QUERY_TIMELINE)
    def timeline(self) -> ProtectReport:
        """The entry's story and its legs', in order."""
        return self.status()
