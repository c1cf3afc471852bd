"""Finding out what became of a POST whose answer was lost. Reads only: no fence, no approval."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from temporalio import activity

from activities.absence import Answering, NotFoundYet
from activities.crowd import Crowd
from activities.failures import RATE_LIMIT_PAUSE, as_failure, ask_again, try_again
from activities.identity import conflict_in, stop_everything
from activities.verdicts import tell_not_at_broker
from broker import lifecycle
from broker.budget import NoToken
from broker.errors import BrokerError, NotFound
from broker.told import BrokerCall, evidence, hearing
from schemas import wire
from schemas.orders import BrokerOrder, OrderFlag
from schemas.runs import OrderQuestion, ResolveAnswer, ResolveKind
from storage import placement as rows
from storage.orders import LockedOrder, StoredOrder, lock_keyed, read_keyed, restore_reservation
from storage.transitions import Step, advance, audit, refuse

if TYPE_CHECKING:
    from temporalio.exceptions import ApplicationError

    from broker.port import BrokerReader
    from market.clock import MarketClock
    from storage.database import Database

COMPONENT: Final = "ExecutionAgent"

ABSENCE_WAIT: Final = timedelta(seconds=30)
"""After the last POST's deadline, before a 404 counts towards the proof of absence."""
ABSENCE_LOOKUPS: Final = 3
FATAL_AFTER: Final = timedelta(minutes=5)
"""After the last allowed POST the proof of absence must hold over this long."""
LISTING_MARGIN: Final = timedelta(seconds=60)
"""How far around our first POST the broker's list of orders is searched."""
CONFLICT_ASK_SECONDS: Final = 300.0
"""A person must look into an order under our id that is not ours; asking often changes nothing."""
TAKEN_ASK_SECONDS: Final = 10.0
"""Until an order that the broker says it holds can be found there."""
FIRST_ASK_SECONDS: Final = 1.0
ASK_SECONDS_MAX: Final = 10.0


