"""The execution agent's one dangerous step: an order is placed exactly once."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from temporalio import activity

from activities import approvals, legs
from activities.failures import as_failure, try_again
from activities.funds import refused_by_broker
from activities.gate import Permit, PlacementGate, refuse_unsent, say
from activities.identity import difference
from activities.leave import refusal
from activities.live import NOT_PERMITTED
from activities.requests import canonical_request
from activities.tries import uncancelled
from broker import lifecycle
from broker.budget import BudgetUnavailable
from broker.errors import BrokerError, DuplicateOrder, NothingSent, RateLimited
from broker.permit import LiveNotPermitted
from broker.told import BrokerCall, evidence, hearing
from risk.messages import UserMessage
from risk.readiness import waits_for
from schemas import wire
from schemas.approvals import ApprovalRefused
from schemas.mode import Mode
from schemas.orders import BrokerOrder, OrderRequest
from schemas.runs import OrderQuestion, PlaceAnswer, PlaceKind
from schemas.wire import Leg, client_order_id
from storage import placement as rows
from storage.commits import committing
from storage.orders import LockedOrder, StoredOrder, lock_keyed
from storage.protection import lacks_shares
from storage.reconciliation import read_readiness
from storage.transitions import Step, advance, advance_or_tell, announce, audit

if TYPE_CHECKING:
    from activities.live import LiveGuard
    from broker.budget import BrokerBudget
    from broker.permit import LivePermit
    from broker.port import BrokerTrader
    from market.clock import MarketClock
    from observability.metrics import Metrics
    from storage.database import Connection, Database
    from storage.switches import Installation

PRE_TRADE_VALID_FOR: Final = timedelta(seconds=10)
SWITCH_READ_AGE_MAX_SECONDS: Final = 2.0
"""Monotonic. Past this a kill committed since might not have been seen: no POST."""
FENCE_RETRY: Final = timedelta(seconds=1)
RECONCILED_RETRY: Final = timedelta(seconds=1)
"""While the books are not known to be the broker's, orders wait; what is too old by then is refused."""
SHARES_RETRY: Final = timedelta(seconds=0.5)
"""A closing order waits until the protective stop has let go of its shares."""
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
    leave: "LivePermit | None"
    """To send it to the live brokerage."""


