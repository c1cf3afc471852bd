"""The cancel sweep of the kill switch: run by its workflow, and by the watchers when Temporal is down."""

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from broker.errors import BrokerError, NotFound
from schemas.kill import KillScope, KillState, OrderFate
from schemas.orders import BrokerOrder, OrderStatus
from schemas.wire import Leg
from storage import switches as rows
from storage.orders import StoredOrder, find_by_client_id, find_order, read_order
from storage.placement import unanswered_posts

if TYPE_CHECKING:
    from broker.port import BrokerReader
    from storage.database import Database

UNANSWERED_GRACE_SECONDS: Final = 5.0
"""After a POST's deadline: two clocks' worth of doubt before it is taken as gone."""
FENCE_POLL_SECONDS: Final = 0.1
FENCE_WAIT_MAX_SECONDS: Final = 30.0
"""A POST's deadline (15 s), its grace (5 s) and room: past this the sweep goes on and stays unconfirmed."""
LOOK_FIRST_SECONDS: Final = 1.0
"""A list that takes longer must not keep the cancel from leaving."""
CONFIRM_POLL_SECONDS: Final = 0.25
CONFIRM_WAIT_MAX_SECONDS: Final = 20.0
LISTING_MARGIN: Final = timedelta(seconds=60)

_FATE_OF_RAW: Final = {
    "filled": OrderFate.FILLED,
    "canceled": OrderFate.CANCELED,
    "expired": OrderFate.CANCELED,
    "rejected": OrderFate.CANCELED,
    "replaced": OrderFate.CANCELED,
}


