"""One signal, from proposal to settled outcome: the workflow a trader opens in the Temporal Web UI."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from functools import partial

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
    from activities.risk import RiskActivities
    from schemas import wire
    from schemas.orders import CancelAnswer, OrderStatus, OrderView
    from schemas.protection import ProtectQuestion
    from schemas.risk import AssessmentKind
    from schemas.runs import (
        CancelCommand,
        CancelReply,
        CancelStep,
        OrderInput,
        OrderOutcome,
        OrderQuestion,
        OrderReport,
        PlaceKind,
        ResolveKind,
        RiskQuestion,
    )
    from schemas.wire import Leg
    from workflows.bell import END_OF_DAY, NOT_CONFIRMED, REST_OF_FILL, Bell
    from workflows.blotter import Blotter, outcome_of
    from workflows.builds import Move, go_on_as_new
    from workflows.protecting import start_protection, wake_protections
    from workflows.steps import run_step


PATCH_PROTECTION = "protection"
"""Entries start their protection, closing orders ask it for shares."""
PATCH_GIVEN_BACK = "shares-given-back"
"""A closing order that was refused after it had asked for shares says that it wants them no more."""
PATCH_LAST_WORD = "protection-after-last-word"
"""Executions that come when an entry is settled are protected as well."""
PATCH_UNCONFIRMED = "end-of-day-unconfirmed"
"""A cancel that was not confirmed at the bell is told."""
PATCH_CANCEL_AT_ONCE = "workflow-cancel-at-once"
"""Cancelling the workflow ends an order that waits for its POST: nothing is sent first."""
PATCH_AFTER_BELL = "end-of-day-after-the-bell"
"""The rest of a fill that is told after it is cancelled at once."""


@workflow.defn(name=wire.WORKFLOW_ORDER)
class OrderWorkflow:
    """Id ``order-<signal_id>``. A run has no modes: it reads the order's row and goes on from there.

    So a first start, a start after a crash, Terminate, Reset and late broker evidence are one path.
    """

    @workflow.init
    def __init__(self, start: OrderInput) -> None:
        self._signal_id = start.signal_id
        self._start = start
        self._order: OrderView | None = None
        self._cancel: CancelCommand | None = None
        self._cancel_asked = False
        self._cancelling = asyncio.Lock()
        self._asking: asyncio.Task[None] | None = None
        self._protected: Decimal | None = None
        self._has_asked = False
        self._bell = Bell(start.signal_id, lambda: self._order)
        self._move = Move()
        self._blotter = Blotter(start.display)

    @workflow.run
    async def run(self, start: OrderInput) -> OrderOutcome:
        """Live until the outcome is settled. Cancelling the workflow means cancelling the order."""
        life = asyncio.create_task(self._live())
        while not life.done():
            try:
                await asyncio.shield(life)
            except asyncio.CancelledError:
                # A request from outside, never a reason to leave a POST alone: the broker decides the end.
                self._cancel = self._cancel or CancelCommand(actor="workflow cancel")
                if workflow.patched(PATCH_CANCEL_AT_ONCE):
                    self._asking = asyncio.create_task(self._pursue_cancel())
        return life.result()

    async def _live(self) -> OrderOutcome:
        await self._assess()
        while not self._settled:
            await self._reach_the_broker()
            await self._watch()
            await self._protect()
            await self._settle()
            await self._protect(settled=True)  # Executions may have come with the broker's last word.
        await self._ask_for_shares("they may have their stop again")
        self._show("nothing: settled")
        outcome = outcome_of(self._known)
        # In here, where a cancel of the workflow cannot leave an update without its answer.
        await workflow.wait_condition(workflow.all_handlers_finished)
        return outcome

    # --- what is known ---------------------------------------------------------------------------

    @property
    def _settled(self) -> bool:
        return self._order is not None and self._order.settled

    @property
    def _known(self) -> OrderView:
        assert self._order is not None, "the first step reads the row"
        return self._order

    def _learn(self, order: OrderView) -> None:
        """Keep the newest truth: signals may overtake activity answers."""
        if self._order is None or order.row_version > self._order.row_version:
            if self._order is None or order.status is not self._order.status:
                self._blotter.note("OrderWorkflow", order.status.value, order.reason or "")
            self._order = order
        if order.cancel_requested_by is not None and self._cancel is None:
            self._cancel = CancelCommand(actor=order.cancel_requested_by, reason="asked before")

    def _question(self) -> OrderQuestion:
        return OrderQuestion(signal_id=self._signal_id, as_of=workflow.now())

    def _show(self, waiting_for: str) -> None:
        self._blotter.show(self._order, waiting_for)

    # --- risk ------------------------------------------------------------------------------------

    async def _assess(self) -> None:
        """Ask risk; fetch what it lacks at most ``REFRESHES_MAX`` times."""
        refreshes = 0
        while True:
            answer = await run_step(
                policies.ASSESS_RISK,
                RiskActivities.assess_risk,
                RiskQuestion(signal_id=self._signal_id, as_of=workflow.now(), refreshes=refreshes),
                summary="risk: every check, one decision",
            )
            self._learn(answer.order)
            if answer.kind not in (AssessmentKind.NEEDS_QUOTE, AssessmentKind.NEEDS_SNAPSHOT):
                self._blotter.note("RiskManager", answer.kind.value, ", ".join(answer.reasons))
                return
            refreshes += 1
            try:
                await run_step(
                    policies.REFRESH_MARKET,
                    MarketActivities.refresh_market,
                    self._question(),
                    summary=f"fetch quote and account ({answer.kind.value})",
                )
            except ActivityError:
                # Nobody answers: risk decides with what there is, and that means no.
                refreshes = policies.REFRESHES_MAX

    # --- placement -------------------------------------------------------------------------------

    async def _reach_the_broker(self) -> None:
        """Until the order stands at the broker, or has ended with proof that it does not."""
        await self._ask_for_shares("a closing order wants them")
        while self._known.broker_order_id is None and not self._known.status.is_final:
            if self._known.may_stand:
                await self._resolve()
                continue
            await self._pursue_cancel()
            if await self._pass_pre_trade() and self._cancel is None:
                await self._place()

    async def _pass_pre_trade(self) -> bool:
        self._show("the last checks before the broker")
        answer = await run_step(
            policies.CHECK_PRE_TRADE,
            MarketActivities.check_pre_trade,
            self._question(),
            summary="pre-trade: age, hours, quotes, spread",
        )
        self._learn(answer.order)
        return answer.passed

    async def _place(self) -> None:
        order = self._known
        answer = await run_step(
            policies.PLACE_ORDER,
            PlacementActivities.place_order,
            self._question(),
            summary=f"POST {order.action.side.value} {order.quantity} {order.ticker}",
        )
        self._learn(answer.order)
        self._blotter.note("ExecutionAgent", answer.kind.value, order.client_order_id or "")
        if answer.kind is PlaceKind.UNKNOWN:
            self._show("the broker's answer was lost: looking the order up")

    async def _resolve(self) -> None:
        """One look-up, then a pause that grows. Never a verdict by time alone."""
        answer = await run_step(
            policies.RESOLVE_ORDER,
            ResolutionActivities.resolve_order,
            self._question(),
            summary=f"look up {self._known.client_order_id}",
        )
        self._learn(answer.order)
        if answer.kind is not ResolveKind.UNKNOWN:
            self._blotter.note("ExecutionAgent", f"RESOLVED_{answer.kind.value}")
            return
        self._show("proof of what became of the POST")
        version, pause = self._known.row_version, timedelta(seconds=answer.ask_again_seconds)
        await self._wake_up(lambda: self._known.row_version > version, pause, "look the order up again")

    # --- fills -----------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Wait for the broker's word. Order workflows never poll: the update stream and catch-up signal them."""
        while not self._known.status.is_final:
            # Taken before the steps below: what is told while they run must end the wait after them.
            version, cancel = self._known.row_version, self._cancel
            await self._bell.beside(self._pursue_cancel())
            pause, why = await self._next_alarm()
            self._show(why)
            await self._wake_up(partial(self._has_news, version, cancel), pause, why)
            await self._continue_as_new_if_long()

    def _has_news(self, version: int, cancel: CancelCommand | None) -> bool:
        moves = self._move.is_due and self._may_begin_anew
        return self._known.row_version > version or self._cancel is not cancel or moves

    @property
    def _may_begin_anew(self) -> bool:
        """Whether the row knows of a cancel that was asked for."""
        return self._cancel is None or self._cancel_asked

    async def _continue_as_new_if_long(self) -> None:
        """A long history, or one of a former build, goes on as a fresh run. All state is in the row."""
        wanted = workflow.info().is_continue_as_new_suggested() or self._move.is_due
        if wanted and not self._known.status.is_final:
            await workflow.wait_condition(workflow.all_handlers_finished)
            if self._may_begin_anew:
                go_on_as_new(self._start)

    async def _pursue_cancel(self) -> None:
        """Send a cancel that was asked for and has not reached the broker, or ends an order that never left."""
        async with self._cancelling:
            if self._cancel is None or self._cancel_asked or self._known.status.is_final:
                return
            await self._send_cancel(self._cancel)

    async def _send_cancel(self, command: CancelCommand, *, unconfirmed_at_bell: bool = False) -> CancelReply:
        step = CancelStep(
            signal_id=self._signal_id,
            as_of=workflow.now(),
            actor=command.actor,
            reason=command.reason,
            unconfirmed_at_bell=unconfirmed_at_bell,
        )
        reply = await run_step(
            policies.CANCEL_ORDER,
            OrderEndActivities.cancel_order,
            step,
            summary=f"cancel for {command.actor}",
        )
        self._cancel_asked = self._cancel_asked or reply.answer is CancelAnswer.REQUESTED
        self._blotter.note("ExecutionAgent", f"CANCEL_{reply.answer.value}", reply.message)
        return reply

    async def _next_alarm(self) -> tuple[timedelta | None, str]:
        """How long to sleep at most, and what for. Only a partly filled order watches the bell."""
        if self._known.status is not OrderStatus.PARTIALLY_FILLED:
            return None, "the broker's next update"
        session = await self._bell.read_session()
        if session.closes_in_seconds is None:
            await self._ask_at_the_bell()
            wait = timedelta(seconds=session.opens_in_seconds or 0)
            return max(wait, policies.SESSION_CHECK_MIN), "the next session"
        left = timedelta(seconds=session.closes_in_seconds) - policies.REST_CANCEL_BEFORE_CLOSE
        if left > timedelta(0):
            return max(left, policies.SESSION_CHECK_MIN), "fills, until 2 minutes before the bell"
        await self._send_cancel(CancelCommand(actor=END_OF_DAY, reason=REST_OF_FILL))
        # Asked again at the bell at the latest: what is not confirmed by then, a person hears of.
        bell = timedelta(seconds=session.closes_in_seconds) + policies.SESSION_CHECK_MIN
        return min(policies.CANCEL_REPEAT, bell), "the broker's confirmation that the rest is cancelled"

    async def _ask_at_the_bell(self) -> None:
        """It has rung: the rest is cancelled, or asked for again and a person is told. Its reservation stays."""
        asked = self._known.cancel_requested_by or (END_OF_DAY if self._cancel_asked else None)
        if workflow.patched(PATCH_UNCONFIRMED if asked else PATCH_AFTER_BELL):
            command = CancelCommand(
                actor=asked or END_OF_DAY, reason=NOT_CONFIRMED if asked else REST_OF_FILL
            )
            if asked:
                self._bell.is_told()
            await self._send_cancel(command, unconfirmed_at_bell=asked is not None)

    async def _settle(self) -> None:
        if self._settled:
            return
        self._show("the broker's last word on fills")
        heard = self._known
        row = await run_step(
            policies.SETTLE_ORDER,
            OrderEndActivities.settle_order,
            self._question(),
            summary="read back, join fills, release",
        )
        if row.row_version < heard.row_version and self._order is heard:
            # A signal follows its commit, so a row read later is never older: what was heard was not the row.
            self._order = row
        self._learn(row)

    async def _wake_up(self, condition: Callable[[], bool], pause: timedelta | None, why: str) -> None:
        with suppress(TimeoutError):
            await workflow.wait_condition(condition, timeout=pause, timeout_summary=why)

    # --- protection ------------------------------------------------------------------------------

    async def _protect(self, *, settled: bool = False) -> None:
        """Start the workflow that keeps a stop under what this entry has filled. The sweeper starts it too."""
        order = self._known
        wanted = order.hard_stop_loss is not None and order.status.is_final and order.filled_quantity > 0
        if self._protected == order.filled_quantity or not wanted or not workflow.patched(PATCH_PROTECTION):
            return
        if settled and not workflow.patched(PATCH_LAST_WORD):
            return
        if self._protected is not None:
            self._protected = order.filled_quantity
            await wake_protections((self._signal_id,), "the entry has filled more")
            return
        self._blotter.note("OrderWorkflow", "PROTECTED", wire.protect_workflow_id(self._signal_id))
        await start_protection(order, tuple(self._blotter.timeline))
        self._protected = order.filled_quantity

    async def _ask_for_shares(self, why: str) -> None:
        """Wake the protections on this ticker: a closing order needs shares that their stops hold, or is done."""
        order = self._known
        if order.action.opens:
            return
        if order.status is OrderStatus.REJECTED and not (
            self._has_asked and workflow.patched(PATCH_GIVEN_BACK)
        ):
            return
        if not workflow.patched(PATCH_PROTECTION):
            return
        self._has_asked = True
        found = await run_step(
            policies.FIND_PROTECTIONS,
            ProtectionActivities.find_protections,
            ProtectQuestion(signal_id=self._signal_id, as_of=workflow.now()),
            summary="whose stop holds the shares",
        )
        await wake_protections(found.signal_ids, why)

    # --- doors -----------------------------------------------------------------------------------

    @workflow.signal(dynamic=True)
    def hear(self, name: str, args: Sequence[RawValue]) -> None:
        """``order-updated``: the row changed; it carries the whole order, and the newest version wins.

        Takes raw values, because a typed handler wedges on a signal without a payload. What cannot be read
        or is about another order is no news.
        """
        self._move.hear(name)
        try:
            order = OrderView.model_validate_json(args[0].payload.data)
        except (IndexError, ValidationError):
            return
        if name == wire.SIGNAL_ORDER_UPDATED and (order.signal_id, order.leg) == (self._signal_id, Leg.ENTRY):
            self._learn(order)

    @workflow.update(name=wire.UPDATE_CANCEL_ORDER)
    async def cancel_order(self, command: CancelCommand) -> CancelReply:
        """Cancel the order, honestly: requested, too late, or unknown while the order's fate is."""
        async with self._cancelling:
            self._cancel = self._cancel or command
            return await self._send_cancel(command)

    @cancel_order.validator
    def _check_cancel(self, command: CancelCommand) -> None:
        if not command.actor:
            raise ValueError("say who cancels: actor is empty")

    @workflow.query(name=wire.QUERY_STATUS)
    def status(self) -> OrderReport:
        """The order as the workflow knows it, and what it waits for."""
        return OrderReport(
            order=self._order, waiting_for=self._blotter.waiting_for, timeline=tuple(self._blotter.timeline)
        )

    @workflow.query(name=wire.QUERY_TIMELINE)
    def timeline(self) -> OrderReport:
        """The order's story so far, in order."""
        return self.status()
