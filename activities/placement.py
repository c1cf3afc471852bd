"""The execution agent's one dangerous step: an order is placed exactly once."""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from temporalio import activity

from activities.failures import as_failure, try_again
from activities.tries import uncancelled
from broker import lifecycle
from broker.errors import BrokerError, NothingSent, RateLimited
from risk.messages import UserMessage
from schemas import wire
from schemas.orders import BrokerOrder, OrderRequest
from schemas.risk import CheckName
from schemas.runs import OrderQuestion, PlaceAnswer, PlaceKind
from schemas.wire import client_order_id
from storage import placement as rows
from storage.orders import LockedOrder, StoredOrder, lock_order
from storage.risk import StoredDecision, read_decision, start_working, unknown_outcomes
from storage.signals import read_signal
from storage.transitions import Step, advance, audit, refuse

if TYPE_CHECKING:
    from broker.port import BrokerTrader
    from market.clock import MarketClock
    from observability.metrics import Metrics
    from storage.database import Connection, Database
    from storage.switches import Installation

PRE_TRADE_VALID_FOR: Final = timedelta(seconds=10)
SWITCH_READ_AGE_MAX_SECONDS: Final = 2.0
"""Monotonic. Past this a kill committed since might not have been seen: no POST."""
FENCE_RETRY: Final = timedelta(seconds=1)
COMPONENT: Final = "ExecutionAgent"


class FenceLost(Exception):
    """The switch was read too long ago, or its connection is gone: nothing is sent."""


@dataclass(frozen=True)
class _Intent:
    """A durable intent: what goes out, and how long ago the switch was read."""

    order: StoredOrder
    request: OrderRequest
    switch_read_at: float
    """Monotonic seconds."""
    received_at: datetime


