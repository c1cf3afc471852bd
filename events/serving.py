"""A consumer's loop: take, handle, acknowledge; and what becomes of a handler that fails."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from events.port import LEASE_SECONDS, Batch, BusUnavailable, Consumer, Delivery, LeaseLost
from observability.logging import get_logger
from storage.wakeups import end_if_cancelled

RECONNECT_SECONDS: Final = 1.0

_log = get_logger(__name__)


async def serve(
    consumer: Consumer,
    handle: Callable[[Delivery], Awaitable[None]],
    *,
    lease_seconds: float = LEASE_SECONDS,
) -> None:
    """Hand every event to ``handle``, in order, until cancelled; what it raises is a failure of that event.

    ``handle`` is called at least once for each event, and must be done with it, or have it stored, when it returns.
    One that takes long is given a new lease between two events, never within one. Where its own store is away it
    waits: whatever it raises counts as an attempt of the event, which is put aside after ``TRIES_MAX``.

    Raises:
        BadGroup: the group is not there (any more).
    """
    while True:
        end_if_cancelled()
        try:
            batch = await consumer.take()
            if batch.deliveries:
                await _handle(consumer, batch, handle, renew_seconds=lease_seconds / 3)
        except LeaseLost:
            _log.warning("a lease ran out before its events were done: they come again")
        except BusUnavailable as error:
            await _away(error)


async def _handle(
    consumer: Consumer, batch: Batch, handle: Callable[[Delivery], Awaitable[None]], *, renew_seconds: float
) -> None:
    since = time.monotonic()
    for count, delivery in enumerate(batch.deliveries):
        if time.monotonic() - since > renew_seconds:
            await _told(partial(consumer.acknowledge, batch, count))
            since = time.monotonic()
        try:
            await handle(delivery)
        except Exception as error:  # noqa: BLE001 - whatever it is, the event was not taken
            _log.warning(
                "an event was not taken", position=delivery.event.position, reason=type(error).__name__
            )
            await _told(partial(consumer.fail, batch, count, f"{type(error).__name__}: {error}"))
            return
    await _told(partial(consumer.acknowledge, batch))


async def _told(tell: Callable[[], Awaitable[None]]) -> None:
    """Tell the bus until it hears: what is done need not come again, and its partition not wait for the lease.

    Raises:
        LeaseLost: it is too late, or it was heard the first time.
    """
    while True:
        try:
            return await tell()
        except BusUnavailable as error:
            await _away(error)


async def _away(error: BusUnavailable) -> None:
    end_if_cancelled()
    _log.warning("event bus away, trying again", reason=str(error))
    await asyncio.sleep(RECONNECT_SECONDS)
