"""Whether the audit log is sealed in time: looked at by every process that may alert, whoever seals, or nobody."""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from observability.metrics import Metrics
from schemas.alerts import AlertCode
from storage import audit_sealing as rows
from storage.alerts import read_raised
from storage.database import Database
from workers.audit_alerts import SUBJECT, AuditAlerts
from workers.clients import utc_now

LOOK_SECONDS: Final = 5.0
LAG_SECONDS_MAX: Final = 60.0
LOOKS_MAX: Final = 1000
"""How far back a lag is measured: more than an hour."""


class Backlog:
    """For how long numbers have been waiting that are taken in their order.

    No clock of the rows: a number that is waiting now was there at every look that saw it, or a later one.
    """

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int]] = deque(maxlen=LOOKS_MAX)

    def lag(self, *, newest: int, done: int, now: float) -> float:
        """``newest`` is the largest number that there is, ``done`` that up to which none waits; ``now`` seconds."""
        while self._looks and self._looks[0][1] <= done:
            self._looks.popleft()
        if newest <= done:
            return 0.0
        if not self._looks or newest > self._looks[-1][1]:
            self._looks.append((now, newest))
        return now - self._looks[0][0]


class AuditWatch:
    """Several of them at once count one alert oftener, and do no other harm."""

    def __init__(
        self,
        database: Database,
        alerts: AuditAlerts,
        metrics: Metrics,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._alerts = alerts
        self._metrics = metrics
        self._monotonic = monotonic
        self._unsealed = Backlog()
        self._unsigned = Backlog()
        self._began_at = monotonic()
        self._told_at: float | None = None

    async def look(self) -> None:
        """The gauges, and the alert as it is called for."""
        async with self._database.connection() as connection:
            waiting = await rows.waiting_ids(connection)
            state = await rows.read_seal_state(connection)
            raised = await read_raised(connection, (AlertCode.AUDIT_NOT_SEALED,), SUBJECT)
        now = self._monotonic()
        nothing_waits = waiting is None and state.size == (state.checkpoint_size or 0)
        oldest, newest = waiting or (1, 0)
        unsealed = self._unsealed.lag(newest=newest, done=oldest - 1, now=now)
        unsigned = self._unsigned.lag(newest=state.size, done=state.checkpoint_size or 0, now=now)
        self._metrics.set_audit_sealing(lag_seconds=unsealed, tree_size=state.size)
        if state.published_at is not None:
            self._metrics.set_audit_checkpoint_age((utc_now() - state.published_at).total_seconds())
        lag = max(unsealed, unsigned)
        if lag > LAG_SECONDS_MAX:
            await self._tell(now, unsealed, unsigned)
        elif raised and (nothing_waits or now - self._began_at > LAG_SECONDS_MAX):
            # Who has just begun to look does not know how long it has lasted.
            await self._alerts.over(AlertCode.AUDIT_NOT_SEALED)
            self._told_at = None

    async def _tell(self, now: float, unsealed: float, unsigned: float) -> None:
        if self._told_at is not None and now - self._told_at < LAG_SECONDS_MAX:
            return
        self._told_at = now
        what = (
            f"audit rows have been waiting for {unsealed:.0f} s to be sealed"
            if unsealed > LAG_SECONDS_MAX
            else f"sealed audit rows have been waiting for {unsigned:.0f} s for a checkpoint outside the database"
        )
        await self._alerts.raised(
            AlertCode.AUDIT_NOT_SEALED, f"{what}: what is changed in them until then cannot be proved"
        )