class PlacementActivities:
    """Places orders. Only the execution worker builds one, because only it holds a ``BrokerTrader``."""

    def __init__(
        self,
        database: "Database",
        broker: "BrokerTrader",
        clock: "MarketClock",
        installation: "Installation",
        metrics: "Metrics",
    ) -> None:
        if installation.account is None:
            raise ValueError("the database is not bound to an account yet")
        self._database = database
        self._broker = broker
        self._clock = clock
        self._namespace = installation.namespace
        self._account = installation.account
        self._metrics = metrics

    @activity.defn(name=wire.ACTIVITY_PLACE_ORDER)
    async def place_order(self, question: OrderQuestion) -> PlaceAnswer:
        """Make one try to place the order, or say why none may be made.

        Idempotent: the intent is durable before the POST and carries an id computed from the signal. A try
        that finds an earlier POST without a proved fate sends nothing and answers UNKNOWN.

        Raises:
            ApplicationError: type KILL_PENDING, FENCE_LOST, ERR_NETWORK or ERR_RATE_LIMIT; nothing was sent.
        """
        return await uncancelled(self._try(question))

    async def _try(self, question: OrderQuestion) -> PlaceAnswer:
        async with self._database.fence_connection() as connection:
            if not await rows.take_fence(connection):
                raise try_again("KILL_PENDING", "the kill switch holds the fence", FENCE_RETRY)
            try:
                async with connection.transaction():
                    found = await self._intend(connection, question)
                if isinstance(found, PlaceAnswer):
                    return found
                return await self._post(connection, found)
            finally:
                if not connection.is_closed():
                    await rows.free_fence(connection)

    async def _intend(self, connection: "Connection", question: OrderQuestion) -> "_Intent | PlaceAnswer":
        """Read the switch, check all that may still refuse, and store the intent."""
        read_at = time.monotonic()
        switch = await rows.read_switch(connection)
        locked = await lock_order(connection, question.signal_id)
        order = locked.order
        if order.status.is_final:
            return PlaceAnswer(kind=PlaceKind.ENDED, order=order.view)
        if order.broker_order_id is not None:
            return PlaceAnswer(kind=PlaceKind.PLACED, order=order.view)
        now = self._clock.instant(question.as_of)
        if order.may_stand:
            return await self._unknown(locked, now, "an earlier try ended without an answer")
        signal = await read_signal(connection, question.signal_id)
        decision = await read_decision(connection, question.signal_id)
        reason = await self._refusal(locked, switch, decision, signal.proposal.valid_until, now)
        if reason is not None:
            return await self._refuse(locked, reason, now)
        if order.pre_trade_at is None or now - order.pre_trade_at > PRE_TRADE_VALID_FOR:
            return PlaceAnswer(kind=PlaceKind.RECHECK, order=order.view)
        assert decision is not None, "no refusal without a decision"
        if not await start_working(locked):
            return await self._refuse(locked, "RESERVATION_LAPSED", now)
        stored, request = await self._store_intent(locked, decision, now)
        return _Intent(stored, request, read_at, signal.received_at)

    async def _refusal(
        self,
        locked: LockedOrder,
        switch: rows.SwitchRow,
        decision: StoredDecision | None,
        valid_until: datetime,
        now: datetime,
    ) -> str | None:
        """Why this order may not leave, as far as rows can tell."""
        order = locked.order
        if order.cancel_requested_by is not None:
            return "CANCELED"
        if switch.engaged:
            return CheckName.KILL_SWITCH
        if decision is None or not decision.approved or decision.approval_id is None:
            return "NOT_APPROVED"
        if decision.kill_epoch != switch.epoch:
            return "APPROVED_BEFORE_KILL_SWITCH"
        if now > decision.expires_at:
            return CheckName.STALENESS
        if now > valid_until:
            return CheckName.SIGNAL_EXPIRED
        if order.action.opens and await unknown_outcomes(locked.connection, order.ticker):
            return CheckName.UNKNOWN_OUTCOME
        return None

    async def _refuse(self, locked: LockedOrder, reason: str, now: datetime) -> PlaceAnswer:
        fact: lifecycle.OwnFact = lifecycle.Refused(reason)
        if reason == "CANCELED":
            fact = lifecycle.Withdrawn("canceled before it was placed")
        step = Step(now=now, component=COMPONENT, decision="REFUSED", detail=f"not placed: {reason}")
        after = await refuse(locked, lifecycle.apply(locked.state, fact), step)
        return PlaceAnswer(kind=PlaceKind.ENDED, order=after.view)

    async def _store_intent(
        self, locked: LockedOrder, decision: StoredDecision, now: datetime
    ) -> tuple[StoredOrder, OrderRequest]:
        order = locked.order
        assert decision.approval_id is not None, "checked by _refusal"
        request = canonical_request(
            order,
            client_order_id(self._namespace, self._account, order.signal_id, order.leg, order.generation),
        )
        await rows.bind_approval(locked, decision.approval_id, request.client_order_id, now)
        step = Step(
            now=now,
            component=COMPONENT,
            decision="SUBMITTING",
            detail=f"POST {order.post_count + 1} as {request.client_order_id}",
            evidence={"request": request.model_dump(mode="json"), "approval_id": str(decision.approval_id)},
        )
        submitted = lifecycle.apply(locked.state, lifecycle.Submitted())
        await advance(locked, submitted, step)
        stored = await rows.write_intent(locked, request, market_now=self._clock.at(now), now=now)
        if submitted == locked.state:
            await audit(locked, stored, step, ())
        return stored, request

    async def _post(self, connection: "Connection", intent: _Intent) -> PlaceAnswer:
        """Send once and store the answer."""

        def guard() -> None:
            age = time.monotonic() - intent.switch_read_at
            if connection.is_closed() or age >= SWITCH_READ_AGE_MAX_SECONDS:
                raise FenceLost(f"the kill switch was read {age:.1f} s ago")

        try:
            placed = await self._broker.place_order(intent.request, before_send=guard)
        except FenceLost as lost:
            await self._take_back(connection, intent, "FENCE_LOST", str(lost))
            raise try_again("FENCE_LOST", str(lost)) from lost
        except (NothingSent, RateLimited) as error:
            await self._take_back(connection, intent, error.code, error.message)
            raise as_failure(error) from error
        except BrokerError as error:
            return await self._failed(connection, intent, error)
        return await self._accepted(connection, intent, placed)

    async def _accepted(self, connection: "Connection", intent: _Intent, placed: BrokerOrder) -> PlaceAnswer:
        now = self._clock.instant(intent.received_at)
        step = Step(
            now=now,
            component=COMPONENT,
            decision="ACCEPTED",
            detail=f"the broker accepted it as {placed.broker_order_id}, {placed.raw_status}",
            evidence={"broker": placed.model_dump(mode="json")},
            answers_post=True,
        )
        async with connection.transaction():
            locked = await lock_order(connection, intent.order.signal_id)
            after = await advance(locked, lifecycle.apply(locked.state, placed), step)
        self._metrics.order_submitted((now - intent.received_at).total_seconds() * 1000)
        return PlaceAnswer(kind=PlaceKind.PLACED, order=after.view)

    async def _failed(self, connection: "Connection", intent: _Intent, error: BrokerError) -> PlaceAnswer:
        """The broker's no ends the order; everything else leaves it unknown."""
        now = self._clock.instant(intent.received_at)
        async with connection.transaction():
            locked = await lock_order(connection, intent.order.signal_id)
            if not error.refusal:
                return await self._unknown(locked, now, f"{error.code}: {error.message}")
            step = Step(
                now=now,
                component=COMPONENT,
                decision="REJECTED_BY_BROKER",
                detail=f"{error.code}: {error.message}",
                evidence={"http_status": error.http_status, "request_id": error.request_id},
                user_message=error.message,
                answers_post=True,
            )
            after = await refuse(locked, lifecycle.apply(locked.state, lifecycle.Refused(error.code)), step)
        return PlaceAnswer(kind=PlaceKind.ENDED, order=after.view)

    async def _unknown(self, locked: LockedOrder, now: datetime, detail: str) -> PlaceAnswer:
        step = Step(
            now=now,
            component=COMPONENT,
            decision="OUTCOME_UNKNOWN",
            detail=detail,
            user_message=UserMessage.NETWORK_TIMEOUTS,
            answers_post=True,
        )
        after = await advance(locked, lifecycle.apply(locked.state, lifecycle.OutcomeUnknown()), step)
        kind = PlaceKind.UNKNOWN
        if after.broker_order_id is not None:
            kind = PlaceKind.PLACED
        return PlaceAnswer(kind=kind, order=after.view)

    async def _take_back(self, connection: "Connection", intent: _Intent, code: str, message: str) -> None:
        """No byte was sent, or the broker refused it unread: this was not a POST."""
        now = self._clock.instant(intent.received_at)
        async with connection.transaction():
            locked = await lock_order(connection, intent.order.signal_id)
            after = await rows.write_not_sent(locked, now)
            step = Step(now=now, component=COMPONENT, decision="NOT_SENT", detail=f"{code}: {message}")
            await audit(locked, after, step, ())


def canonical_request(order: StoredOrder, order_id: str) -> OrderRequest:
    """The order exactly as it goes out. A MARKET signal leaves as a limit at the approved worst price."""
    assert order.limit_price is not None, "an approved order has its worst price"
    return OrderRequest(
        internal_order_id=str(order.internal_order_id),
        client_order_id=order_id,
        ticker=order.ticker,
        action=order.action,
        order_type=order.order_type,
        time_in_force=order.time_in_force,
        quantity=order.quantity,
        limit_price=order.limit_price,
        extended_hours=order.extended_hours,
    )
