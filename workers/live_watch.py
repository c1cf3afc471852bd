"""Tells people when a grant of live trading is about to end, and when it has: from then on no entry leaves."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from activities.row_alerts import RowAlerts
from risk.live_grant import TOLD_FOR, GrantState, grant_state
from schemas.alerts import Alert, AlertCode, Severity
from storage.alerts import read_raised
from storage.database import Database
from storage.live import NewestGrant, read_newest_grant
from storage.switches import ACCESS

GRANT_SECONDS: Final = 15.0
COMPONENT: Final = "LiveWatch"
SUBJECT: Final = "live trading"
ASK_ANEW: Final = "one Admin asks at /acts/live of the console, another carries it out at /acts/approvals"


class LiveGrantWatch:
    """Of a live installation. Two of them at once do no harm: an alert is one row."""

    def __init__(self, database: Database, *, now: Callable[[], datetime]) -> None:
        self._now = now
        self._alerts = RowAlerts(database, now=now)

    async def watch_live_grant(self) -> None:
        """Raise, make worse or end the one alert, as the newest grant stands."""
        code = AlertCode.LIVE_GRANT_ENDING
        async with self._alerts.reading() as connection:
            newest = await read_newest_grant(connection)
            found = await read_raised(connection, (code,), SUBJECT)
        called_for, raised = _alert(newest, self._now()), found.get(code)
        if called_for is None and raised is not None:
            await self._alerts.change([], [code], SUBJECT, component=COMPONENT)
        elif called_for is not None and (raised is None or raised.text != called_for.text):
            await self._alerts.change([called_for], component=COMPONENT)


def _alert(newest: NewestGrant | None, now: datetime) -> Alert | None:
    if newest is None:
        return None
    until = f"{newest.expires_at:%Y-%m-%d %H:%M} UTC"
    match grant_state(newest.expires_at, newest.revoked_at, now):
        case GrantState.ENDING:
            severity, text = (
                Severity.MEDIUM,
                f"the grant of live trading ends at {until}: no entry leaves then, and a protective stop that is "
                f"not at the broker yet waits. To go on, {ASK_ANEW}",
            )
        case GrantState.ENDED if now - newest.expires_at <= TOLD_FOR:
            severity, text = (
                Severity.HIGH,
                f"the grant of live trading has ended at {until}: entries are refused with LIVE_NOT_PERMITTED, and "
                f"protective stops that are not at the broker wait. To go on, {ASK_ANEW}",
            )
        case _:
            return None
    return Alert(
        code=AlertCode.LIVE_GRANT_ENDING, severity=severity, subject=SUBJECT, text=text, correlation_id=ACCESS
    )
