"""The kill switch's watcher: sweeps where nobody else has, Temporal up or down.

Operations and execution each run one, so that the death of either leaves the switch its sweep. It begins as soon as
there are a database and a broker: a process that is started while Temporal is down watches all the same.
"""

import asyncio
import time
from datetime import timedelta
from typing import Final

from activities.kill_alerts import KillAlerts
from activities.kill_sweep import KillSweeper
from activities.row_alerts import RowAlerts
from broker.errors import BrokerError
from broker.port import BrokerReader
from observability.logging import get_logger
from observability.metrics import Metrics
from schemas.kill import KillScope, KillState
from storage.alerts import count_open
from storage.database import Database
from storage.switches import read_state
from workers.clients import utc_now

WATCH_SECONDS: Final = 1.0
KILL_SWEEP_REPEAT: Final = timedelta(seconds=90)
"""An unconfirmed sweep is the workflow's to repeat each minute; past this a watcher does."""
KILL_SWEEP_GRACE: Final = timedelta(seconds=5)
"""How long the workflow's own sweep is waited for before a watcher sweeps."""
KILL_LOOK_AGAIN: Final = timedelta(seconds=60)
"""How often it is looked, once every cancel is confirmed, which positions have a stop by now."""
KILL_SWEEP_DUE: Final = timedelta(seconds=60)
"""An activation that nobody could sweep for this long is an alert."""

_log = get_logger(__name__)


class KillWatcher:
    """Reads the row; two watchers that sweep at once do no harm."""

    def __init__(self, database: Database, broker: BrokerReader, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics
        self._sweeper = KillSweeper(database, broker, now=utc_now)
        self._alerts = KillAlerts(database, now=utc_now)
        self._row_alerts = RowAlerts(database, now=utc_now)
        self._seen: tuple[object, ...] | None = None
        self._seen_at = time.monotonic()
        self._looked_at = 0.0
        self._failed = False
        """Our own last sweep could not ask the broker: the next one is due at once."""

    async def look(self) -> None:
        """Sweep when the switch is engaged and nobody has swept."""
        async with self._database.connection() as connection:
            state = await read_state(connection)
        self._metrics.set_kill_switch(engaged=state.engaged)
        seen = (state.engaged, state.epoch, state.swept_at, state.sweep_confirmed)
        if self._seen != seen:
            # On our own clock: the row's times are those of whoever wrote them, and may be yet to come. What a
            # repeated activation changes does not count: whoever repeats it must not put the sweep off.
            self._seen, self._seen_at = seen, time.monotonic()
        try:
            await self.keep_alerts(state)
        except Exception as error:  # noqa: BLE001 - whoever holds an alert's row must not keep us from sweeping
            _log.warning("alerts not kept", reason=str(error) or type(error).__name__)
        await self._sweep_if_due(state)

    async def _sweep_if_due(self, state: KillState) -> None:
        if not state.engaged or state.sweep_confirmed:
            self._failed = False
            await self._look_again_if_due(state)
            return
        grace = KILL_SWEEP_GRACE if state.swept_at is None else KILL_SWEEP_REPEAT
        if not self._failed and self._unchanged_for() <= grace:
            return
        _log.warning("kill switch: sweeping without its workflow", epoch=state.epoch)
        try:
            await self._sweeper.sweep(beat=lambda _: None)
        except BrokerError:
            self._failed = True
            raise
        self._failed = False

    async def _look_again_if_due(self, state: KillState) -> None:
        """Stops come and go where the scope keeps them, and by hand where a position was left without."""
        may_change = state.engaged and (state.unprotected or state.scope is KillScope.RISK_ADDING)
        since = timedelta(seconds=time.monotonic() - max(self._looked_at, self._seen_at))
        if may_change and since > KILL_LOOK_AGAIN:
            self._looked_at = time.monotonic()
            await self._sweeper.look_again()

    async def keep_alerts(self, state: KillState) -> None:
        """The alerts as the rows call for them, and how many last. Who holds one of them holds up none but it."""
        overdue = state.swept_at is None and self._unchanged_for() > KILL_SWEEP_DUE
        kept = await asyncio.gather(
            self._alerts.keep(overdue=overdue),
            self._row_alerts.keep_halt(),
            self._row_alerts.keep_conflicts(),
            self._count(),
            return_exceptions=True,
        )
        for error in kept:
            if error is not None:
                raise error

    async def _count(self) -> None:
        async with self._row_alerts.reading() as connection:
            self._metrics.set_open_alerts(await count_open(connection))

    def _unchanged_for(self) -> timedelta:
        return timedelta(seconds=time.monotonic() - self._seen_at)
