"""The cancel sweep of the kill switch: run by its workflow, and by the watchers when Temporal is down."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Final

from activities.kill_cancel import FATE_OF_RAW, Beat, Canceller, Seen, without_stop
from broker.errors import BrokerError, NotFound
from broker.told import BrokerCall, evidence, hearing
from schemas.kill import KillScope, KillState, OrderFate
from schemas.orders import BrokerOrder
from schemas.wire import Leg
from storage import sweeps
from storage import switches as rows
from storage.fence import FENCE_POLL_SECONDS, FENCE_WAIT_MAX_SECONDS, Fence, try_fence
from storage.orders import StoredOrder, find_by_client_id, find_order, read_order

if TYPE_CHECKING:
    from broker.port import BrokerReader
    from storage.database import Connection, Database

LOOK_UPS_MAX: Final = 20
"""Orders that one sweep asks the broker for by name, others each time; those not asked for stay unconfirmed."""


class KillSweeper:
    """Cancels what is open, waits until no earlier POST can still leave, and looks again."""

    def __init__(self, database: "Database", broker: "BrokerReader", *, now: Callable[[], datetime]) -> None:
        self._database = database
        self._broker = broker
        self._now = now
        self._asked_to = ""
        """The last order that was asked for by name: the next turn begins after it."""

    async def sweep(self, *, beat: Beat) -> KillState:
        """One whole sweep, stored with every order's fate. Safe to repeat and to run twice at once.

        Raises:
            BrokerError: the broker could not be asked; what may stand there is stored by name, sweep again.
        """
        async with self._database.connection() as connection:
            state = await rows.read_state(connection)
        if not state.engaged:
            return state
        with hearing() as calls:
            try:
                return await self._sweep(state, beat, calls)
            except BrokerError as error:
                await self._tell_of_failure(state, error, calls)
                raise

    async def look_again(self) -> KillState:
        """Once every cancel is confirmed: which positions have no stop by now. Asks the broker to change nothing.

        A stop may follow the last sweep: ours where the scope keeps them, or one that a person has placed there.

        Raises:
            BrokerError: the broker could not be asked; nothing is stored.
        """
        async with self._database.connection() as connection:
            state = await rows.read_state(connection)
        if not state.engaged or not state.sweep_confirmed:
            return state
        stops = await self._broker.get_open_orders()
        unprotected = without_stop(await self._broker.get_positions(), stops)
        if unprotected == state.unprotected:
            return state
        return await self._store(state, {}, confirmed=True, unprotected=unprotected, calls=())

    async def _sweep(self, state: KillState, beat: Beat, calls: list[BrokerCall]) -> KillState:
        canceller = Canceller(self._broker, state.scope, self._protective)
        beat("first cancel")
        open_before = await canceller.cancel_open()
        fence = await self._wait_for_fence(beat)
        may_stand = await self._may_stand(state.scope)
        beat("second cancel")
        if not await self._stands(state):
            # Released meanwhile: what is open by now was placed after it, and stays.
            return await self._store(state, {}, confirmed=False, unprotected=(), calls=calls)
        seen = await canceller.confirm(open_before | await canceller.cancel_open(), beat)
        fates = await self._fates(state, seen, may_stand)
        confirmed = fence.free and seen.unprotected is not None
        after = await self._store(
            state,
            fates,
            confirmed=confirmed and all(fate.is_end for fate in fates.values()),
            unprotected=state.unprotected if seen.unprotected is None else seen.unprotected,
            calls=calls,
        )
        return after.model_copy(update={"waiting_for": fence.waiting_for})

    async def _fates(
        self, state: KillState, seen: Seen, may_stand: dict[str, OrderFate]
    ) -> dict[str, OrderFate]:
        """Of each order that this sweep has seen, that a former one could not tell of, or that rows know of."""
        unsure = {order_id: fate for order_id, fate in state.fates.items() if not fate.is_end}
        # Twice: one may land, and lose its doubt, after the broker's last list and before our last look.
        named = unsure | may_stand | await self._may_stand(state.scope)
        told = seen.fates.keys() | (state.fates.keys() - unsure.keys())
        fates = seen.fates | await self._fates_since(
            {order_id: fate for order_id, fate in named.items() if order_id not in told}, state
        )
        # A former sweep may have died before it could tell what it ended.
        ended = await self._ended_since(state)
        return ended | {key: fate for key, fate in fates.items() if fate.is_end or key not in ended}

    async def _protective(self, orders: Sequence[BrokerOrder]) -> frozenset[str]:
        """Our protective orders: the legs of entries, and stops by which a signal closes a position."""
        kept = set()
        async with self._database.connection() as connection:
            for order in orders:
                owner = await find_order(connection, order.broker_order_id, order.client_order_id)
                if owner is not None and _protects(await read_order(connection, *owner)):
                    kept.add(order.broker_order_id)
        return frozenset(kept)

    async def _stands(self, began: KillState) -> bool:
        async with self._database.connection() as connection:
            return sweeps.is_same(await rows.read_state(connection), began)

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

    async def _may_stand(self, scope: KillScope) -> dict[str, OrderFate]:
        """Ours in scope that have not ended as far as rows can tell, whatever the broker's lists show."""
        async with self._database.connection() as connection:
            named = await sweeps.maybe_open(connection)
            named |= dict.fromkeys(await rows.unknown_orders(connection), OrderFate.UNKNOWN)
            return await _in_scope(connection, named, scope)

    async def _ended_since(self, state: KillState) -> dict[str, OrderFate]:
        """Ours in scope that have ended since the switch was engaged."""
        assert state.changed_at is not None, "an engaged switch says since when"
        async with self._database.connection() as connection:
            ended = await sweeps.ended_since(connection, state.changed_at)
            return await _in_scope(connection, ended, state.scope)

    async def _fates_since(self, named: dict[str, OrderFate], state: KillState) -> dict[str, OrderFate]:
        """What became of orders that no list of this sweep showed: by our rows, else by the broker's word.

        Past so many to ask for, each keeps the fate it has, and its turn comes with a later sweep.
        """
        async with self._database.connection() as connection:
            ended = await sweeps.ends_of(connection, list(named))
        unsure = [order_id for order_id in named if order_id not in ended]
        turn = sorted(unsure, key=lambda order_id: (order_id <= self._asked_to, order_id))[:LOOK_UPS_MAX]
        self._asked_to = turn[-1] if turn else ""
        asked = {order_id: await self._fate_since(order_id, named[order_id], state) for order_id in turn}
        return named | ended | asked

    async def _fate_since(self, order_id: str, fate: OrderFate, began: KillState) -> OrderFate:
        try:
            found = await self._broker.get_order_by_client_id(order_id)
        except NotFound:
            return fate
        if found.raw_status in FATE_OF_RAW:
            return FATE_OF_RAW[found.raw_status]
        async with self._database.connection() as connection:
            row = await find_by_client_id(connection, order_id)
        if row is None or (began.scope is not KillScope.ALL and _protects(row)):
            return fate
        if await self._stands(began):
            # It landed after the last cancel: it must not work until the next sweep, which tells how it ended.
            with suppress(BrokerError):
                await self._broker.cancel_order(found.broker_order_id)
        return OrderFate.PENDING

    async def _tell_of_failure(self, state: KillState, error: BrokerError, calls: list[BrokerCall]) -> None:
        """The broker cannot be asked: people must not wait for it to learn which orders are meant."""
        may_stand = await self._may_stand(state.scope) if state.swept_at is None else {}
        if may_stand or any(call.may_change for call in calls):
            why = f"{error.code}: {error.message}"
            await self._store(state, may_stand, confirmed=False, unprotected=(), calls=calls, failed=why)

    async def _store(
        self,
        state: KillState,
        fates: dict[str, OrderFate],
        *,
        confirmed: bool,
        unprotected: tuple[str, ...],
        calls: Sequence[BrokerCall],
        failed: str | None = None,
    ) -> KillState:
        """Row, event with the truth, audit row with the cancels asked for. ``failed``: why there was no sweep."""
        now = self._now()
        made = evidence([call for call in calls if call.may_change])
        async with self._database.transaction("kill.swept") as connection:
            if failed is not None:
                return await sweeps.save_failure(connection, state, fates, why=failed, now=now, calls=made)
            return await sweeps.save_sweep(
                connection, state, fates, confirmed=confirmed, unprotected=unprotected, now=now, calls=made
            )


async def _in_scope(
    connection: "Connection", named: dict[str, OrderFate], scope: KillScope
) -> dict[str, OrderFate]:
    if scope is KillScope.ALL:
        return named
    found = {order_id: await find_by_client_id(connection, order_id) for order_id in named}
    return {order_id: named[order_id] for order_id, row in found.items() if row and not _protects(row)}


def _protects(order: StoredOrder) -> bool:
    return order.leg is not Leg.ENTRY or (order.order_type.has_stop and not order.action.opens)
