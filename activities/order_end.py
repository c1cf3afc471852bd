"""Ending an order: refusing it before it leaves, cancelling it at the broker, settling what became of it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from temporalio import activity

from activities.evidence import bring, take_in
from activities.failures import as_failure, ask_again, try_again
from broker import lifecycle
from broker.errors import BrokerError, NotFound
from broker.told import BrokerCall, evidence, hearing
from schemas import wire
from schemas.alerts import Alert, AlertCode, Severity
from schemas.base import decimal_text
from schemas.orders import BrokerOrder, CancelAnswer, OrderFlag, OrderStatus, OrderView
from schemas.runs import CancelReply, CancelStep, EndOrder, OrderQuestion
from storage.alerts import clear_alert, raise_alert
from storage.orders import StoredOrder, lock_keyed, read_keyed, request_cancel
from storage.transitions import Step, advance_or_tell, audit, refuse, settle
from storage.watch import note_message

if TYPE_CHECKING:
    from broker.port import BrokerReader
    from market.clock import MarketClock
    from storage.database import Database

COMPONENT: Final = "ExecutionAgent"
FILLS_OVERLAP: Final = timedelta(minutes=1)
_MEANS: Final[Mapping[CancelAnswer, str]] = {
    CancelAnswer.TOO_LATE: "the broker says that it has ended",
    CancelAnswer.UNKNOWN_ORDER: "the broker does not know the id under which it had taken the order",
    CancelAnswer.UNKNOWN_OUTCOME: "the answer was lost: nobody knows whether the broker has the cancel",
}


class OrderEndActivities:
    """Cancels, refuses and settles. Needs only the right to read and cancel at the broker."""

    def __init__(self, database: "Database", broker: "BrokerReader", clock: "MarketClock") -> None:
        self._database = database
        self._broker = broker
        self._clock = clock

    @activity.defn(name=wire.ACTIVITY_READ_ORDER)
    async def read_order(self, question: OrderQuestion) -> OrderView:
        """The order's row. Idempotent: it only reads."""
        async with self._database.connection() as connection:
            return (await read_keyed(connection, question)).view

    @activity.defn(name=wire.ACTIVITY_REFUSE_ORDER)
    async def refuse_order(self, end: EndOrder) -> OrderView:
        """End an order that does not stand at the broker.

        Idempotent: an ended order is answered as it is. An order that may stand at the broker is left alone.
        """
        now = self._clock.instant(end.as_of)
        async with self._database.transaction("end.refused") as connection:
            locked = await lock_keyed(connection, end)
            order = locked.order
            if order.status.is_final or order.may_stand or order.broker_order_id is not None:
                return order.view
            fact: lifecycle.OwnFact = lifecycle.Refused(end.reason)
            if end.status is OrderStatus.CANCELED:
                fact = lifecycle.Withdrawn(end.reason)
            step = Step(
                now=now, component=COMPONENT, actor=end.actor, decision=end.status.value, detail=end.reason
            )
            return (await refuse(locked, lifecycle.apply(locked.state, fact), step)).view

    @activity.defn(name=wire.ACTIVITY_CANCEL_ORDER)
    async def cancel_order(self, cancel: CancelStep) -> CancelReply:
        """Ask the broker to cancel, or end the order here where it never left.

        Idempotent: who asked is stored first, once; a cancel asked twice is one cancel to the broker, which
        says of the second that the first is pending.

        Raises:
            ApplicationError: the broker could not be asked (its code); ask again.
        """
        order = await self._remember(cancel)
        if order.status.is_final:
            return _too_late(order)
        if order.broker_order_id is None:
            if order.may_stand:
                return CancelReply(
                    answer=CancelAnswer.UNKNOWN_OUTCOME,
                    status=order.status,
                    message="nobody knows yet whether it stands at the broker; the cancel is sent once it is found",
                )
            return await self._withdraw(cancel)
        with hearing() as calls:
            try:
                answer = await self._broker.cancel_order(order.broker_order_id)
            except BrokerError as error:
                if any(call.may_change for call in calls):
                    await self._not_taken(cancel, "CANCEL_NOT_TAKEN", f"{error.code}: {error.message}", calls)
                if error.refusal:  # It lives and takes no cancel now (pending_replace): that passes.
                    raise try_again(error.code, error.message) from error
                raise as_failure(error) from error
        if answer is CancelAnswer.REQUESTED:
            return await self._requested(cancel, calls)
        await self._not_taken(cancel, f"CANCEL_{answer.value}", _MEANS[answer], calls)
        try:
            found = await self._broker.get_order_status(order.broker_order_id)
            after = await self._learn(cancel, order, found)
        except NotFound:
            return _not_there(order)
        except BrokerError as error:
            raise ask_again(error) from error
        if not after.status.is_final:  # The answer was lost, or about an order that somebody has replaced.
            raise try_again("ERR_UNKNOWN_OUTCOME", "it still stands after the cancel's answer; asking again")
        return _too_late(after)

    @activity.defn(name=wire.ACTIVITY_TELL_UNCONFIRMED)
    async def tell_unconfirmed(self, cancel: CancelStep) -> None:
        """Tell a person of a rest that stands after the bell, while the broker leaves its cancel unanswered.

        Idempotent: the request is stored once, the alert is one until the order ends. Reaches no broker.
        """
        await self._remember(cancel)

    async def _remember(self, cancel: CancelStep) -> StoredOrder:
        """Who asked first goes into the row, everyone who asked into the story, each request once."""
        now = self._clock.instant(cancel.as_of)
        step = Step(
            now=now, component=COMPONENT, actor=cancel.actor, decision="CANCEL_ASKED", detail=cancel.reason
        )
        key = f"cancel {cancel.signal_id} {cancel.actor} {cancel.as_of.isoformat()}"
        async with self._database.transaction("end.cancel_remembered") as connection:
            locked = await lock_keyed(connection, cancel)
            await request_cancel(locked, cancel.actor, now)
            if cancel.unconfirmed_at_bell and not locked.order.status.is_final:
                await raise_alert(connection, _unconfirmed(locked.order), component=COMPONENT, now=now)
            if await note_message(connection, locked.order, key, now):
                await audit(locked, locked.order, step)
            return locked.order

    async def _learn(self, cancel: CancelStep, order: StoredOrder, found: BrokerOrder) -> StoredOrder:
        """Take in what the broker shows, and what has replaced it: the next try cancels that."""
        now = self._clock.instant(cancel.as_of)
        shown = [found]
        if found.replaced_by is not None:
            shown.append(await self._broker.get_order_status(found.replaced_by))
        for each in shown:
            taken = await take_in(self._database, each, now=now, source="look-up after cancel")
            order = taken.order if taken else order
        return order

    async def _not_taken(
        self, cancel: CancelStep, decision: str, detail: str, calls: Sequence[BrokerCall]
    ) -> None:
        """What the broker answered instead of taking the cancel. That ends nothing: only proof does."""
        step = Step(
            now=self._clock.instant(cancel.as_of),
            component=COMPONENT,
            actor=cancel.actor,
            decision=decision,
            detail=detail,
            evidence=evidence(calls),
        )
        async with self._database.transaction("end.cancel_not_taken") as connection:
            locked = await lock_keyed(connection, cancel)
            await audit(locked, locked.order, step)

    async def _withdraw(self, cancel: CancelStep) -> CancelReply:
        end = EndOrder(
            signal_id=cancel.signal_id,
            as_of=cancel.as_of,
            status=OrderStatus.CANCELED,
            reason=cancel.reason or "canceled before it was placed",
            actor=cancel.actor,
            leg=cancel.leg,
            generation=cancel.generation,
        )
        view = await self.refuse_order(end)
        if view.status is not OrderStatus.CANCELED:
            # Something else ended it since: risk, the checks before the POST, the kill switch.
            return _too_late(view)
        return CancelReply(
            answer=CancelAnswer.REQUESTED,
            status=view.status,
            message="canceled; it never left for the broker",
        )

    async def _requested(self, cancel: CancelStep, calls: Sequence[BrokerCall]) -> CancelReply:
        step = Step(
            now=self._clock.instant(cancel.as_of),
            component=COMPONENT,
            actor=cancel.actor,
            decision="CANCEL_REQUESTED",
            detail=cancel.reason,
            evidence=evidence(calls),
        )
        async with self._database.transaction("end.cancel_requested") as connection:
            locked = await lock_keyed(connection, cancel)
            new = lifecycle.apply(locked.state, lifecycle.CancelRequested())
            after = await advance_or_tell(locked, new, step)
        return CancelReply(
            answer=CancelAnswer.REQUESTED,
            status=after.status,
            message="the broker took the request; a fill may still win the race",
        )

    @activity.defn(name=wire.ACTIVITY_SETTLE_ORDER)
    async def settle_order(self, question: OrderQuestion) -> OrderView:
        """Read the order back, join its fills with the broker's quantity, release, write the outcome.

        Idempotent: a settled order is answered as it is. Returns the order unsettled where the broker says
        that it lives after all.

        Raises:
            ApplicationError: type FILLS_MISSING while executions are on their way, or the broker's code.
        """
        async with self._database.connection() as connection:
            order = await read_keyed(connection, question)
        if order.settled:
            return order.view
        found: BrokerOrder | None = None
        with hearing() as calls:
            try:
                if order.broker_order_id is not None:
                    found = await self._broker.get_order_status(order.broker_order_id)
                after = await self._settle(question, found, calls)
                if after is None and found is not None:
                    await self._take_in_fills(found, question)
                    after = await self._settle(question, found, calls)
            except BrokerError as error:
                raise ask_again(error) from error
        if after is None:
            raise try_again("FILLS_MISSING", "some executions have not arrived yet")
        return after.view

    async def _settle(
        self, question: OrderQuestion, found: BrokerOrder | None, calls: Sequence[BrokerCall]
    ) -> StoredOrder | None:
        """Take in the broker's last word and settle; None while executions are missing."""
        now = self._clock.instant(question.as_of)
        async with self._database.transaction("end.settled") as connection:
            locked = await lock_keyed(connection, question)
            order = locked.order
            if found is not None:
                order = await bring(locked, found, now=now, source="look-up at settlement")
            if not order.status.is_final:
                return order
            if OrderFlag.FILLS_MISSING in order.flags:
                return None
            step = Step(
                now=now,
                component=COMPONENT,
                decision=f"SETTLED_{order.status.value}",
                detail=f"{decimal_text(order.filled_quantity)} of {decimal_text(order.quantity)} filled",
                evidence=evidence(calls),
            )
            await clear_alert(
                connection, AlertCode.END_OF_DAY_UNCONFIRMED, _subject(order), component=COMPONENT, now=now
            )
            return await settle(replace(locked, order=order), step)

    async def _take_in_fills(self, found: BrokerOrder, question: OrderQuestion) -> None:
        """The executions that the stream did not bring."""
        now = self._clock.instant(question.as_of)
        for fill in await self._broker.get_fills(found.created_at - FILLS_OVERLAP):
            if fill.broker_order_id == found.broker_order_id:
                await take_in(self._database, fill, now=now, source="fill list")


