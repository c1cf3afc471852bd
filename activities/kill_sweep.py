"""The cancel sweep of the kill switch: run by its workflow, and by the watchers when Temporal is down."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from activities.kill_cancel import FATE_OF_RAW, Beat, Canceller
from broker.errors import BrokerError, NotFound
from schemas.kill import KillState, OrderFate
from schemas.orders import BrokerOrder, OrderStatus
from schemas.wire import Leg
from storage import sweeps
from storage import switches as rows
from storage.fence import FENCE_POLL_SECONDS, FENCE_WAIT_MAX_SECONDS, Fence, try_fence
from storage.orders import StoredOrder, find_by_client_id, find_order, read_order

if TYPE_CHECKING:
    from broker.port import BrokerReader
    from storage.database import Database


class KillSweeper:
    """Cancels what is open, waits until no earlier POST can still leave, and looks again."""

    def __init__(self, database: "Database", broker: "BrokerReader", *, now: Callable[[], datetime]) -> None:
        self._database = database
        self._broker = broker
        self._now = now

    async def sweep(self, *, beat: Beat) -> KillState:
        """One whole sweep, stored with every order's fate. Safe to repeat and to run twice at once.

        Raises:
            BrokerError: the broker could not be asked; what may stand there is stored by name, sweep again.
        """
        async with self._database.connection() as connection:
            state = await rows.read_state(connection)
        if not state.engaged:
            return state
        try:
            return await self._sweep(state, beat)
        except BrokerError:
            if state.swept_at is None:
                await self._tell_what_may_stand(state)
            raise

    async def _sweep(self, state: KillState, beat: Beat) -> KillState:
        canceller = Canceller(self._broker, state.scope, self._protective)
        beat("first cancel")
        open_before = await canceller.cancel_open()
        fence = await self._wait_for_fence(beat)
        beat("second cancel")
        seen = await canceller.confirm(open_before | await canceller.cancel_open(), beat)
        fates = dict(seen.fates)
        async with self._database.connection() as connection:
            for client_id in await rows.unknown_orders(connection):
                fates.setdefault(client_id, OrderFate.UNKNOWN)
        for order_id, fate in state.fates.items():
            if not fate.is_end and order_id not in fates:
                fates[order_id] = await self._fate_since(order_id, fate)
        confirmed = fence.free and seen.unprotected is not None
        after = await self._store(
            state,
            fates,
            confirmed=confirmed and all(fate.is_end for fate in fates.values()),
            unprotected=state.unprotected if seen.unprotected is None else seen.unprotected,
        )
        return after.model_copy(update={"waiting_for": fence.waiting_for})

    async def _protective(self, orders: Sequence[BrokerOrder]) -> frozenset[str]:
        """Our protective orders: the legs of entries, and stops by which a signal closes a position."""
        kept = set()
        async with self._database.connection() as connection:
            for order in orders:
                owner = await find_order(connection, order.broker_order_id, order.client_order_id)
                if owner is not None and _protects(await read_order(connection, *owner)):
                    kept.add(order.broker_order_id)
        return frozenset(kept)

    async def _wait_for_fence(self, beat: Beat) -> Fence:
        """Until every try that read the old row has ended and no POST can still leave, or time is up.

        Past that the sweep goes on and stays unconfirmed.
        """
        deadline = time.monotonic() + FENCE_WAIT_MAX_SECONDS
        while True:
            async with self._database.connection() as connection:
                fence = await try_fence(connection)
            if fence.free or time.monotonic() >= deadline:
                return fence
            beat(f"waiting for {fence.text}")
            await asyncio.sleep(FENCE_POLL_SECONDS)

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
        return FATE_OF_RAW.get(found.raw_status, fate)

    async def _tell_what_may_stand(self, state: KillState) -> None:
        """The broker cannot be asked: people must not wait for it to learn which orders are meant."""
        async with self._database.connection() as connection:
            fates = await sweeps.maybe_open(connection)
        await self._store(state, fates, confirmed=False, unprotected=state.unprotected)

    async def _store(
        self,
        state: KillState,
        fates: dict[str, OrderFate],
        *,
        confirmed: bool,
        unprotected: tuple[str, ...],
    ) -> KillState:
        """Row, event with the truth, audit row."""
        async with self._database.transaction("kill.swept") as connection:
            return await sweeps.save_sweep(
                connection, state, fates, confirmed=confirmed, unprotected=unprotected, now=self._now()
            )


def _protects(order: StoredOrder) -> bool:
    return order.leg is not Leg.ENTRY or (order.order_type.has_stop and not order.action.opens)
