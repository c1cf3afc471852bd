"""The relay: gives each committed event its ``position``. Any number may run; one at a time leads."""

import asyncio
import time
from typing import Final

import asyncpg

from observability.logging import get_logger
from observability.metrics import Metrics
from storage import event_stream
from storage.wakeups import Bell, bell_of, end_if_cancelled

BATCH: Final = 500
"""Events in one numbering transaction."""
PAUSE_SECONDS: Final = 0.05
"""Between two looks while events come; so at most twenty transactions a second."""
AWAKE_SECONDS: Final = 1.0
"""How long after the last event it looks by itself. A transaction open for longer waits for the slow tick."""
TICK_SECONDS: Final = 2.0
"""Between two looks while nothing comes, should a wake-up have been lost."""
STANDBY_SECONDS: Final = 1.0
"""Between two tries to take over."""
RECONNECT_SECONDS: Final = 1.0

_LOST: Final = (
    OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError,
)  # fmt: skip
"""The last is what asyncpg says when the server ended the session while this process was frozen."""

_log = get_logger(__name__)


class Relay:
    """Numbers events on a direct connection that holds the relay's lock.

    Lock and numbering share the session: a relay that has lost one has lost the other, and PostgreSQL hands the
    lock on when the session ends, however its process died.
    """

    def __init__(self, dsn: str, metrics: Metrics) -> None:
        self._dsn = dsn
        self._metrics = metrics
        self._all_numbered_at = time.monotonic()

    async def run(self) -> None:
        """Lead, or wait to lead, until cancelled."""
        while True:
            try:
                async with bell_of(self._dsn, event_stream.WRITTEN, name="trading-relay") as bell:
                    await self._stand_by(bell)
                    _log.info("relay: numbering events")
                    await self._lead(bell)
            except asyncpg.UniqueViolationError as error:
                # No connection mends that: somebody else gave a position, and numbering stands still.
                _log.error("relay: a position is taken, nothing can be numbered", reason=str(error))
            except _LOST as error:
                end_if_cancelled()
                _log.warning("relay: connection lost, starting again", reason=type(error).__name__)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _stand_by(self, bell: Bell) -> None:
        while not await event_stream.try_lead(bell.connection):
            await self._look(bell)
            await asyncio.sleep(STANDBY_SECONDS)

    async def _lead(self, bell: Bell) -> None:
        while True:
            await self._number_while_they_come(bell)
            await event_stream.set_asleep(bell.connection, asleep=True)
            if not await self._look(bell):
                await bell.wait(TICK_SECONDS)

    async def _number_while_they_come(self, bell: Bell) -> None:
        """Return when none has come for ``AWAKE_SECONDS``, at once if none waits now."""
        if not await self._look(bell):
            return
        await event_stream.set_asleep(bell.connection, asleep=False)
        last = time.monotonic()
        while time.monotonic() - last < AWAKE_SECONDS:
            if await self._number(bell):
                last = time.monotonic()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _number(self, bell: Bell) -> bool:
        """Number what waits, batch after batch. Says whether there was any."""
        found = False
        while await self._look(bell):
            found = True
            topics = await event_stream.number_events(bell.connection, limit=BATCH)
            self._metrics.events_numbered(topics)
            if sum(topics.values()) < BATCH:
                break
        return found

    async def _look(self, bell: Bell) -> int:
        """How many wait; told to the metrics."""
        waiting = await event_stream.count_waiting(bell.connection)
        now = time.monotonic()
        if not waiting:
            self._all_numbered_at = now
        self._metrics.set_outbox_lag(events=waiting, seconds=now - self._all_numbered_at if waiting else 0)
        return waiting
