"""Alerts that follow a row: raised and cleared by whoever looks, never by who writes the row.

Other roles may write alerts too. Whoever stops trading would, if it waited for one of their locks, be one that they
can stop. So these alerts have transactions of their own, after the row's and with little patience; the watchers of
the kill switch look again each second.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Final

from activities.drift_alert import drift_alert
from activities.verdicts import conflict_alert
from schemas.alerts import Alert, AlertCode
from storage.alerts import (
    clear_alert,
    mark_alerted,
    raise_alert,
    read_raised,
    read_subjects,
    unalerted_runs,
    untold_conflicts,
)
from storage.halt import COMPONENT as HALT
from storage.halt import SUBJECT, halt_alert, read_halt
from storage.reconciliation import COMPONENT as DRIFT
from storage.reconciliation import read_run

if TYPE_CHECKING:
    from storage.database import Connection, Database

PATIENCE_SECONDS: Final = 2.0
EXECUTION: Final = "ExecutionAgent"


class _ToldAlready(Exception):
    """Another has told of the run meanwhile: nothing of it counts again."""


class RowAlerts:
    """Keeps alerts of one database in step with its rows.

    Every method raises TimeoutError where another session holds an alert: look again.
    """

    def __init__(self, database: "Database", *, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    @asynccontextmanager
    async def reading(self) -> "AsyncIterator[Connection]":
        """A connection for as long as there is patience."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._database.connection() as connection:
            yield connection

    async def keep_halt(self) -> None:
        """The alert of the broker halt."""
        async with self.reading() as connection:
            called_for = halt_alert(await read_halt(connection))
            found = await read_raised(connection, (AlertCode.BROKER_HALT,), SUBJECT)
        raised = found.get(AlertCode.BROKER_HALT)
        if called_for is None and raised is not None:
            await self.change([], [AlertCode.BROKER_HALT], SUBJECT, component=HALT)
        elif called_for is not None and (raised is None or raised.text != called_for.text):
            await self.change([called_for], component=HALT)

    async def keep_conflicts(self) -> None:
        """One for each order under whose id the broker holds another; a person clears it."""
        async with self.reading() as connection:
            untold = await untold_conflicts(connection)
        if untold:
            await self.change([conflict_alert(order) for order in untold], component=EXECUTION)

    async def keep_drift(self) -> None:
        """One for each finished reconciliation that found something; over with a later good one that does not.

        Whether a run was told of is in its row, written with the alert: however late, each once.
        """
        async with self.reading() as connection:
            run_ids = await unalerted_runs(connection)
        for run_id in run_ids:
            with suppress(_ToldAlready):
                async with (
                    asyncio.timeout(PATIENCE_SECONDS),
                    self._database.transaction("alerts.drift_told") as connection,
                ):
                    await self._tell_of_run(connection, run_id)

    async def _tell_of_run(self, connection: "Connection", run_id: str) -> None:
        """The run's row last: the kill switch is engaged through it, and must not wait for an alert's lock."""
        report = (await read_run(connection, run_id)).report
        assert report is not None, "only a finished run is told of"
        told, now = drift_alert(report), self._now()
        if report.outcome.is_good:
            for subject in await read_subjects(connection, AlertCode.STATE_DRIFT):
                if told is None or subject != told.subject:
                    await clear_alert(connection, AlertCode.STATE_DRIFT, subject, component=DRIFT, now=now)
        if told is not None:
            await raise_alert(connection, told, component=DRIFT, now=now)
        if not await mark_alerted(connection, run_id):
            raise _ToldAlready

    async def change(
        self, new: Iterable[Alert], over: Iterable[AlertCode] = (), subject: str = "", *, component: str
    ) -> None:
        """Raise ``new`` and clear those of ``subject`` that are ``over``."""
        now = self._now()
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            self._database.transaction("alerts.kept") as connection,
        ):
            for each in new:
                await raise_alert(connection, each, component=component, now=now)
            for code in over:
                await clear_alert(connection, code, subject, component=component, now=now)
