"""What people are told of sealing, and the kill switch that is asked for when the audit log was tampered with."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from audit.seal.sealer import Forked
from schemas.alerts import Alert, AlertCode, Severity
from schemas.conduct import KillRequest
from schemas.kill import AUDIT_FAILED
from storage.alerts import clear_alert, raise_alert
from storage.conduct import ask_for_kill
from storage.database import Database

COMPONENT: Final = "AuditSealer"
CHECKER: Final = "AuditCheck"
SUBJECT: Final = "audit"

_SEVERITY: Final = {
    AlertCode.AUDIT_CHECK_FAILED: Severity.CRITICAL,
    AlertCode.AUDIT_FORKED: Severity.CRITICAL,
    AlertCode.AUDIT_NOT_CHECKED: Severity.HIGH,
    AlertCode.AUDIT_NOT_SEALED: Severity.HIGH,
    AlertCode.AUDIT_TARGET_DOWN: Severity.HIGH,
}


class AuditAlerts:
    """One alert of each kind for the one audit log."""

    def __init__(self, database: Database, *, kills: bool, now: Callable[[], datetime]) -> None:
        """``kills``: a fork, or a failed check, asks for the kill switch too."""
        self._database = database
        self._kills = kills
        self._now = now

    async def raised(self, code: AlertCode, text: str, *, component: str = COMPONENT) -> None:
        """It lasts."""
        await self._change(alert=_alert(code, text), component=component)

    async def over(self, code: AlertCode, *, component: str = COMPONENT) -> None:
        """It does not; free where it was not raised."""
        await self._change(over=code, component=component)

    async def forked(self, found: Forked) -> None:
        """Tell of it, and ask for the kill switch with a new alert: as long as it lasts, a release stands."""
        text = f"{found}. Nothing is sealed until a person has looked: see RUNBOOK.md"
        kill = KillRequest(
            request_id=f"{AUDIT_FAILED}-{self._now().isoformat()}",
            reason=f"{AUDIT_FAILED}: {found}",
            triggered_by=COMPONENT,
        )
        await self._change(alert=_alert(AlertCode.AUDIT_FORKED, text), kills=[kill])

    async def check_failed(self, findings: Mapping[str, str], text: str) -> None:
        """Tell of what a check has found, and ask for the kill switch: once for each finding.

        Args:
            findings: by name, what was found; none where all were told before.
            text: of the alert.
        """
        kills = [
            KillRequest(
                request_id=f"{AUDIT_FAILED}-{name}", reason=f"{AUDIT_FAILED}: {found}", triggered_by=CHECKER
            )
            for name, found in findings.items()
        ]
        told = f"{text}. `trading audit verify` tells all of it: see RUNBOOK.md"
        await self._change(
            alert=_alert(AlertCode.AUDIT_CHECK_FAILED, told), kills=kills, kill_again=True, component=CHECKER
        )

    async def _change(
        self,
        *,
        alert: Alert | None = None,
        over: AlertCode | None = None,
        kills: Sequence[KillRequest] = (),
        kill_again: bool = False,
        component: str = COMPONENT,
    ) -> None:
        """``kill_again``: ask for them though the alert was raised before; else only with a new one."""
        now = self._now()
        async with self._database.transaction("audit.told") as connection:
            if over is not None:
                await clear_alert(connection, over, SUBJECT, component=component, now=now)
            fresh = alert is not None and await raise_alert(connection, alert, component=component, now=now)
            for kill in kills if self._kills and (fresh or kill_again) else ():
                await ask_for_kill(connection, kill, component=component, now=now)


def _alert(code: AlertCode, text: str) -> Alert:
    return Alert(code=code, severity=_SEVERITY[code], subject=SUBJECT, text=text, correlation_id=SUBJECT)