def _subject(order: StoredOrder) -> str:
    return order.client_order_id or order.signal_id


def _unconfirmed(order: StoredOrder) -> Alert:
    rest = decimal_text(order.quantity - order.filled_quantity)
    return Alert(
        code=AlertCode.END_OF_DAY_UNCONFIRMED,
        severity=Severity.HIGH,
        subject=_subject(order),
        text=(
            f"the cancel of {rest} {order.ticker}, the rest of {order.client_order_id}, was not confirmed at the "
            "bell: it may still execute, its reservation stays. Look at the order at the broker"
        ),
        correlation_id=order.signal_id,
    )


def _not_there(order: StoredOrder) -> CancelReply:
    """Neither the cancel nor a look-up finds it."""
    return CancelReply(
        answer=CancelAnswer.UNKNOWN_ORDER,
        status=order.status,
        message=(
            f"the broker does not know its id {order.broker_order_id}; it stays open here until the "
            "reconciliation or a person has found out: look at the broker's own page"
        ),
    )


def _too_late(order: OrderView) -> CancelReply:
    filled = f"{decimal_text(order.filled_quantity)} of {decimal_text(order.quantity)}"
    told = f"with {filled} filled"
    if OrderFlag.FILLS_MISSING in order.flags:
        told = f"and some of its executions are still to be told, {filled} so far"
    message = f"it has ended as {order.status.value} {told}"
    return CancelReply(answer=CancelAnswer.TOO_LATE, status=order.status, message=message)
