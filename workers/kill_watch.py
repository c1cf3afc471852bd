"""The kill switch's watcher: sweeps where nobody else has, Temporal up or down.

Operations and execution each run one, so that the death of either leaves the switch its sweep. It begins as soon as
there are a database and a broker: a process that is started while Temporal is down watches all the same.
"""

from datetime import timedelta
from typing import Final

from activities.kill_sweep import KillSweeper
from broker.port import BrokerReader
from observability.logging import get_logger
from observability.metrics import Metrics
from storage.database import Database
from storage.switches import read_state
from workers.clients import utc_now

WATCH_SECONDS: Final = 1.0
KILL_SWEEP_REPEAT: Final = timedelta(seconds=90)
"""An unconfirmed sweep is the workflow's to repeat each minute; past this a watcher does."""
KILL_SWEEP_GRACE: Final = timedelta(seconds=5)
"""How long the workflow's own sweep is waited for before a watcher sweeps."""

_log = get_logger(__name__)


class KillWatcher:
    """Reads the row; two watchers that sweep at once do no harm."""

    def __init__(self, database: Database, broker: BrokerReader, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics
        self._sweeper = KillSweeper(database, broker, now=utc_now)

    async def look(self) -> None:
        """Sweep when the switch is engaged and nobody has swept."""
        async with self._database.connection() as connection:
            state = await read_state(connection)
        self._metrics.set_kill_switch(engaged=state.engaged)
        if not state.engaged or state.sweep_confirmed or state.changed_at is None:
            return
        last, grace = state.changed_at, KILL_SWEEP_GRACE
        if state.swept_at is not None:
            last, grace = state.swept_at, KILL_SWEEP_REPEAT
        if utc_now() - last > grace:
            _log.warning("kill switch: sweeping without its workflow", epoch=state.epoch)
            await self._sweeper.sweep(beat=lambda _: None)