class KillSweeper:
    """Cancels what is open, waits until no earlier POST can still leave, and looks again."""

    def __init__(self, database: "Database", broker: "BrokerReader", *, now: Callable[[], datetime]) -> None:
        self._database = database
        self._broker = broker
        self._now = now

    async def sweep(self, *, beat: Callable[[str], None]) -> KillState:
        """One whole sweep, stored with every order's fate. Safe to repeat and to run twice at once.

        Raises:
            BrokerError: the broker could not be asked; nothing is stored, sweep again.
        """
        state = await self._read()
        if not state.engaged:
            return state
        beat("first cancel")
        seen = await self._cancel_open(state.scope)
        fence_free = await self._wait_for_fence(beat)
        beat("second cancel")
        seen |= await self._cancel_open(state.scope)
        fates = await self._confirm(seen, state.scope, beat)
        earlier = {
            order_id: await self._fate_since(order_id, fate)
            for order_id, fate in state.fates.items()
            if fate not in _ENDED and order_id not in fates
        }
        fates = {**state.fates, **earlier, **fates}
        confirmed = fence_free and all(fate in _ENDED for fate in fates.values())
        return await self._store(state, fates, confirmed=confirmed)

    async def _read(self) -> KillState:
        async with self._database.connection() as connection:
            return await rows.read_state(connection)

    async def _cancel_open(self, scope: KillScope) -> dict[str, BrokerOrder]:
        """Ask to cancel everything in scope; the orders by broker id.

        Raises:
            BrokerError: the broker did not take the cancels, or nobody can say what is open.
        """
        if scope is KillScope.ALL:
            return await self._cancel_all()
        orders = await self._in_scope(await self._broker.get_open_orders(), scope)
        # One order that takes no cancel now (pending_replace) must not shield the others.
        asked = (self._broker.cancel_order(each.broker_order_id) for each in orders)
        await asyncio.gather(*asked, return_exceptions=True)
        return _by_id(orders)

    async def _cancel_all(self) -> dict[str, BrokerOrder]:
        """Look for as long as it is quick, so that fates can be named; cancel whatever the look came to."""
        look = asyncio.create_task(self._look())
        await asyncio.wait((look,), timeout=LOOK_FIRST_SECONDS)
        try:
            await self._broker.cancel_all()
        finally:
            before = await look
        return before | _by_id(await self._broker.get_open_orders())

    async def _look(self) -> dict[str, BrokerOrder]:
        try:
            return _by_id(await self._broker.get_open_orders())
        except BrokerError:
            return {}

    async def _in_scope(self, orders: Iterable[BrokerOrder], scope: KillScope) -> list[BrokerOrder]:
        """``risk_adding`` keeps our protective orders: legs of entries, and stops by which a signal closes."""
        if scope is KillScope.ALL:
            return list(orders)
        kept = []
        async with self._database.connection() as connection:
            for order in orders:
                owner = await find_order(connection, order.broker_order_id, order.client_order_id)
                if owner is None or not _protects(await read_order(connection, *owner)):
                    kept.append(order)
        return kept

    async def _wait_for_fence(self, beat: Callable[[str], None]) -> bool:
        """Until every try that read the old row has ended and no POST can still leave."""
        deadline = time.monotonic() + FENCE_WAIT_MAX_SECONDS
        while time.monotonic() < deadline:
            async with self._database.connection() as connection:
                free = await rows.try_fence_exclusive(connection)
                waiting = await unanswered_posts(connection, grace_seconds=UNANSWERED_GRACE_SECONDS)
            if free and not waiting:
                return True
            beat(f"fence: waiting for {', '.join(waiting) or 'a placement to end'}")
            await asyncio.sleep(FENCE_POLL_SECONDS)
        return False

    async def _confirm(
        self, seen: dict[str, BrokerOrder], scope: KillScope, beat: Callable[[str], None]
    ) -> dict[str, OrderFate]:
        """Look until the broker shows none of them open, or time is up; then name every fate."""
        deadline = time.monotonic() + CONFIRM_WAIT_MAX_SECONDS
        while True:
            still_open = await self._in_scope(await self._broker.get_open_orders(), scope)
            if not still_open or time.monotonic() >= deadline:
                break
            beat(f"{len(still_open)} cancels not confirmed yet")
            await asyncio.sleep(CONFIRM_POLL_SECONDS)
        seen = seen | {each.broker_order_id: each for each in still_open}
        return await self._fates(seen, {each.broker_order_id for each in still_open})

    async def _fates(self, seen: dict[str, BrokerOrder], still_open: set[str]) -> dict[str, OrderFate]:
        ended = {}
        if seen.keys() - still_open:
            first = min(order.created_at for order in seen.values())
            last = max(order.created_at for order in seen.values())
            listed = await self._broker.get_orders(after=first - LISTING_MARGIN, until=last + LISTING_MARGIN)
            ended = {order.broker_order_id: order.raw_status for order in listed}
        fates = {
            order.client_order_id: OrderFate.PENDING
            if broker_id in still_open
            else _FATE_OF_RAW.get(ended.get(broker_id, ""), OrderFate.UNKNOWN)
            for broker_id, order in seen.items()
        }
        async with self._database.connection() as connection:
            for client_id in await rows.unknown_orders(connection):
                fates.setdefault(client_id, OrderFate.UNKNOWN)
        return fates

    async def _fate_since(self, order_id: str, fate: OrderFate) -> OrderFate:
        """What became of an order that an earlier sweep could not see end and that is not open any more."""
        async with self._database.connection() as connection:
            row = await find_by_client_id(connection, order_id)
        if row is not None and row.status.is_final:
            # Ended by the broker's word, or by proof that it never stood there.
            return OrderFate.FILLED if row.status is OrderStatus.FILLED else OrderFate.CANCELED
        try:
            found = await self._broker.get_order_by_client_id(order_id)
        except NotFound:
            return fate
        return _FATE_OF_RAW.get(found.raw_status, fate)

    async def _store(self, state: KillState, fates: dict[str, OrderFate], *, confirmed: bool) -> KillState:
        """Row, event with the truth, audit row. An order once named stays named until the release."""
        async with self._database.transaction("kill.swept") as connection:
            return await rows.save_sweep(connection, state, fates, confirmed=confirmed, now=self._now())


def _protects(order: StoredOrder) -> bool:
    return order.leg is not Leg.ENTRY or (order.order_type.has_stop and not order.action.opens)


def _by_id(orders: Iterable[BrokerOrder]) -> dict[str, BrokerOrder]:
    return {order.broker_order_id: order for order in orders}


_ENDED: Final = (OrderFate.CANCELED, OrderFate.FILLED)
