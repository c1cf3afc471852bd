"""What a placement try must pass before it takes the fence: the halts and the request budget.

Nothing waits here. A try without a token, or while the broker is given up on, ends at once and comes again later,
so its slot is free for cancels. Its order says why it waits, and whatever may refuse it does so meanwhile.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from activities.crowd import Crowd
from activities.failures import try_again
from broker import lifecycle
from broker.budget import NoToken, Share
from broker.errors import BrokerError
from risk.messages import UserMessage
from schemas.runs import OrderQuestion, PlaceAnswer, PlaceKind
from schemas.wire import Leg
from storage import placement as rows
from storage.orders import LockedOrder, StoredOrder, lock_keyed
from storage.transitions import Step, announce, refuse

if TYPE_CHECKING:
    from temporalio.exceptions import ApplicationError

    from broker.budget import BrokerBudget
    from market.clock import MarketClock
    from storage.database import Database

HALT_RETRY: Final = timedelta(seconds=2)
"""Below the probe's period, so that orders go on soon after the halt has closed."""
COMPONENT: Final = "ExecutionAgent"

Refusal = Callable[[StoredOrder, rows.PlacementBasis, datetime], str | None]
_T = TypeVar("_T")


@dataclass
class Permit:
    """Leave to send one request. ``share`` is None where nothing is to be sent."""

    share: Share | None
    spent: bool = False
    """A byte of the request may have left."""


class PlacementGate:
    """One for the placement activities of a process."""

    def __init__(
        self,
        database: "Database",
        budget: "BrokerBudget",
        clock: "MarketClock",
        *,
        refusal: Refusal,
    ) -> None:
        """``refusal`` says why an order may not leave any more."""
        self._database = database
        self._budget = budget
        self._clock = clock
        self._refusal = refusal
        self._waiting = Crowd()

    async def enter(self, question: OrderQuestion) -> Permit | PlaceAnswer:
        """Take the token of one placement, or end the order where it may not leave any more.

        Raises:
            ApplicationError: type BROKER_HALT, CLOCK_SKEW or ERR_RATE_LIMIT, with the time to come again.
            BudgetUnavailable: nobody can say whether a request may leave.
        """
        async with self._database.connection() as connection:
            gate = await rows.read_gate(connection, question)
        order = gate.order
        if _is_beyond(order):
            self._waiting.remove(question.signal_id)
            return Permit(None)
        if gate.halt is not None:
            again = try_again(
                "BROKER_HALT", f"no order leaves: {gate.halt}", self._waiting.spread(HALT_RETRY)
            )
            return await self._delay(question, UserMessage.BROKER_API_DOWN, again)
        if gate.wrong_clock is not None and order.leg is Leg.ENTRY:
            again = try_again(
                "CLOCK_SKEW", f"no new order leaves: {gate.wrong_clock}", self._waiting.spread(HALT_RETRY)
            )
            return await self._delay(question, UserMessage.CLOCK_SKEW, again)
        share = Share.ORDERS if order.leg is Leg.ENTRY else Share.STOPS
        try:
            await self._budget.take(share)
        except NoToken as none:
            self._waiting.add(question.signal_id)
            pause = timedelta(seconds=none.retry_after_seconds or 0)
            again = try_again(
                none.code, none.message, self._waiting.spread(max(pause, timedelta(milliseconds=50)))
            )
            return await self._delay(question, UserMessage.RATE_LIMITING, again)
        self._waiting.remove(question.signal_id)
        return Permit(share)

    async def leave(self, permit: Permit) -> None:
        """Give the token back where nothing was sent with it."""
        if permit.share is not None and not permit.spent:
            await self._budget.give_back(permit.share)

    async def hear(self, permit: Permit, sending: Awaitable[_T]) -> _T:
        """Await the POST and tell budget and halt how it ended."""
        assert permit.share is not None, "what is sent has its token"
        try:
            result = await sending
        except BrokerError as error:
            await self._budget.heard(permit.share, error)
            raise
        await self._budget.heard(permit.share, None)
        return result

    async def _delay(
        self, question: OrderQuestion, message: UserMessage, again: "ApplicationError"
    ) -> Permit | PlaceAnswer:
        """Refuse what may not leave any more; else store why it waits and raise ``again``."""
        now = self._clock.instant(question.as_of)
        async with self._database.transaction("placement.delayed") as connection:
            locked = await lock_keyed(connection, question)
            if _is_beyond(locked.order):
                return Permit(None)
            reason = self._refusal(locked.order, await rows.read_basis(locked, self._clock.wall()), now)
            if reason is not None:
                self._waiting.remove(question.signal_id)
                return await refuse_unsent(locked, reason, now)
            await say(locked, message, now, again.message)
        raise again


async def refuse_unsent(
    locked: LockedOrder, reason: str, now: datetime, why: str = "", *, user_message: str | None = None
) -> PlaceAnswer:
    """End an order that never left, in the transaction that holds it. ``why``: more than the reason, for people."""
    fact: lifecycle.OwnFact = lifecycle.Refused(reason)
    if reason == "CANCELED":
        fact = lifecycle.Withdrawn("canceled before it was placed")
    step = Step(
        now=now,
        component=COMPONENT,
        decision="REFUSED",
        detail=f"not placed: {why or reason}",
        user_message=user_message,
    )
    after = await refuse(locked, lifecycle.apply(locked.state, fact), step)
    return PlaceAnswer(kind=PlaceKind.ENDED, order=after.view)


async def say(locked: LockedOrder, message: UserMessage, now: datetime, detail: str) -> None:
    """Store why the order waits, once, in the transaction that holds it."""
    stored = await rows.write_delay(locked, message, now)
    if stored is not None:
        await announce(locked, stored, Step(now=now, component=COMPONENT, decision="DELAYED", detail=detail))


def _is_beyond(order: StoredOrder) -> bool:
    """Nothing is to be sent for it: the try itself says why."""
    return order.status.is_final or order.broker_order_id is not None or order.may_stand
