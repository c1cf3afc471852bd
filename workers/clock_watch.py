"""Asks what time it is, at the start and every minute: a clock that is off stops new orders, everybody's."""

import socket
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from activities.row_alerts import RowAlerts
from broker.errors import BrokerError
from broker.port import BrokerReader
from market.ntp import NtpServers
from observability.logging import get_logger
from observability.metrics import Metrics
from risk import clock_sync
from risk.messages import UserMessage
from schemas.alerts import Alert, AlertCode, Severity
from schemas.clock import ClockReading, ClockVerdict
from storage.alerts import read_subjects
from storage.clock import COMPONENT, CORRELATION, note_clock, read_clock_checks
from storage.database import Database

CHECK_SECONDS: Final = 60.0

_log = get_logger(__name__)


class ClockRefused(Exception):
    """This process may not start with this machine's clock; the message says why and what to do."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"{UserMessage.CLOCK_SKEW} {why}. Set the clock right (a time service such as chrony), then start again"
        )


def holder_of(service: str) -> str:
    """Which process, on which machine: each machine has a clock of its own."""
    return f"{service}@{socket.gethostname()}"


class ClockWatch:
    """One for each process that judges or places. Every look is one row, and what follows from it."""

    def __init__(
        self,
        database: Database,
        servers: NtpServers,
        broker: BrokerReader | None,
        metrics: Metrics,
        *,
        holder: str,
        is_live: bool,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``broker``: whose clock is asked where no server answers; None: it is this machine's, or replayed."""
        self._database = database
        self._servers = servers
        self._broker = broker
        self._metrics = metrics
        self._holder = holder
        self._is_live = is_live
        self._now = now
        self._monotonic = monotonic
        self._answered_at = monotonic()
        self._alerts = RowAlerts(database, now=now)

    async def refuse_wrong_clock(self) -> None:
        """The look before the first order.

        Raises:
            ClockRefused: it is off by too much; or live, and nobody can say.
        """
        reading = await self._read()
        why = clock_sync.refusal(reading, is_live=self._is_live)
        if why is not None:
            raise ClockRefused(why)
        if reading.verdict is ClockVerdict.NO_SOURCE:
            _log.warning("nobody can say whether this machine's clock is right", reason=reading.detail)
        await self._note(reading)

    async def look(self) -> None:
        """Ask, store, and halt or end the halt."""
        await self._note(await self._read())
        await self._keep_alert()

    async def _read(self) -> ClockReading:
        if self._servers.asked == 0:
            return ClockReading(
                verdict=ClockVerdict.NOT_ASKED,
                detail="the exchange shares this machine's clock, and TRADING_NTP_SERVERS names no servers",
            )
        reading = clock_sync.judge(await self._servers.ask(), self._servers.asked)
        if reading.verdict is ClockVerdict.NO_SOURCE and self._broker is not None:
            reading = await self._by_broker(self._broker, reading)
        if reading.verdict is not ClockVerdict.NO_SOURCE:
            self._answered_at = self._monotonic()
        return reading

    async def _by_broker(self, broker: BrokerReader, silent: ClockReading) -> ClockReading:
        """The broker's clock answered at some moment between the question and the answer."""
        asked_at, asked = self._now(), self._monotonic()
        try:
            clock = await broker.get_clock()
        except BrokerError as error:
            return silent.model_copy(update={"detail": f"{silent.detail}; broker's clock: {error.code}"})
        half = timedelta(seconds=(self._monotonic() - asked - clock.waited_seconds) / 2)
        middle = asked_at + timedelta(seconds=clock.waited_seconds) + half
        return clock_sync.bracketed(clock.timestamp - middle, half)

    async def _note(self, reading: ClockReading) -> None:
        unanswered = timedelta(seconds=self._monotonic() - self._answered_at)
        why = clock_sync.halts(reading, unanswered)
        async with self._database.transaction("clock.checked") as connection:
            halted = await note_clock(connection, self._holder, reading, halts=why, now=self._now())
        if reading.offset is not None:
            self._metrics.set_clock_offset(reading.offset.total_seconds())
        self._metrics.set_clock_halt(is_open=halted)
        if why is not None:
            _log.error("no new order leaves: wrong clock", reason=why)

    async def _keep_alert(self) -> None:
        """It follows the row, so that no lock on an alert holds the halt up."""
        async with self._alerts.reading() as connection:
            checks = await read_clock_checks(connection)
            raised = await read_subjects(connection, AlertCode.CLOCK_SKEW)
        halted = {each.holder: each.halt_cause for each in checks if each.halt_cause is not None}
        for holder in set(raised) - halted.keys():  # Also of a process that is gone for good.
            await self._alerts.change([], [AlertCode.CLOCK_SKEW], holder, component=COMPONENT)
        cause = halted.get(self._holder)
        if cause is not None:
            await self._alerts.change([_alert(self._holder, cause)], component=COMPONENT)


def _alert(holder: str, cause: str) -> Alert:
    return Alert(
        code=AlertCode.CLOCK_SKEW,
        severity=Severity.CRITICAL,
        subject=holder,
        text=(
            f"{UserMessage.CLOCK_SKEW} No new order leaves; cancels, fills and protective stops go on. "
            f"{holder}: {cause}. Set that machine's clock right (`chronyc tracking`); it ends by itself with the "
            "second good reading"
        ),
        correlation_id=CORRELATION,
    )
