"""The steps of an order workflow under their wire names, as scripted.

Real sockets know no skipped time, so what the next call of a step comes to is said beforehand; all else goes
as the real step would. Sessions are those of the real New York calendar.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from temporalio import activity

from broker import lifecycle
from market.calendar import TradingCalendar
from schemas import wire
from schemas.orders import CancelAnswer, OrderFlag, OrderStatus, OrderView
from schemas.risk import Assessment, AssessmentKind, Proposal
from schemas.runs import (
    CancelReply,
    CancelStep,
    OrderQuestion,
    PlaceAnswer,
    PlaceKind,
    PreTradeAnswer,
    ResolveAnswer,
    ResolveKind,
    RiskQuestion,
    SessionAnswer,
)
from schemas.wire import Queue
from tests.workflow.book import Book
from tests.workflow.gates import Gates

TUESDAY_NOON = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)
"""Market time at the workflow's start where a test names none: an ordinary session, four hours to the bell."""
REFRESHES_MAX = 2
ASK_AGAIN_SECONDS = 1.0


class ScriptedBroker(Book, Gates):
    """Every step of one order."""

    def __init__(
        self, proposed: Proposal, calendar: TradingCalendar, *, market_start: datetime = TUESDAY_NOON
    ) -> None:
        Book.__init__(self, proposed)
        Gates.__init__(self)
        self.cancels_sent = 0
        """Cancels that reached the broker."""
        self.told_unconfirmed = 0
        """How often a person was told that the bell rang before a cancel was confirmed."""
        self._calendar = calendar
        self._market_start = market_start
        self._anchor: datetime | None = None
        self._decided: AssessmentKind | None = None

    def market_time(self, as_of: datetime) -> datetime:
        """The market's clock at the workflow's instant ``as_of``."""
        if self._anchor is None:
            self._anchor = as_of
        return self._market_start + (as_of - self._anchor)

    def activities(self, role: Queue) -> list[Callable[..., Any]]:
        """The steps of one role, as the product deals them out."""
        if role is Queue.RISK:
            return [self.assess_risk]
        return [
            self.refresh_market,
            self.check_pre_trade,
            self.read_session,
            self.place_order,
            self.resolve_order,
            self.cancel_order,
            self.tell_unconfirmed,
            self.settle_order,
        ]

    # --- the steps -------------------------------------------------------------------------------

    @activity.defn(name=wire.ACTIVITY_ASSESS_RISK)
    async def assess_risk(self, question: RiskQuestion) -> Assessment:
        """NEEDS_QUOTE and NEEDS_SNAPSHOT are answered while a refresh is left; then they refuse."""
        self.market_time(question.as_of)
        word = await self.asked(wire.ACTIVITY_ASSESS_RISK)
        if self.state.status is not OrderStatus.CREATED:
            return Assessment(kind=AssessmentKind.BEYOND, order=self.view)
        kind = self._decided or AssessmentKind(word or AssessmentKind.APPROVED)
        if kind in (AssessmentKind.NEEDS_QUOTE, AssessmentKind.NEEDS_SNAPSHOT):
            if question.refreshes < REFRESHES_MAX:
                return Assessment(kind=kind, order=self.view)
            kind = AssessmentKind.REJECTED
        self._decided = kind
        if kind is AssessmentKind.REJECTED:
            return Assessment(kind=kind, order=self.apply(lifecycle.Refused("MARKET_DATA")))
        return Assessment(kind=kind, order=self.view)

    @activity.defn(name=wire.ACTIVITY_REFRESH_MARKET)
    async def refresh_market(self, question: OrderQuestion) -> None:
        """Nothing is stored here."""
        await self.asked(wire.ACTIVITY_REFRESH_MARKET)

    @activity.defn(name=wire.ACTIVITY_CHECK_PRE_TRADE)
    async def check_pre_trade(self, question: OrderQuestion) -> PreTradeAnswer:
        """REFUSE ends the order."""
        word = await self.asked(wire.ACTIVITY_CHECK_PRE_TRADE)
        if self.state.status.is_final or self.may_stand:
            return PreTradeAnswer(passed=False, order=self.view)
        if word == "REFUSE":
            return PreTradeAnswer(passed=False, order=self.apply(lifecycle.Refused("NEAR_CLOSE")))
        return PreTradeAnswer(passed=True, order=self.view)

    @activity.defn(name=wire.ACTIVITY_PLACE_ORDER)
    async def place_order(self, question: OrderQuestion) -> PlaceAnswer:
        """RECHECK, REFUSE or UNKNOWN. A call that is held has stored its intent: its POST is out."""
        self.calls.append(wire.ACTIVITY_PLACE_ORDER)
        standing = self._standing()
        if standing is not None:
            return standing
        word = self.word(wire.ACTIVITY_PLACE_ORDER)
        if word == "RECHECK":
            return PlaceAnswer(kind=PlaceKind.RECHECK, order=self.view)
        self.post_count += 1
        self.row_version += 1
        self.apply(lifecycle.Submitted())
        await self.pause(wire.ACTIVITY_PLACE_ORDER)
        if word == "REFUSE":
            return PlaceAnswer(kind=PlaceKind.ENDED, order=self.apply(lifecycle.Refused("ERR_WASH_TRADE")))
        if word == "UNKNOWN":
            return PlaceAnswer(kind=PlaceKind.UNKNOWN, order=self.apply(lifecycle.OutcomeUnknown()))
        return PlaceAnswer(kind=PlaceKind.PLACED, order=self.apply(self.broker_order("new")))

    def _standing(self) -> PlaceAnswer | None:
        """Why no POST may be made."""
        if self.state.status.is_final:
            return PlaceAnswer(kind=PlaceKind.ENDED, order=self.view)
        if self.state.broker_order_id is not None:
            return PlaceAnswer(kind=PlaceKind.PLACED, order=self.view)
        if self.may_stand:
            return PlaceAnswer(kind=PlaceKind.UNKNOWN, order=self.apply(lifecycle.OutcomeUnknown()))
        if self.cancel_requested_by is not None:
            return PlaceAnswer(kind=PlaceKind.ENDED, order=self.apply(lifecycle.Withdrawn("canceled")))
        return None

    @activity.defn(name=wire.ACTIVITY_RESOLVE_ORDER)
    async def resolve_order(self, question: OrderQuestion) -> ResolveAnswer:
        """UNKNOWN, ABSENT or ENDED; FOUND where nothing is said."""
        word = await self.asked(wire.ACTIVITY_RESOLVE_ORDER)
        if self.state.broker_order_id is not None:
            return ResolveAnswer(kind=ResolveKind.FOUND, order=self.view)
        match word:
            case "UNKNOWN":
                self.row_version += 1  # a look-up that counts is stored
                return ResolveAnswer(
                    kind=ResolveKind.UNKNOWN, order=self.view, ask_again_seconds=ASK_AGAIN_SECONDS
                )
            case "ABSENT":
                self.posts_proved_absent = self.post_count
                self.row_version += 1
                return ResolveAnswer(kind=ResolveKind.ABSENT, order=self.view)
            case "ENDED":
                ended = self.apply(lifecycle.Fatal("NOT_AT_BROKER_AFTER_ALL_TRIES"))
                return ResolveAnswer(kind=ResolveKind.ENDED, order=ended)
            case _:
                found = self.apply(lifecycle.Adopted(self.broker_order("new")))
                return ResolveAnswer(kind=ResolveKind.FOUND, order=found)

    @activity.defn(name=wire.ACTIVITY_CANCEL_ORDER)
    async def cancel_order(self, cancel: CancelStep) -> CancelReply:
        """Who asked is stored before the answer can be held."""
        self.cancel_requested_by = self.cancel_requested_by or cancel.actor
        self.told_unconfirmed += cancel.unconfirmed_at_bell
        await self.asked(wire.ACTIVITY_CANCEL_ORDER)
        if self.state.status.is_final:
            return self._reply(CancelAnswer.TOO_LATE)
        if self.state.broker_order_id is None and self.may_stand:
            return self._reply(CancelAnswer.UNKNOWN_OUTCOME)
        if self.state.broker_order_id is None:
            self.apply(lifecycle.Withdrawn(cancel.reason or "canceled before it was placed"))
            return self._reply(CancelAnswer.REQUESTED)
        self.cancels_sent += 1
        self.apply(lifecycle.CancelRequested())
        return self._reply(CancelAnswer.REQUESTED)

    @activity.defn(name=wire.ACTIVITY_TELL_UNCONFIRMED)
    async def tell_unconfirmed(self, cancel: CancelStep) -> None:
        """A row alone: it goes well while the broker is silent."""
        await self.asked(wire.ACTIVITY_TELL_UNCONFIRMED)
        if not self.state.status.is_final:
            self.cancel_requested_by = self.cancel_requested_by or cancel.actor
            self.told_unconfirmed += 1

    def _reply(self, answer: CancelAnswer) -> CancelReply:
        return CancelReply(answer=answer, status=self.state.status, message=answer.value)

    @activity.defn(name=wire.ACTIVITY_SESSION)
    async def read_session(self, question: OrderQuestion) -> SessionAnswer:
        """From the real calendar, at the market's time."""
        await self.asked(wire.ACTIVITY_SESSION)
        session = self._calendar.session_at(self.market_time(question.as_of))
        return SessionAnswer(
            closes_in_seconds=session.seconds_to_close, opens_in_seconds=session.seconds_to_open
        )

    @activity.defn(name=wire.ACTIVITY_SETTLE_ORDER)
    async def settle_order(self, question: OrderQuestion) -> OrderView:
        """Settles an order that has ended with every fill there; answers any other as it is."""
        await self.asked(wire.ACTIVITY_SETTLE_ORDER)
        ended = self.state.status.is_final and OrderFlag.FILLS_MISSING not in self.state.flags
        if ended and not self.settled:
            self.settled = True
            self.row_version += 1
        return self.view
