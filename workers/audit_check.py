"""The audit log is checked while it grows: new rows every five minutes, all rows every day.

The verifier shares nothing with the sealer (`audit.check`). Any number of these may run: each checks for itself,
and what two of them find is one alert and one request for the kill switch.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from audit.check.database import read_head
from audit.check.findings import Finding, Report
from audit.check.notes import VerifierKey
from audit.check.outside import KEY, Outside, OutsideUnreadable
from audit.check.verified import Verified
from audit.check.verify import verify_database
from audit.outside import StoreOutside
from observability.logging import get_logger
from observability.metrics import Metrics
from schemas.alerts import AlertCode
from security.notes import NoteSigner, origin_of
from storage.database import Connection, Database
from workers.audit_alerts import CHECKER, AuditAlerts
from workers.clients import utc_now
from workers.parts import OperationsParts

CHECK_SECONDS: Final = 300.0
"""Between two checks of what is new."""
FULL_EVERY: Final = timedelta(days=1)
AGE_SECONDS: Final = 15.0
"""Between two settings of the gauge."""
LATE_SECONDS: Final = 2 * 86_400.0
"""People are told when no check has ended well for so long: one of all rows may hang, or never come to its end."""
TELL_SECONDS: Final = 3600.0
"""Between two such words."""
BATCH_ROWS: Final = 500
"""Hashed in one go, some milliseconds in which this process does nothing else."""
TOLD_MAX: Final = 20
"""Findings told by one check, each with its own request for the kill switch."""
AGAIN_SECONDS: Final = 90.0
"""What was found must be found again after so long: rows are moved and sealed while they are read, and a place
outside may be mounted late."""

_log = get_logger(__name__)


class AuditCheck:
    """Checks through the pool's connections, with the rights of operations: payloads by their hashes."""

    def __init__(
        self,
        database: Database,
        outside: Outside,
        key: VerifierKey,
        alerts: AuditAlerts,
        metrics: Metrics,
        *,
        again_seconds: float = AGAIN_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._outside = outside
        self._key = key
        self._alerts = alerts
        self._metrics = metrics
        self._again_seconds = again_seconds
        self._monotonic = monotonic
        self._verified: Verified | None = None
        """Where the last good check ended; None: the next one is of all rows."""
        self._full_at: float | None = None
        """Monotonic seconds of the last good check of all rows."""
        self._good_at = monotonic()
        """Of the last good one of either; at first of our start."""
        self._failed = False
        self._told: frozenset[str] = frozenset()
        """Names of findings, since our start; what was told before it asks for nothing a second time."""
        self._told_at: float | None = None
        self._may_be_told = True
        """People may have been told that no check ends; also by a process before this one."""

    async def check(self) -> None:
        """Check what is new, or all rows where that is due. A place outside that cannot be read says nothing."""
        try:
            await self._check()
        except OutsideUnreadable as error:
            _log.warning("audit: cannot be checked now", reason=str(error))
        await self.tell_age()

    async def tell_age(self) -> None:
        """The gauge, and the alert where it is too old."""
        now = self._monotonic()
        self._metrics.set_audit_check(age_seconds=now - self._good_at, failed=self._failed)
        if now - self._good_at <= LATE_SECONDS:
            return
        if self._told_at is None or now - self._told_at >= TELL_SECONDS:
            self._told_at, self._may_be_told = now, True
            days = (now - self._good_at) / 86_400
            await self._alerts.raised(
                AlertCode.AUDIT_NOT_CHECKED,
                f"no check of the audit log has ended well for {days:.1f} days: what was changed is not told",
                component=CHECKER,
            )

    async def _check(self) -> None:
        began = self._monotonic()
        due = self._full_at is None or began - self._full_at >= FULL_EVERY.total_seconds()
        since = None if due else self._verified
        report, verified = await self._verify(since)
        if report.is_tampering:
            await self._confirm(report, since)
            return
        self._failed = False
        self._good_at = self._monotonic()
        if self._may_be_told:
            await self._alerts.over(AlertCode.AUDIT_NOT_CHECKED, component=CHECKER)
            self._told_at, self._may_be_told = None, False
        # Rows that wait are the sealer's to tell of; from where this check ends the next one may go on.
        self._verified = verified if verified is not None else since
        if since is None:
            self._full_at = self._good_at
            _log.info("audit: all rows checked", rows=report.rows, seconds=round(self._good_at - began, 1))

    async def _confirm(self, first: Report, since: Verified | None) -> None:
        """Only what two checks in a row have found is told."""
        await asyncio.sleep(self._again_seconds)
        again, _ = await self._verify(since)
        named = {each.name for each in first.findings}
        standing = [each for each in again.findings if each.is_tampering and each.name in named]
        if not standing:
            return
        self._failed = True
        self._full_at = None  # Until it is right, all rows.
        await self._tell(sorted(standing, key=_order))

    async def _tell(self, standing: list[Finding]) -> None:
        """Each asks for the switch once. What more is found than can be told now is told by the next checks."""
        fresh = [each for each in standing if each.name not in self._told][:TOLD_MAX]
        first, *others = fresh or standing
        text = f"the audit log is not what was sealed: {_text(first)}"
        if others:
            text += f"; and {len(others)} more"
        _log.error("audit: check failed", reason=text, findings=len(standing))
        await self._alerts.check_failed({each.name: _text(each) for each in fresh}, text)
        self._told |= {each.name for each in fresh}

    async def _verify(self, since: Verified | None) -> tuple[Report, Verified | None]:
        last = self._monotonic()

        async def pace() -> None:
            """As long as the batch took: half of one processor at most."""
            nonlocal last
            await asyncio.sleep(self._monotonic() - last)
            last = self._monotonic()

        async with self._database.connection() as connection:
            await self._check_place(connection)
            report, verified = await verify_database(
                connection, self._outside, self._key, now=utc_now(), former=since, goes_on=True, texts=False,
                told=self._told,
                batch_rows=BATCH_ROWS, pace=pace,
            )  # fmt: skip
            if report.is_tampering:
                await self._check_place(connection)
            return report, verified

    async def _check_place(self, connection: Connection) -> None:
        """A place without a key, to which checkpoints were written, is not mounted, or was emptied.

        Raises:
            OutsideUnreadable: it is such a one; the sealer tells people of it.
        """
        published = (await read_head(connection)).checkpoint_size
        if published is not None and await self._outside.get(KEY) is None:
            raise OutsideUnreadable(f"checkpoints were written outside, and the file {KEY} there is gone")


def _order(finding: Finding) -> tuple[bool, int, str]:
    """The first wrong row first."""
    return finding.sequence is None, finding.sequence or 0, finding.name


def _text(finding: Finding) -> str:
    row = "" if finding.sequence is None else f" row {finding.sequence}"
    named = "" if finding.audit_id is None else f" (id {finding.audit_id}, {finding.correlation_id})"
    return f"{finding.kind.value}{row}{named}: {finding.text}"


def audit_check(parts: OperationsParts) -> AuditCheck:
    """The check of this installation's log.

    Raises:
        AuditKeyError: its key cannot be used.
    """
    settings = parts.settings
    signer = NoteSigner.from_hex(
        origin_of(parts.installation.namespace), settings.audit_key.get_secret_value()
    )
    alerts = AuditAlerts(parts.database, kills=settings.audit_failure_kills, now=utc_now)
    outside = StoreOutside(parts.audit_store)
    return AuditCheck(parts.database, outside, VerifierKey.parse(signer.vkey), alerts, parts.metrics)