class PlacementActivities:
    """Places orders. Only the execution worker builds one, because only it holds a ``BrokerTrader``."""

    def __init__(
        self,
        database: "Database",
        broker: "BrokerTrader",
        clock: "MarketClock",
        installation: "Installation",
        metrics: "Metrics",
        budget: "BrokerBudget",
        approval_keys: approvals.Keys,
        live: "LiveGuard | None" = None,
    ) -> None:
        """``live`` is asked before each order of a live installation; None: it is paper."""
        if installation.account is None:
            raise ValueError("the database is not bound to an account yet")
        if (installation.mode == Mode.LIVE) is (live is None):
            raise ValueError("who places at the live brokerage has somebody to ask, and nobody else")
        self._database = database
        self._broker = broker
        self._clock = clock
        self._installation = installation
        self._account = installation.account
        self._approval_keys = approval_keys
        self._live = live
        self._metrics = metrics
        self._gate = PlacementGate(database, budget, clock, refusal=refusal)

    @activity.defn(name=wire.ACTIVITY_PLACE_ORDER)
    async def place_order(self, question: OrderQuestion) -> PlaceAnswer:
        """Make one try to place the order, or say why none may be made.

        Idempotent: the intent is durable before the POST and carries an id computed from the signal. A try
        that finds an earlier POST without a proved fate sends nothing and answers UNKNOWN.

        Raises:
            ApplicationError: type NO_SLOT, KILL_PENDING, NOT_RECONCILED, BROKER_HALT, CLOCK_SKEW, FENCE_LOST,
                LIVE_NOT_PERMITTED, ERR_NETWORK or ERR_RATE_LIMIT; nothing was sent.
        """
        try:
            permit = await self._gate.enter(question)
        except BudgetUnavailable as error:
            raise as_failure(error) from error
        if isinstance(permit, PlaceAnswer):
            return permit
        try:
            return await uncancelled(self._try(question, permit))
        except rows.NoFenceConnection as error:
            raise try_again("NO_SLOT", "every placement slot is taken", FENCE_RETRY) from error
        finally:
            await self._gate.leave(permit)

    async def _try(self, question: OrderQuestion, permit: Permit) -> PlaceAnswer:
        async with self._database.fence_connection() as connection:
            if not await rows.take_fence(connection):
                raise try_again("KILL_PENDING", "the kill switch holds the fence", FENCE_RETRY)
            try:
                try:
                    async with committing(connection, "placement.intent"):
                        found = await self._intend(connection, question, permit)
                except rows.IntentRefused as refused:
                    async with committing(connection, "placement.intent_refused"):
                        locked = await lock_keyed(connection, question)
                        now = self._clock.instant(question.as_of)
                        # The lock went with the rollback: another try may have sent it meanwhile.
                        return await self._beyond(locked, now) or await refuse_unsent(
                            locked, str(refused), now, refused.why, user_message=refused.user_message
                        )
                if isinstance(found, PlaceAnswer):
                    return found
                return await self._post(connection, found, permit)
            finally:
                if not connection.is_closed():
                    await rows.free_fence(connection)

    async def _intend(
        self, connection: "Connection", question: OrderQuestion, permit: Permit
    ) -> "_Intent | PlaceAnswer":
        """Read the switch, check all that may still refuse, and store the intent."""
        locked = await lock_keyed(connection, question)
        order = locked.order
        now = self._clock.instant(question.as_of)
        if (beyond := await self._beyond(locked, now)) is not None:
            return beyond
        read_at = time.monotonic()
        basis = await rows.read_basis(locked, self._clock.wall())
        reason = refusal(order, basis, now)
        if reason is not None:
            return await refuse_unsent(locked, reason, now)
        leave = None if self._live is None else await self._live.permit(locked, now)
        own_id = client_order_id(
            self._installation.namespace, self._account, order.signal_id, order.leg, order.generation
        )
        request = canonical_request(order, own_id)
        unapproved = await self._unapproved(locked, basis, request, now)
        if unapproved is not None:
            return unapproved
        waits = waits_for(await read_readiness(connection), now)
        if waits is not None:
            raise try_again("NOT_RECONCILED", f"{waits}; see `trading reconcile --list`", RECONCILED_RETRY)
        if not order.action.opens and order.leg is Leg.ENTRY:
            lacks = await lacks_shares(locked)
            if lacks is not None and lacks.refusal is not None:
                return await refuse_unsent(locked, lacks.refusal, now, lacks.why)
            if lacks is not None:
                raise try_again("SHARES_HELD", lacks.why, SHARES_RETRY)
        if permit.share is None:
            raise try_again("ERR_RATE_LIMIT", "it may be sent after all: a token first", FENCE_RETRY)
        # A time that is yet to come proves nothing either.
        checked = (
            order.pre_trade_at is not None and timedelta(0) <= now - order.pre_trade_at <= PRE_TRADE_VALID_FOR
        )
        if order.leg is Leg.ENTRY and not checked:
            return PlaceAnswer(kind=PlaceKind.RECHECK, order=order.view)
        assert basis.approval_id is not None, "no approval is a refusal"
        stored = await self._store_intent(locked, request, basis.approval_id, now)
        return _Intent(stored, request, read_at, basis.received_at, leave)

    async def _beyond(self, locked: LockedOrder, now: datetime) -> PlaceAnswer | None:
        """What an order has come to of which nothing is to be sent, nor refused; None: it may be either."""
        order = locked.order
        if order.status.is_final:
            return PlaceAnswer(kind=PlaceKind.ENDED, order=order.view)
        if order.broker_order_id is not None:
            return PlaceAnswer(kind=PlaceKind.PLACED, order=order.view)
        if not order.may_stand:
            return None
        # That try may still be sending: its POST stays open until its own answer or its deadline.
        return await self._unknown(locked, now, "an earlier try has no answer yet", answers_post=False)

    async def _unapproved(
        self, locked: LockedOrder, basis: rows.PlacementBasis, request: OrderRequest, now: datetime
    ) -> PlaceAnswer | None:
        """None where ``request`` is what risk has signed; else the order is ended and somebody woken."""
        is_leg = locked.order.leg is not Leg.ENTRY
        if is_leg:
            doubt = await legs.doubt(locked, self._clock.at(now), approvals.exit_collar(basis.approval))
            if doubt is not None and doubt.refusal is not None:
                return await legs.unapproved(locked, doubt.refusal, doubt.why, now)
            if doubt is not None:
                return PlaceAnswer(kind=PlaceKind.RECHECK, order=locked.order.view)
        try:
            approvals.verify(locked, basis, request, self._approval_keys, self._installation)
        except ApprovalRefused as refused:
            await approvals.tell(locked, refused, component=COMPONENT, now=now)
            if is_leg:
                return await legs.unapproved(locked, refused.fault, str(refused), now)
            message = refused.fault.user_message
            return await refuse_unsent(locked, refused.fault, now, str(refused), user_message=message)
        return None

    async def _store_intent(
        self, locked: LockedOrder, request: OrderRequest, approval_id: UUID, now: datetime
    ) -> StoredOrder:
        # Nothing of ours can be older than this: the workflow's instant may be ahead, and would be too late.
        stored = await rows.write_intent(
            locked, request, approval_id, market_now=self._clock.earliest(), now=now
        )
        step = Step(
            now=now,
            component=COMPONENT,
            decision="SUBMITTING",
            detail=f"POST {stored.post_count} as {request.client_order_id}",
            evidence={
                "post": stored.post_count,
                "request": request.model_dump(mode="json"),
                "approval_id": str(approval_id),
            },
            references=(f"approval {approval_id}",),
        )
        await announce(locked, stored, step)
        return stored

    async def _post(self, connection: "Connection", intent: _Intent, permit: Permit) -> PlaceAnswer:
        """Send once and store the answer."""

        def guard() -> None:
            age = time.monotonic() - intent.switch_read_at
            if connection.is_closed() or age >= SWITCH_READ_AGE_MAX_SECONDS:
                raise FenceLost(f"the kill switch was read {age:.1f} s ago")
            permit.spent = True

        with hearing() as calls:
            try:
                sending = self._broker.place_order(intent.request, before_send=guard, permit=intent.leave)
                placed = await self._gate.hear(permit, sending)
            except FenceLost as lost:
                await self._take_back(connection, intent, "FENCE_LOST", str(lost), calls)
                raise try_again("FENCE_LOST", str(lost)) from lost
            except LiveNotPermitted as stale:
                # Nobody at the broker has said no: the next try asks for leave anew.
                permit.spent = False
                await self._take_back(connection, intent, NOT_PERMITTED, stale.message, calls)
                raise try_again(NOT_PERMITTED, stale.message, FENCE_RETRY) from stale
            except (NothingSent, RateLimited) as error:
                await self._take_back(connection, intent, error.code, error.message, calls)
                raise as_failure(error) from error
            except BrokerError as error:
                return await self._failed(connection, intent, error, calls)
        return await self._accepted(connection, intent, placed, calls)

    async def _accepted(
        self, connection: "Connection", intent: _Intent, placed: BrokerOrder, calls: list[BrokerCall]
    ) -> PlaceAnswer:
        now = self._clock.instant(intent.received_at)
        step = Step(
            now=now,
            component=COMPONENT,
            decision="ACCEPTED",
            detail=f"the broker accepted it as {placed.broker_order_id}, {placed.raw_status}",
            evidence={
                "post": intent.order.post_count,
                "broker": placed.model_dump(mode="json"),
                **evidence(calls),
            },
            answers_post=True,
        )
        async with committing(connection, "placement.accepted"):
            locked = await lock_keyed(connection, intent.order)
            if difference(intent.request, placed, None) is not None:
                # Not the order that was sent: the look-up decides whether it is ours.
                told = "the broker answered with another order"
                return await self._unknown(locked, now, told, calls=calls, broker=placed)
            # The update stream may have shown it before: what the POST itself came to is told all the same.
            after = await advance_or_tell(locked, lifecycle.apply(locked.state, placed), step)
        self._metrics.order_submitted((now - intent.received_at).total_seconds() * 1000)
        return PlaceAnswer(kind=PlaceKind.PLACED, order=after.view)

    async def _failed(
        self, connection: "Connection", intent: _Intent, error: BrokerError, calls: list[BrokerCall]
    ) -> PlaceAnswer:
        """The broker's no ends the order; everything else leaves it unknown."""
        now = self._clock.instant(intent.received_at)
        async with committing(connection, "placement.failed"):
            locked = await lock_keyed(connection, intent.order)
            if locked.order.post_count != intent.order.post_count:
                # A later try has taken over: this late answer is about an older POST.
                await audit(locked, locked.order, _late(intent, error, calls, now))
                return PlaceAnswer(kind=PlaceKind.UNKNOWN, order=locked.order.view)
            if isinstance(error, DuplicateOrder):
                await rows.mark_taken(locked, now)
            if not error.refusal:
                return await self._unknown(locked, now, f"{error.code}: {error.message}", calls=calls)
            if locked.order.leg is not Leg.ENTRY:
                return PlaceAnswer(
                    kind=PlaceKind.RECHECK, order=await legs.refused(locked, error, calls, now)
                )
            after = await refused_by_broker(locked, error, calls, now)
        kind = PlaceKind.ENDED if after.status.is_final else PlaceKind.PLACED
        return PlaceAnswer(kind=kind, order=after.view)

    async def _unknown(
        self,
        locked: LockedOrder,
        now: datetime,
        detail: str,
        *,
        answers_post: bool = True,
        calls: Sequence[BrokerCall] = (),
        broker: BrokerOrder | None = None,
    ) -> PlaceAnswer:
        step = Step(
            now=now,
            component=COMPONENT,
            decision="OUTCOME_UNKNOWN",
            detail=detail,
            evidence={
                "post": locked.order.post_count,
                **({} if broker is None else {"broker": broker.model_dump(mode="json")}),
                **evidence(calls),
            },
            user_message=UserMessage.NETWORK_TIMEOUTS,
            answers_post=answers_post,
        )
        move = advance_or_tell if calls else advance
        after = await move(locked, lifecycle.apply(locked.state, lifecycle.OutcomeUnknown()), step)
        kind = PlaceKind.UNKNOWN
        if after.broker_order_id is not None:
            kind = PlaceKind.PLACED
        return PlaceAnswer(kind=kind, order=after.view)

    async def _take_back(
        self, connection: "Connection", intent: _Intent, code: str, message: str, calls: list[BrokerCall]
    ) -> None:
        """No byte was sent, or the broker refused it unread: this was not a POST."""
        now = self._clock.instant(intent.received_at)
        async with committing(connection, "placement.taken_back"):
            locked = await lock_keyed(connection, intent.order)
            after = await rows.write_not_sent(locked, intent.order.post_count, now)
            told = {"post": intent.order.post_count, "code": code, **evidence(calls)}
            step = Step(
                now=now, component=COMPONENT, decision="NOT_SENT", detail=f"{code}: {message}", evidence=told
            )
            await audit(locked, after, step)
            if code == RateLimited.code:
                await say(locked, UserMessage.RATE_LIMITING, now, message)


def _late(intent: _Intent, error: BrokerError, calls: list[BrokerCall], now: datetime) -> Step:
    """The answer to a POST that a later try had given up on."""
    return Step(
        now=now,
        component=COMPONENT,
        decision="LATE_ANSWER",
        detail=f"of POST {intent.order.post_count}, which another has followed: {error.code}: {error.message}",
        evidence={"post": intent.order.post_count, **evidence(calls)},
    )
