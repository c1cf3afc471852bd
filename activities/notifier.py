"""Telling an order's workflow that its row changed. The row is the truth; a lost signal is sent again."""

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from temporalio.service import RPCError, RPCStatusCode

from observability.logging import get_logger
from schemas.wire import SIGNAL_ORDER_UPDATED, Leg, order_workflow_id, protect_workflow_id
from storage.orders import StoredOrder, mark_signalled, read_keyed

if TYPE_CHECKING:
    from temporalio.client import Client

    from storage.database import Database

SIGNAL_RPC_TIMEOUT: Final = timedelta(seconds=3)
SIGNAL_INTERVAL_SECONDS: Final = 1.0
"""At most one signal a second to one order, save for its end."""
REMEMBERED_ORDERS_MAX: Final = 20_000

_log = get_logger(__name__)


class OrderNotifier:
    """Signals workflows of orders and of protections, never faster than ``SIGNAL_INTERVAL_SECONDS`` an order."""

    def __init__(self, client: "Client", database: "Database") -> None:
        self._client = client
        self._database = database
        self._last_sent: dict[UUID, float] = {}
        self._delayed: dict[UUID, asyncio.Task[None]] = {}
        self._signalled: dict[UUID, int] = {}

    async def notify(self, order: StoredOrder) -> None:
        """Signal the newest state now, or once the interval has passed. Never raises for a dead Temporal."""
        wait = self._last_sent.get(order.internal_order_id, 0.0) + SIGNAL_INTERVAL_SECONDS - time.monotonic()
        if wait <= 0 or order.status.is_final:
            await self._send(order)
        elif order.internal_order_id not in self._delayed:
            self._delayed[order.internal_order_id] = asyncio.create_task(self._send_later(order, wait))

    async def close(self) -> None:
        """Drop what is delayed: the rows are sent again by whoever comes next."""
        for task in list(self._delayed.values()):
            task.cancel()
        await asyncio.gather(*self._delayed.values(), return_exceptions=True)

    async def _send_later(self, order: StoredOrder, wait: float) -> None:
        try:
            await asyncio.sleep(wait)
        finally:
            self._delayed.pop(order.internal_order_id, None)
        async with self._database.connection() as connection:
            newest = await read_keyed(connection, order)
        await self._send(newest)

    async def _send(self, order: StoredOrder) -> None:
        if len(self._last_sent) >= REMEMBERED_ORDERS_MAX:
            self._last_sent.clear()
        self._last_sent[order.internal_order_id] = time.monotonic()
        is_open_entry = order.leg is Leg.ENTRY and not order.settled
        name = order_workflow_id if is_open_entry else protect_workflow_id
        handle = self._client.get_workflow_handle(name(order.signal_id))
        try:
            await handle.signal(SIGNAL_ORDER_UPDATED, order.view, rpc_timeout=SIGNAL_RPC_TIMEOUT)
        except RPCError as error:
            # Not running: the sweeper starts it and its first step reads the row. Unreachable: sent again.
            if error.status is not RPCStatusCode.NOT_FOUND:
                _log.warning("order not signalled", signal_id=order.signal_id, reason=str(error))
            return
        self._signalled[order.internal_order_id] = order.row_version

    async def flush(self) -> None:
        """Store which versions were signalled. Lost ones are signalled again, which changes nothing."""
        signalled, self._signalled = self._signalled, {}
        if signalled:
            async with self._database.connection() as connection:
                await mark_signalled(connection, signalled)
