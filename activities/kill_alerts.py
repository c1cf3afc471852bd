"""The alerts of the kill switch, which follow its row (`activities.row_alerts`)."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final

from activities.row_alerts import RowAlerts
from observability.logging import get_logger
from schemas.alerts import Alert, AlertCode, Severity
from schemas.kill import KillState
from storage.alerts import read_raised
from storage.switches import CORRELATION, read_state

if TYPE_CHECKING:
    from storage.database import Database

COMPONENT: Final = "KillSwitch"
HOW_TO_RELEASE: Final = (
    "a signal cannot release it: run `trading release --reason ...` with the operator key (docs/RUNBOOK.md)"
)
_UNTIL_RELEASED: Final = (AlertCode.KILL_MISSPELT, AlertCode.KILL_RELEASE_REFUSED)
_OURS: Final = frozenset(
    {AlertCode.KILL_SWITCH, AlertCode.KILL_SWEEP_UNCONFIRMED, AlertCode.UNPROTECTED, *_UNTIL_RELEASED}
)
_log = get_logger(__name__)


def alert(code: AlertCode, text: str, severity: Severity = Severity.CRITICAL) -> Alert:
    """One about the switch itself; ``text`` says what is wrong and what to do."""
    return Alert(code=code, severity=severity, subject=CORRELATION, text=text, correlation_id=CORRELATION)


def wanted(state: KillState, *, overdue: bool = False) -> dict[AlertCode, Alert]:
    """What must be raised while the row says this. ``overdue``: nobody has swept for too long.

    Orders that are named before the first sweep are those of a broker that cannot be asked.
    """
    if not state.engaged:
        return {}
    found = [
        alert(
            AlertCode.KILL_SWITCH,
            f"ENGAGED ({state.scope.value}, epoch {state.epoch}) by {state.triggered_by}: {state.reason}. No new "
            "order is placed. Look with `trading status`, release with `trading release`",
        )
    ]
    unsure = sorted(key for key, fate in state.fates.items() if not fate.is_end)
    if not state.sweep_confirmed and (state.swept_at is not None or overdue or unsure):
        names = ", ".join(unsure) or "not known yet which"
        text = f"not every cancel is confirmed ({names}). It is tried again; look at the broker's own page"
        found.append(alert(AlertCode.KILL_SWEEP_UNCONFIRMED, text))
    if state.unprotected:
        text = (
            f"held without a stop while the kill switch is engaged: {', '.join(state.unprotected)}. Place stops at "
            "the broker, or close the positions there"
        )
        found.append(alert(AlertCode.UNPROTECTED, text))
    return {each.code: each for each in found}


class KillAlerts:
    """Keeps the alerts of one database in step with its switch."""

    def __init__(self, database: "Database", *, now: Callable[[], datetime]) -> None:
        self._rows = RowAlerts(database, now=now)

    async def keep(self, *, overdue: bool = False) -> None:
        """Raise what the row calls for and clear what it does not. Free where nothing has changed.

        Raises:
            TimeoutError: another session holds an alert; look again.
        """
        async with self._rows.reading() as connection:
            state = await read_state(connection)
            raised = await read_raised(connection, _OURS, CORRELATION)
            called_for = wanted(state, overdue=overdue)
        new = [
            each for code, each in called_for.items() if code not in raised or raised[code].text != each.text
        ]
        over = [code for code in raised if code not in called_for and self._is_over(code, state)]
        if new or over:
            await self._rows.change(new, over, CORRELATION, component=COMPONENT)

    def _is_over(self, code: AlertCode, state: KillState) -> bool:
        if code is AlertCode.KILL_SWEEP_UNCONFIRMED:
            return state.sweep_confirmed or not state.engaged
        return not (state.engaged and code in _UNTIL_RELEASED)

    async def tell(self, told: Alert) -> None:
        """Raise one that the row does not show, and say so in the log where that cannot be done now."""
        try:
            await self._rows.change([told], component=COMPONENT)
        except Exception as error:  # noqa: BLE001 - an alert must not keep a kill from going on
            _log.warning("alert not stored", code=told.code.value, reason=str(error) or type(error).__name__)
