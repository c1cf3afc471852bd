"""An entry whose shares get a stop: the steps of both workflows, on rows in memory.

The next step is the real decision (``risk.protection.decide``); what the broker does is said by the test.
"""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import uuid5

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowHandle

from risk.prices import Market
from risk.protection import Scene, decide
from schemas import wire
from schemas.orders import Action, CancelAnswer, OrderFlag, OrderStatus, OrderType, OrderView, TimeInForce
from schemas.protection import Protection, Protections, ProtectOutcome, ProtectQuestion, ProtectView
from schemas.runs import (
    CancelReply,
    CancelStep,
    OrderQuestion,
    PlaceAnswer,
    PlaceKind,
    ResolveAnswer,
    ResolveKind,
)
from schemas.wire import Leg, Queue
from tests.workflow.book import INSTALLATION, WRITTEN_AT
from tests.workflow.running import POLL_SECONDS, WITHIN_SECONDS, hang_report
from tests.workflow.scripted import ASK_AGAIN_SECONDS, ScriptedBroker
from workflows.protection import ProtectionWorkflow

STOP = Decimal("170.00")
QUOTED = Market(bid=Decimal("160.00"), ask=Decimal("160.02"))
"""Past the stop."""


class ProtectedBroker(ScriptedBroker):
    """One entry with a hard stop loss, and the legs that protect it.

    ``lent``: shares that closing signals have asked for, ``sold``: those they have taken.
    """

    hard_stop: Decimal | None = STOP

    legs: list[OrderView]
    lent = Decimal(0)
    sold = Decimal(0)
    others: tuple[str, ...] = ()
    last_word: str | None = None
    """Shares whose executions come only when the entry is settled."""
    reviews = 0
    exiting = False
    """The market is past the stop: an exit stands for the shares."""
    market: Market | None = None
    """The quote that is stored; a refresh stores ``QUOTED``."""

    def activities(self, role: Queue) -> list[Callable[..., Any]]:
        """The entry's steps and protection's own."""
        self.legs = getattr(self, "legs", [])
        found = super().activities(role)
        return found if role is Queue.RISK else [*found, self.review_protection, self.find_protections]

    @property
    def view(self) -> OrderView:
        """The entry, with its approved stop."""
        return super().view.model_copy(update={"hard_stop_loss": self.hard_stop})

    @property
    def stop(self) -> OrderView:
        """The newest leg."""
        return self.legs[-1]

    def is_live(self) -> bool:
        """Whether a stop stands at the broker."""
        return bool(self.legs) and self.stop.broker_order_id is not None and not self.stop.status.is_final

    def told(self, **change: Any) -> OrderView:
        """The newest leg's row after the broker has said something."""
        self.legs[-1] = self.stop.model_copy(update={"row_version": self.stop.row_version + 1, **change})
        return self.stop

    @property
    def protection(self) -> Protection:
        """The row."""
        exited = sum((leg.filled_quantity for leg in self.legs), Decimal(0))
        return Protection(
            signal_id=self.proposal.signal_id,
            strategy=self.proposal.strategy,
            ticker=self.proposal.ticker,
            action=Action.SELL_TO_CLOSE,
            stop_price=STOP,
            filled=self.state.filled_quantity,
            exited=exited,
            given_up=self.sold,
            exiting=self.exiting,
            created_at=WRITTEN_AT,
        )

    @activity.defn(name=wire.ACTIVITY_REVIEW_PROTECTION)
    async def review_protection(self, question: ProtectQuestion) -> ProtectView:
        """Make the row that may be sent, and decide."""
        await self.asked(wire.ACTIVITY_REVIEW_PROTECTION)
        self.reviews += 1
        target = max(Decimal(0), self.protection.lot - self.lent)
        waits_for_quote = self.exiting and self.market is None
        if target and (not self.legs or self.stop.settled) and not waits_for_quote:
            self.legs.append(self._leg(len(self.legs), target))
        elif target and self.legs and not self.is_live() and not self.stop.post_count:
            self.legs[-1] = self.stop.model_copy(update={"quantity": target})
        session = self._calendar.session_at(self.market_time(question.as_of))
        opens = session.seconds_to_open or (session.seconds_to_close or 0) + 60
        return decide(
            Scene(
                protection=self.protection,
                target=target,
                legs=tuple(leg for leg in self.legs if not leg.settled) or tuple(self.legs[-1:]),
                in_the_way=(),
                now=question.as_of,
                market=self.market,
                is_open=session.is_open,
                opens_in_seconds=opens,
            )
        )

    def _leg(self, generation: int, quantity: Decimal) -> OrderView:
        proposed = self.proposal
        return OrderView(
            signal_id=proposed.signal_id,
            leg=self.protection.leg,
            generation=generation,
            internal_order_id=uuid5(INSTALLATION, f"stop {generation} {proposed.signal_id}"),
            ticker=proposed.ticker,
            action=Action.SELL_TO_CLOSE,
            strategy=proposed.strategy,
            order_type=OrderType.LIMIT if self.exiting else OrderType.STOP,
            time_in_force=TimeInForce.DAY if self.exiting else TimeInForce.GTC,
            quantity=quantity,
            stop_price=None if self.exiting else STOP,
            limit_price=QUOTED.bid if self.exiting else None,
            status=OrderStatus.CREATED,
            row_version=1,
            created_at=WRITTEN_AT,
            updated_at=WRITTEN_AT,
        )

    @activity.defn(name=wire.ACTIVITY_REFRESH_MARKET)
    async def refresh_market(self, question: OrderQuestion) -> None:
        """There is a quote after it."""
        await super().refresh_market(question)
        self.market = QUOTED

    @activity.defn(name=wire.ACTIVITY_FIND_PROTECTIONS)
    async def find_protections(self, question: ProtectQuestion) -> Protections:
        """Those that the test names."""
        await self.asked(wire.ACTIVITY_FIND_PROTECTIONS)
        return Protections(signal_ids=self.others)

    @activity.defn(name=wire.ACTIVITY_PLACE_ORDER)
    async def place_order(self, question: OrderQuestion) -> PlaceAnswer:
        """Of a leg: RECHECK and UNKNOWN, else it stands."""
        if question.leg is Leg.ENTRY:
            return await super().place_order(question)
        word = await self.asked(wire.ACTIVITY_PLACE_ORDER)
        if word == "RECHECK":
            return PlaceAnswer(kind=PlaceKind.RECHECK, order=self.stop)
        sent = wire.client_order_id(
            INSTALLATION, "PA-TEST", question.signal_id, Leg.STOP, self.stop.generation
        )
        self.told(client_order_id=sent, post_count=1, may_stand=True, status=OrderStatus.SUBMITTED)
        if word == "UNKNOWN":
            return PlaceAnswer(kind=PlaceKind.UNKNOWN, order=self.told(flags=(OrderFlag.OUTCOME_UNKNOWN,)))
        return PlaceAnswer(kind=PlaceKind.PLACED, order=self._stands())

    def _stands(self) -> OrderView:
        name = str(uuid5(INSTALLATION, f"at the broker {self.stop.internal_order_id}"))
        return self.told(broker_order_id=name, status=OrderStatus.ACKNOWLEDGED, flags=())

    @activity.defn(name=wire.ACTIVITY_RESOLVE_ORDER)
    async def resolve_order(self, question: OrderQuestion) -> ResolveAnswer:
        """Of a leg: UNKNOWN, else it is found."""
        if question.leg is Leg.ENTRY:
            return await super().resolve_order(question)
        if await self.asked(wire.ACTIVITY_RESOLVE_ORDER) == "UNKNOWN":
            return ResolveAnswer(
                kind=ResolveKind.UNKNOWN, order=self.stop, ask_again_seconds=ASK_AGAIN_SECONDS
            )
        return ResolveAnswer(kind=ResolveKind.FOUND, order=self._stands())

    @activity.defn(name=wire.ACTIVITY_CANCEL_ORDER)
    async def cancel_order(self, cancel: CancelStep) -> CancelReply:
        """Of a leg: asked; the test says when it has ended."""
        if cancel.leg is Leg.ENTRY:
            return await super().cancel_order(cancel)
        await self.asked(wire.ACTIVITY_CANCEL_ORDER)
        self.cancels_sent += 1
        self.told(flags=(OrderFlag.CANCEL_REQUESTED,), updated_at=cancel.as_of)
        return CancelReply(answer=CancelAnswer.REQUESTED, status=self.stop.status, message="asked")

    @activity.defn(name=wire.ACTIVITY_SETTLE_ORDER)
    async def settle_order(self, question: OrderQuestion) -> OrderView:
        """Of a leg: its outcome is written, and while shares are left its next generation."""
        if question.leg is Leg.ENTRY:
            if self.last_word is not None:
                self.fill(self.last_word)
                self.last_word = None
            return await super().settle_order(question)
        await self.asked(wire.ACTIVITY_SETTLE_ORDER)
        ended = self.told(settled=True)
        if self.protection.lot:
            self.legs.append(self._leg(ended.generation + 1, self.protection.lot))
        return ended


