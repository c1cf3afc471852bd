"""Holding the broker's update stream: each update is stored before its workflow hears of it."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final

from temporalio import activity

from activities.evidence import take_in
from activities.failures import as_failure, try_again
from broker.errors import BrokerError, NetworkError
from market.errors import ClockUnavailableError
from observability.logging import get_logger
from schemas import wire
from schemas.broker import TradeUpdate
from schemas.runs import StreamInput
from storage import switches as rows

if TYPE_CHECKING:
    from activities.catch_up import CatchUp
    from activities.notifier import OrderNotifier
    from broker.port import BrokerReader, TradeUpdateStream
    from storage.database import Database

PING_INTERVAL_SECONDS: Final = 2.0
PING_TIMEOUT_SECONDS: Final = 5.0
RECONNECT_PAUSE_SECONDS: Final = 0.5
WITHOUT_STREAM_MAX_SECONDS: Final = 8.0
"""Below the heartbeat timeout of 10 s: a holder that cannot connect gives up, so another may try."""
LANES: Final = 4
"""Updates of one order stay in order in one lane; different orders are stored side by side."""
LANE_QUEUE_MAX: Final = 1000

_log = get_logger(__name__)


class TradeUpdateActivities:
    """Reads the update stream with the right to read only."""

    def __init__(
        self,
        database: "Database",
        broker: "BrokerReader",
        catch_up: "CatchUp",
        notifier: "OrderNotifier",
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._broker = broker
        self._catch_up = catch_up
        self._notifier = notifier
        self._now = now
        self._last_update_at: datetime | None = None
        self._was_connected = False

    @activity.defn(name=wire.ACTIVITY_TRADE_UPDATES)
    async def hold_trade_updates(self, start: StreamInput) -> None:
        """Hold one connection after the other, catching up after each (re)connect, until the worker stops.

        Idempotent: executions are stored by their id, states by evidence, so a second holder or a repeated
        update changes nothing. Heartbeats only while the broker answers pings. A connection on which an
        execution did not come that another way told of is given up as mute.

        Raises:
            ApplicationError: no connection for ``WITHOUT_STREAM_MAX_SECONDS``; the next holder tries.
        """
        holding = asyncio.create_task(self._hold_for_ever())
        stopping = asyncio.create_task(activity.wait_for_worker_shutdown())
        try:
            await asyncio.wait((holding, stopping), return_when=asyncio.FIRST_COMPLETED)
            if holding.done():
                holding.result()
            raise try_again("WORKER_STOPS", "this worker stops; the next one holds the stream")
        finally:
            for task in (holding, stopping):
                task.cancel()
            await asyncio.gather(holding, stopping, return_exceptions=True)

    async def _hold_for_ever(self) -> None:
        held_at = time.monotonic()
        while True:
            try:
                async with self._broker.stream_trade_updates() as stream:
                    await self._connected()
                    try:
                        await self._hold(stream)
                    finally:
                        held_at = time.monotonic()
            except BrokerError as error:
                _log.warning("trade updates lost", code=error.code, reason=error.message)
                await self._lost()
                if time.monotonic() - held_at > WITHOUT_STREAM_MAX_SECONDS:
                    raise as_failure(error) from error
                await asyncio.sleep(RECONNECT_PAUSE_SECONDS)

    async def _connected(self) -> None:
        activity.heartbeat("connected")
        async with self._database.transaction("stream.connected") as connection:
            await rows.stream_connected(connection, self._now(), started=not self._was_connected)
        self._was_connected = True

    async def _lost(self) -> None:
        async with self._database.transaction("stream.lost") as connection:
            await rows.stream_lost(connection, self._now())

    async def _hold(self, stream: "TradeUpdateStream") -> None:
        """Read, ping and catch up side by side until one of them fails.

        Raises:
            BrokerError: the connection is gone or a frame cannot be read.
        """
        lanes = [asyncio.Queue[TradeUpdate](LANE_QUEUE_MAX) for _ in range(LANES)]
        tasks = [
            asyncio.create_task(self._read(stream, lanes), name="read updates"),
            asyncio.create_task(self._ping(stream), name="ping"),
            *(asyncio.create_task(self._store(lane), name="store updates") for lane in lanes),
        ]
        catch_up = asyncio.create_task(self._catch_up_now(), name="catch up")
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            raise NetworkError("the update stream ended")
        finally:
            for task in (*tasks, catch_up):
                task.cancel()
            await asyncio.gather(*tasks, catch_up, return_exceptions=True)

    async def _read(self, stream: "TradeUpdateStream", lanes: list["asyncio.Queue[TradeUpdate]"]) -> None:
        async for update in stream:
            self._last_update_at = self._now()
            await lanes[hash(update.order.broker_order_id) % LANES].put(update)

    async def _store(self, lane: "asyncio.Queue[TradeUpdate]") -> None:
        while True:
            update = await lane.get()
            taken = await take_in(self._database, update, now=self._now(), source="trade updates")
            if taken is not None and taken.is_told:
                await self._notifier.notify(taken.order)

    async def _ping(self, stream: "TradeUpdateStream") -> None:
        while True:
            await stream.ping(PING_TIMEOUT_SECONDS)
            activity.heartbeat("answered")
            async with self._database.transaction("stream.seen") as connection:
                doubted = await rows.stream_seen(connection, self._now(), self._last_update_at)
            if doubted:
                raise NetworkError("the update stream is mute: executions come that it does not bring")
            await asyncio.sleep(PING_INTERVAL_SECONDS)

    async def _catch_up_now(self) -> None:
        """After a gap. A failure is not the stream's: the watch over it sees that none followed, and makes one."""
        try:
            await self._catch_up.run(orders=True)
        except (BrokerError, ClockUnavailableError) as error:
            _log.warning("not caught up after a connection", code=error.code, reason=error.message)
