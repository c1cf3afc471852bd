"""Telling an order's workflow that its row changed. The row is the truth; a lost signal is sent again."""

import asyncio
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from temporalio.service import RPCError, RPCStatusCode

from observability.crash_points import calling
from observability.logging import get_logger
from observability.tracing import continued
from schemas.orders import OrderView
from schemas.wire import SIGNAL_LOOK_AGAIN, SIGNAL_ORDER_UPDATED, Leg, order_workflow_id, protect_workflow_id
from storage.orders import StoredOrder
from storage.watch import mark_checked, mark_signalled, mark_unchecked

if TYPE_CHECKING:
    from temporalio.client import Client

    from storage.database import Database

SIGNAL_RPC_TIMEOUT: Final = timedelta(seconds=3)
SIGNAL_INTERVAL_SECONDS: Final = 1.0
"""At most one signal a second to one order, save for its end."""
SIGNALS_AT_ONCE: Final = 16
REMEMBERED_ORDERS_MAX: Final = 20_000

_log = get_logger(__name__)


class OrderNotifier:
    """Signals workflows of orders and of protections, never faster than ``SIGNAL_INTERVAL_SECONDS`` an order.

    Beside its callers: who stores executions does not wait for a Temporal that is slow or down.
    """

    def __init__(self, client: "Client", database: "Database") -> None:
        self._client = client
        self._database = database
        self._last_sent: dict[UUID, float] = {}
        self._newest: dict[UUID, StoredOrder] = {}
        self._sending: dict[UUID, asyncio.Task[None]] = {}
        self._ended: dict[UUID, asyncio.Event] = {}
        self._slots = asyncio.Semaphore(SIGNALS_AT_ONCE)
        self._signalled: dict[UUID, int] = {}
        self._without_workflow: set[UUID] = set()
        self._seen_to: dict[str, datetime] = {}

    async def notify(self, order: StoredOrder) -> None:
        """Signal the newest state soon, at the latest once the interval has passed. Never raises, never waits."""
        key = order.internal_order_id
        known = self._newest.get(key)
        if known is None or order.row_version > known.row_version:
            self._newest[key] = order
        if key not in self._sending:
            self._ended[key] = asyncio.Event()
            self._sending[key] = asyncio.create_task(self._send_newest(key), name="signal an order")
        if order.status.is_final:
            self._ended[key].set()

    def seen_to(self, signal_ids: Iterable[str], now: datetime) -> None:
        """The workflows of these signals run: `flush` marks their orders."""
        self._seen_to.update(dict.fromkeys(signal_ids, now))

    async def close(self) -> None:
        """Drop what is delayed: the rows are sent again by whoever comes next."""
        tasks = list(self._sending.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _send_newest(self, key: UUID) -> None:
        """Send what there is to tell of one order until there is nothing."""
        try:
            while key in self._newest:
                wait = self._last_sent.get(key, 0.0) + SIGNAL_INTERVAL_SECONDS - time.monotonic()
                if wait > 0 and not self._ended[key].is_set():
                    await self._pause(key, wait)
                async with self._slots:
                    await self._send(self._newest.pop(key))
        finally:
            self._newest.pop(key, None)
            self._sending.pop(key, None)
            self._ended.pop(key, None)

    async def _pause(self, key: UUID, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._ended[key].wait()
        except TimeoutError:
            return

    async def _send(self, order: StoredOrder) -> None:
        if len(self._last_sent) >= REMEMBERED_ORDERS_MAX:
            self._last_sent.clear()
        self._last_sent[order.internal_order_id] = time.monotonic()
        own, *others = _listeners(order)
        try:
            with continued(order.traceparent):
                runs = await self._signal(own, SIGNAL_ORDER_UPDATED, order.view)
                for name in others:
                    await self._signal(name, SIGNAL_ORDER_UPDATED, order.view)
        except RPCError as error:  # Unreachable: sent again.
            _log.warning("order not signalled", signal_id=order.signal_id, reason=str(error))
            return
        if runs or order.settled:
            self._signalled[order.internal_order_id] = order.row_version
        else:
            self._without_workflow.add(order.internal_order_id)

    async def _signal(self, workflow_id: str, signal: str, told: OrderView | str) -> bool:
        """Whether it runs. One that does not is started by the sweeper, and its first step reads the row."""
        handle = self._client.get_workflow_handle(workflow_id)
        try:
            with calling("temporal.signal"):
                await handle.signal(signal, told, rpc_timeout=SIGNAL_RPC_TIMEOUT)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        return True

    async def look_again(self, signal_id: str, why: str) -> None:
        """Wake the protection of this signal's shares. Never raises: whoever asks looks again soon."""
        try:
            await self._signal(protect_workflow_id(signal_id), SIGNAL_LOOK_AGAIN, why)
        except RPCError as error:
            _log.warning("protection not woken", signal_id=signal_id, reason=str(error))

    async def flush(self) -> None:
        """Store which versions were signalled, which workflows were seen to run, and which orders have none.

        The sweeper starts those. What is lost of it is signalled or seen to again, which changes nothing.
        """
        signalled, self._signalled = self._signalled, {}
        without, self._without_workflow = self._without_workflow, set()
        seen_to, self._seen_to = self._seen_to, {}
        if not (signalled or without or seen_to):
            return
        async with self._database.transaction("order.signalled") as connection:
            await mark_signalled(connection, signalled)
            if seen_to:
                await mark_checked(connection, seen_to, max(seen_to.values()))
            await mark_unchecked(connection, sorted(without))


def _listeners(order: StoredOrder) -> tuple[str, ...]:
    """The workflow that waits for this order, then the others that must hear of it.

    An entry may have been settled by somebody else, so its own always hears of it; from its end on, more shares
    or fewer are also its protection's business.
    """
    if order.leg is not Leg.ENTRY:
        return (protect_workflow_id(order.signal_id),)
    own = order_workflow_id(order.signal_id)
    if (
        order.hard_stop_loss is None
        or not order.status.is_final
        or not (order.filled_quantity or order.settled)
    ):
        return (own,)
    return own, protect_workflow_id(order.signal_id)
