"""The clock of a process that judges times and writes no row of it: wrong, it judges nothing, and says why.

The gateway judges how old a signal is, risk how long an approval is good. Neither may halt everybody's orders or
end such a halt, as a row of `clock_checks` would: the gateway is the door that strangers reach.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta

from market.ntp import NtpServers
from observability.logging import get_logger
from observability.metrics import Metrics
from risk import clock_sync
from risk.messages import UserMessage
from schemas.clock import ClockReading, ClockVerdict
from schemas.mode import Mode
from storage.clock import IN_SYNC_TIMES
from workers.clock_watch import CHECK_SECONDS, ClockRefused
from workers.loops import for_ever
from workers.secret_settings import ClockSettings

_log = get_logger(__name__)


class OwnClock:
    """Asks time servers, and keeps in mind whether this process may judge times."""

    def __init__(
        self,
        servers: NtpServers,
        metrics: Metrics,
        *,
        is_live: bool,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._servers = servers
        self._metrics = metrics
        self._is_live = is_live
        self._monotonic = monotonic
        self._answered_at = monotonic()
        self._fault: str | None = None
        self._right = 0
        """Readings in sync, in a row."""

    def fault(self) -> str | None:
        """Why nothing may be judged by this clock now, for people; None: it may."""
        return self._fault

    async def refuse_wrong_clock(self) -> None:
        """The look before the first request.

        Raises:
            ClockRefused: it is off by too much; or live, and nobody can say.
        """
        if self._servers.asked == 0:
            return
        reading = await self._read()
        why = clock_sync.refusal(reading, is_live=self._is_live)
        if why is not None:
            raise ClockRefused(why)
        if reading.verdict is ClockVerdict.NO_SOURCE:
            _log.warning("nobody can say whether this machine's clock is right", reason=reading.detail)
        self._note(reading)

    async def look(self) -> None:
        """Ask again; two readings in a row that are right end a fault."""
        if self._servers.asked > 0:
            self._note(await self._read())

    async def _read(self) -> ClockReading:
        reading = clock_sync.judge(await self._servers.ask(), self._servers.asked)
        if reading.verdict is not ClockVerdict.NO_SOURCE:
            self._answered_at = self._monotonic()
        return reading

    def _note(self, reading: ClockReading) -> None:
        self._right = self._right + 1 if reading.verdict is ClockVerdict.IN_SYNC else 0
        unanswered = timedelta(seconds=self._monotonic() - self._answered_at)
        why = clock_sync.halts(reading, unanswered)
        if why is not None:
            self._fault = f"{UserMessage.CLOCK_SKEW} This process judges nothing: {why}"
            _log.error("nothing is judged: wrong clock", reason=why)
        elif self._fault is not None and self._right >= IN_SYNC_TIMES:
            self._fault = None
            _log.warning("this machine's clock is right again", reason=reading.detail)
        if reading.offset is not None:
            self._metrics.set_clock_offset(reading.offset.total_seconds())
        self._metrics.set_clock_halt(is_open=self._fault is not None)


async def watch_own_clock(
    stack: AsyncExitStack, settings: ClockSettings, metrics: Metrics, *, mode: str | None
) -> OwnClock:
    """Look now and every minute, until the stack closes. Only named servers are asked: on the machine of execution
    or operations their look is enough, and containers that need no way out are given none.

    Raises:
        ClockRefused: this machine's clock is off; or live and none of those named can say.
    """
    servers = NtpServers(settings.time_servers(is_local=True))
    stack.callback(servers.close)
    clock = OwnClock(servers, metrics, is_live=mode == Mode.LIVE)
    await clock.refuse_wrong_clock()

    async def run() -> None:
        await asyncio.sleep(CHECK_SECONDS)
        await for_ever(clock.look, CHECK_SECONDS)

    if servers.asked > 0:
        stack.callback(asyncio.create_task(run(), name="own clock").cancel)
    return clock