class ResolutionActivities:
    """Looks up orders whose outcome is unknown until proof ends the question."""

    def __init__(self, database: "Database", broker: "BrokerReader", clock: "MarketClock") -> None:
        self._database = database
        self._broker = broker
        self._clock = clock
        self._answering = Answering(broker)
        self._not_found = NotFoundYet()
        self._waiting = Crowd()

    @activity.defn(name=wire.ACTIVITY_RESOLVE_ORDER)
    async def resolve_order(self, question: OrderQuestion) -> ResolveAnswer:
        """Look the order up once and store what that proves.

        Idempotent: it only reads at the broker; evidence of absence is counted on the row and only while no
        further POST was made.

        Raises:
            ApplicationError: the broker could not be asked (its code); ask again.
        """
        async with self._database.connection() as connection:
            order = await read_keyed(connection, question)
        if order.broker_order_id is not None:
            return ResolveAnswer(kind=ResolveKind.FOUND, order=order.view)
        if order.status.is_final:
            return ResolveAnswer(kind=ResolveKind.ENDED, order=order.view)
        if not order.may_stand or order.client_order_id is None:
            return ResolveAnswer(kind=ResolveKind.ABSENT, order=order.view)
        with hearing() as calls:
            try:
                if self._not_found.get(order.internal_order_id, order.post_count) is not None:
                    return await self._absent(order, question, calls)
                try:
                    found = await self._broker.get_order_by_client_id(order.client_order_id)
                except NotFound:
                    return await self._absent(order, question, calls)
            except NoToken as none:
                raise self._when_there_is_one(none, order) from none
            except BrokerError as error:
                raise ask_again(error) from error
        self._waiting.remove(str(order.internal_order_id))
        return await self._adopt(order, found, question, calls)

    def _when_there_is_one(self, none: NoToken, order: StoredOrder) -> "ApplicationError":
        """Many lost answers come at once: their look-ups must not."""
        self._waiting.add(str(order.internal_order_id))
        return try_again(
            none.code,
            none.message,
            self._waiting.spread(as_failure(none).next_retry_delay or RATE_LIMIT_PAUSE),
        )

    async def _adopt(
        self, order: StoredOrder, found: BrokerOrder, question: OrderQuestion, calls: list[BrokerCall]
    ) -> ResolveAnswer:
        now = self._clock.instant(question.as_of)
        async with self._database.transaction("resolution.adopted") as connection:
            locked = await lock_keyed(connection, order)
            conflict = conflict_in(locked, found)
            if conflict is not None:
                await stop_everything(locked, found, conflict, now)
                return ResolveAnswer(
                    kind=ResolveKind.UNKNOWN,
                    order=locked.order.view,
                    ask_again_seconds=CONFLICT_ASK_SECONDS,
                )
            step = Step(
                now=now,
                component=COMPONENT,
                decision="ADOPTED",
                detail=f"found at the broker as {found.broker_order_id}, {found.raw_status}",
                evidence={"broker": found.model_dump(mode="json"), **evidence(calls)},
                answers_post=True,
            )
            after = await advance(locked, lifecycle.apply(locked.state, lifecycle.Adopted(found)), step)
            if locked.order.settled and not after.settled:
                await restore_reservation(locked, after.quantity - after.filled_quantity)
        return ResolveAnswer(kind=ResolveKind.FOUND, order=after.view)

    async def _absent(
        self, order: StoredOrder, question: OrderQuestion, calls: list[BrokerCall]
    ) -> ResolveAnswer:
        """One 404. It counts only late enough, with a broker that answers, and never alone.

        Where the broker once said that it holds an order under our id, no 404 counts: look until it is found.

        Raises:
            BrokerError: it counts with the next try.
        """
        this = order.internal_order_id, order.post_count
        if order.id_taken or order.identity_conflict is not None:
            self._not_found.drop(*this)
            await self._flag_unknown(order, question)
            return ResolveAnswer(
                kind=ResolveKind.UNKNOWN, order=order.view, ask_again_seconds=TAKEN_ASK_SECONDS
            )
        async with self._database.connection() as connection:
            database_now = await rows.database_time(connection)
        assert order.posting_deadline is not None, "a POST has a deadline"
        countable_at = order.posting_deadline + ABSENCE_WAIT
        if database_now < countable_at:
            await self._flag_unknown(order, question)
            return self._ask_again(order, database_now, countable_at)
        not_found_at = self._not_found.get(*this) or self._not_found.put(*this)
        lookups, proved = order.absent_lookups + 1, False
        await self._answering.since(not_found_at)
        if lookups >= ABSENCE_LOOKUPS and _may_be_proved(order, database_now):
            listed = await self._listed(order, question)
            if listed is not None:
                return await self._adopt(order, listed, question, calls)
            proved = True
        self._not_found.drop(*this)
        self._waiting.remove(str(order.internal_order_id))
        return await self._store_absence(order, question, lookups, calls, proved=proved)

    def _ask_again(self, order: StoredOrder, database_now: datetime, countable_at: datetime) -> ResolveAnswer:
        """Often at first, since most lost answers belong to orders that landed; then more and more rarely."""
        assert order.posting_deadline is not None
        since_post = database_now - (order.posting_deadline - timedelta(seconds=rows.POSTING_SECONDS))
        pause = min(max(FIRST_ASK_SECONDS, since_post.total_seconds() / 2), ASK_SECONDS_MAX)
        until_countable = (countable_at - database_now).total_seconds()
        return ResolveAnswer(
            kind=ResolveKind.UNKNOWN,
            order=order.view,
            ask_again_seconds=max(0.1, min(pause, until_countable)),
        )

    async def _listed(self, order: StoredOrder, question: OrderQuestion) -> BrokerOrder | None:
        """The order in the broker's list of all orders over the time of the first POST."""
        assert order.first_post_at is not None, "a POST has a time"
        await self._clock.ensure_reading()
        until = self._clock.at(self._clock.instant(question.as_of)) + LISTING_MARGIN
        listed = await self._broker.get_orders(after=order.first_post_at - LISTING_MARGIN, until=until)
        return next((each for each in listed if each.client_order_id == order.client_order_id), None)

    async def _flag_unknown(self, order: StoredOrder, question: OrderQuestion) -> None:
        """Make it visible that nobody knows, whoever noticed first."""
        now = self._clock.instant(question.as_of)
        step = Step(
            now=now,
            component=COMPONENT,
            decision="OUTCOME_UNKNOWN",
            detail="not found yet",
            answers_post=False,
        )
        async with self._database.transaction("resolution.unknown") as connection:
            locked = await lock_keyed(connection, order)
            await advance(locked, lifecycle.apply(locked.state, lifecycle.OutcomeUnknown()), step)

    async def _store_absence(
        self,
        order: StoredOrder,
        question: OrderQuestion,
        lookups: int,
        calls: list[BrokerCall],
        *,
        proved: bool,
    ) -> ResolveAnswer:
        now = self._clock.instant(question.as_of)
        async with self._database.transaction("resolution.absence") as connection:
            locked = await lock_keyed(connection, order)
            current = locked.order
            if current.post_count != order.post_count or current.broker_order_id is not None:
                return ResolveAnswer(kind=ResolveKind.UNKNOWN, order=current.view, ask_again_seconds=1.0)
            database_now = await rows.database_time(connection)
            since = current.absent_since or database_now
            last_post = _is_last_post(current)
            after = await rows.write_absence(locked, lookups=lookups, since=since, proved=proved, now=now)
            if not proved:
                detail = (
                    f"look-up {lookups} finds nothing: {ABSENCE_LOOKUPS} and the broker's list are the proof"
                )
                step = Step(
                    now=now,
                    component=COMPONENT,
                    decision="NOT_FOUND",
                    detail=detail,
                    evidence=evidence(calls),
                )
                await audit(locked, after, step)
                # The last POST's proof takes minutes: asking each second would prove it no sooner.
                pause = ASK_SECONDS_MAX if last_post and lookups >= ABSENCE_LOOKUPS else FIRST_ASK_SECONDS
                return ResolveAnswer(kind=ResolveKind.UNKNOWN, order=after.view, ask_again_seconds=pause)
            return await self._proved(locked, now, calls, last_post=last_post)

    async def _proved(
        self, locked: LockedOrder, now: datetime, calls: list[BrokerCall], *, last_post: bool
    ) -> ResolveAnswer:
        """No POST stands at the broker: the order may be sent again, or has failed for good."""
        detail = f"{ABSENCE_LOOKUPS} look-ups and the broker's own list know nothing of it"
        if last_post:
            step = Step(
                now=now,
                component=COMPONENT,
                decision="FATAL_ERROR",
                detail=detail,
                evidence=evidence(calls),
                answers_post=True,
            )
            fatal = lifecycle.Fatal("NOT_AT_BROKER_AFTER_ALL_TRIES")
            after = await refuse(locked, lifecycle.apply(locked.state, fatal), step)
            await tell_not_at_broker(locked, after, detail, component=COMPONENT, now=now)
            return ResolveAnswer(kind=ResolveKind.ENDED, order=after.view)
        step = Step(
            now=now,
            component=COMPONENT,
            decision="PROVED_ABSENT",
            detail=detail,
            evidence=evidence(calls),
            answers_post=True,
        )
        known = locked.state.flags - {OrderFlag.OUTCOME_UNKNOWN}
        after = await advance(locked, locked.state.model_copy(update={"flags": known}), step)
        return ResolveAnswer(kind=ResolveKind.ABSENT, order=after.view)


def _is_last_post(order: StoredOrder) -> bool:
    return order.post_count >= rows.POSTS_MAX


def _may_be_proved(order: StoredOrder, database_now: datetime) -> bool:
    """Before the last POST the third look-up is enough; after it absence must have lasted."""
    if not _is_last_post(order):
        return True
    return order.absent_since is not None and database_now - order.absent_since >= FATAL_AFTER
