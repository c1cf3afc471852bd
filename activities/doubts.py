"""Orders that the broker had shown and now denies: found again, or proved gone, never on a single 404."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from activities.evidence import take_in
from activities.resolution import ABSENCE_LOOKUPS, FATAL_AFTER, LISTING_MARGIN
from activities.verdicts import tell_not_at_broker
from broker import lifecycle
from broker.budget import NoToken, patiently
from broker.errors import BrokerError, NotFound
from broker.told import BrokerCall, evidence, hearing
from observability.logging import get_logger
from schemas.orders import BrokerOrder, OrderFlag
from schemas.wire import Leg
from storage import doubts as rows
from storage.orders import LockedOrder, find_order, lock_keyed, lock_order
from storage.placement import database_time
from storage.transitions import Step, advance, advance_or_tell, refuse

if TYPE_CHECKING:
    from activities.notifier import OrderNotifier
    from broker.port import BrokerReader
    from market.clock import MarketClock
    from storage.database import Database
    from storage.orders import StoredOrder

AT_ONCE_MAX: Final = 100
ORDERS_MAX: Final = 3
"""Asked for in one pass, twice each: of ten requests that come back between two passes new orders keep four."""
WAIT_MAX_SECONDS: Final = 20.0
"""For a request without which those before it would count for nothing."""
COMPONENT: Final = "BrokerWatcher"
REASON: Final = "NOT_AT_BROKER_ANY_MORE"
SOURCE: Final = "look-up of a denied order"

_log = get_logger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class _Denied:
    """An order that the broker denies, and the look-ups that say so."""

    order: rows.DoubtedOrder
    calls: list[BrokerCall]


class Doubts:
    """The proof of absence of section 3 for orders that have a broker id.

    Three look-ups by both ids, each followed by an account that is read, then, five minutes after the first, one
    more and the broker's own list. Safe to repeat and to run twice at once.
    """

    def __init__(
        self,
        database: "Database",
        broker: "BrokerReader",
        clock: "MarketClock",
        notifier: "OrderNotifier",
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._broker = broker
        self._clock = clock
        self._notifier = notifier
        self._now = now

    async def begin(self, *broker_order_ids: str) -> None:
        """The broker has denied these orders once: from now on they are pursued.

        Raises:
            BrokerError: the broker does not answer otherwise either, so its denials count for nothing.
        """
        with hearing() as calls:
            if broker_order_ids:
                with patiently(WAIT_MAX_SECONDS):
                    await self._broker.get_account()
        for broker_order_id in broker_order_ids:
            async with self._database.connection() as connection:
                ours = await find_order(connection, broker_order_id, "")
            if ours is not None:
                await self._count(*ours, calls=calls)

    async def pursue(self) -> None:
        """Ask for a few of the denied orders that are due.

        Raises:
            NoToken: no request was left for the rest; what was asked before counts.
            BrokerError: the broker could not be asked; what was not counted yet does not count.
            Exception: what one order failed of, after the others have had their turn.
        """
        failed: list[Exception] = []
        async with self._database.connection() as connection:
            since = await database_time(connection) - FATAL_AFTER
            due = await rows.doubted(connection, lookups=ABSENCE_LOOKUPS, since=since, limit=AT_ONCE_MAX)
        denied = await self._denied(due, failed)
        late = [
            each
            for each in denied
            if each.order.absent_lookups >= ABSENCE_LOOKUPS and each.order.absent_since <= since
        ]
        with patiently(WAIT_MAX_SECONDS):
            if denied:
                await self._broker.get_account()
            for each in denied:
                if each not in late:
                    await self._try(each.order, partial(self._count_again, each.calls), failed)
            with hearing() as listing:
                listed = (
                    await self._listed_since(min(each.order.first_post_at for each in late)) if late else ()
                )
        for each in late:
            await self._try(each.order, partial(self._judge, listed, [*each.calls, *listing]), failed)
        if failed:
            raise failed[0]

    async def _denied(self, due: Sequence[rows.DoubtedOrder], failed: list[Exception]) -> list[_Denied]:
        """Which of the first few are denied. One that fails takes no other's turn, nor does an empty budget."""
        denied: list[_Denied] = []
        asked = 0
        for order in due:
            try:
                with hearing() as calls:
                    is_denied = await self._try(order, self._is_denied, failed)
            except NoToken as none:
                failed.append(none)
                break
            if is_denied:
                denied.append(_Denied(order, calls))
            asked += is_denied is not None
            if asked == ORDERS_MAX:
                break
        return denied

    async def _try(
        self,
        order: rows.DoubtedOrder,
        step: Callable[[rows.DoubtedOrder], Awaitable[T]],
        failed: list[Exception],
    ) -> T | None:
        """One order that cannot be dealt with must not keep the others from their turn."""
        try:
            return await step(order)
        except BrokerError:
            raise
        except Exception as error:  # noqa: BLE001 - raised when the pass is over
            _log.error("denied order not pursued", client_order_id=order.client_order_id, reason=str(error))
            failed.append(error)
            return None

    async def _count_again(self, calls: Sequence[BrokerCall], order: rows.DoubtedOrder) -> None:
        await self._count(order.signal_id, order.leg, order.generation, calls=calls)

    async def _judge(
        self, listed: Sequence[BrokerOrder], calls: Sequence[BrokerCall], order: rows.DoubtedOrder
    ) -> None:
        for each in listed:
            if order.broker_order_id == each.broker_order_id or order.client_order_id == each.client_order_id:
                return await self._found(order, each)
        return await self._end(order, calls)

    async def _is_denied(self, order: rows.DoubtedOrder) -> bool:
        """Whether neither id is known; an order that is found is taken in and doubted no more."""
        found: BrokerOrder | None = None
        try:
            found = await self._broker.get_order_status(order.broker_order_id)
        except NotFound:
            try:
                # Given up between the two, the next pass would spend its first request in vain again.
                with patiently(WAIT_MAX_SECONDS):
                    found = await self._broker.get_order_by_client_id(order.client_order_id)
            except NotFound:
                return True
        await self._found(order, found)
        return False

    async def _found(self, order: rows.DoubtedOrder, found: BrokerOrder) -> None:
        now = self._now()
        taken = await take_in(self._database, found, now=now, source=SOURCE)
        async with self._database.transaction("doubts.forgotten") as connection:
            locked = await lock_keyed(connection, order)
            await rows.forget_denials(locked, now)
            known = locked.state.flags - {OrderFlag.OUTCOME_UNKNOWN}
            step = Step(
                now=now, component=COMPONENT, decision="FOUND_AGAIN", detail="the broker shows it again"
            )
            tell = advance_or_tell if locked.order.absent_lookups else advance
            after = await tell(locked, locked.state.model_copy(update={"flags": known}), step)
        await self._tell(after, news=taken is None or taken.news or after is not locked.order)

    async def _listed_since(self, first_post_at: datetime) -> Sequence[BrokerOrder]:
        """The broker's list of all orders since the oldest one's first POST: it holds the younger ones too."""
        await self._clock.ensure_reading()
        until = self._clock.at(self._now()) + LISTING_MARGIN
        return await self._broker.get_orders(after=first_post_at - LISTING_MARGIN, until=until)

    async def _count(self, signal_id: str, leg: Leg, generation: int, *, calls: Sequence[BrokerCall]) -> None:
        """One denial, stored; until the question is answered nobody knows whether the order stands."""
        now = self._now()
        async with self._database.transaction("doubts.denied") as connection:
            locked = await lock_order(connection, signal_id, leg, generation)
            if locked.order.settled or locked.order.status.is_final or locked.order.broker_order_id is None:
                return
            counted = await rows.note_denial(locked, database_now=await database_time(connection), now=now)
            flags = locked.state.flags | {OrderFlag.OUTCOME_UNKNOWN}
            step = Step(
                now=now,
                component=COMPONENT,
                decision="DENIED_BY_BROKER",
                detail=f"look-up {counted.absent_lookups}: the broker knows neither of its ids",
                evidence=evidence(calls),
            )
            after = await advance_or_tell(locked, locked.state.model_copy(update={"flags": flags}), step)
        _log.error("the broker no longer knows an order of ours", client_order_id=after.client_order_id)
        await self._tell(after, news=after.row_version != locked.order.row_version)

    async def _end(self, order: rows.DoubtedOrder, calls: Sequence[BrokerCall]) -> None:
        now = self._now()
        async with self._database.transaction("doubts.proved_absent") as connection:
            locked = await lock_keyed(connection, order)
            if locked.order.status.is_final or not _still_doubted(locked, order):
                return
            detail = (
                f"{locked.order.absent_lookups + 1} look-ups over {FATAL_AFTER} and the broker's own list"
            )
            step = Step(
                now=now,
                component=COMPONENT,
                decision="FATAL_ERROR",
                detail=f"{detail} know nothing of it",
                evidence=evidence(calls),
            )
            gone = lifecycle.apply(locked.state, lifecycle.Vanished(REASON))
            after = await refuse(locked, gone, step)
            await tell_not_at_broker(locked, after, detail, component=COMPONENT, now=now)
        await self._tell(after, news=True)

    async def _tell(self, order: "StoredOrder", *, news: bool) -> None:
        if news:
            await self._notifier.notify(order)


def _still_doubted(locked: LockedOrder, order: rows.DoubtedOrder) -> bool:
    current = locked.order
    return (current.broker_order_id, current.absent_since) == (order.broker_order_id, order.absent_since)