Protecting = WorkflowHandle[ProtectionWorkflow, ProtectOutcome]


def protection_of(client: Client, broker: ScriptedBroker) -> Protecting:
    """The workflow that protects what the entry has filled."""
    found: Protecting = client.get_workflow_handle_for(
        ProtectionWorkflow.run, wire.protect_workflow_id(broker.proposal.signal_id)
    )
    return found


async def tell_leg(protection: Protecting, leg: OrderView) -> None:
    """Signal a leg's row, as the holder of the update stream does."""
    await protection.signal(wire.SIGNAL_ORDER_UPDATED, leg)


async def until_true(wanted: Callable[[], bool]) -> None:
    """Wait for something that the steps do."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while not wanted():
            await asyncio.sleep(POLL_SECONDS)


async def at_rest(protection: Protecting) -> None:
    """Wait until it waits for the stop alone."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while not (await protection.query(ProtectionWorkflow.status)).waiting_for.startswith("the stop, or"):
            await asyncio.sleep(POLL_SECONDS)


async def ended(protection: Protecting) -> ProtectOutcome:
    """The workflow's result; a hang fails with what its workflow tasks failed of."""
    try:
        async with asyncio.timeout(WITHIN_SECONDS):
            return await protection.result()
    except TimeoutError:
        pytest.fail(await hang_report(protection))
