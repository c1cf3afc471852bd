"""Alerts: raised and cleared in the transaction of what they tell of, each change with its audit row.

Those of what stops trading come after it, in transactions of their own: see `activities.row_alerts`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Final

from observability.logging import get_logger
from schemas.alerts import Alert, AlertCode, StoredAlert
from schemas.audit import AuditEntry
from storage.events import append
from storage.orders import StoredOrder, stored_order
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("alerts")
_DELIVERIES: Final = load("deliveries")

LIST_MAX: Final = 500
ALERT_LOCKS: Final = 0x7469_616C
"""First half of the advisory locks under which an alert is raised; the second is its id's hash."""
_log = get_logger(__name__)


async def raise_alert(connection: Connection, alert: Alert, *, component: str, now: datetime) -> bool:
    """Raise it, in the caller's transaction. One that is raised already counts once more.

    Returns:
        Whether it was not raised before.
    """
    await connection.execute(_SQL["lock_alert"], ALERT_LOCKS, alert.alert_id)
    row = await connection.fetchrow(_SQL["read_alert"], alert.alert_id)
    fresh = row is None or row["cleared_at"] is not None
    await connection.execute(
        _SQL["raise_alert"], alert.alert_id, alert.code.value, alert.severity.value, alert.subject, alert.text,
        alert.correlation_id, now,
    )  # fmt: skip
    if fresh:
        await append(connection, _entry(alert, "ALERT_RAISED", component, now))
        _log.error("alert", code=alert.code.value, subject=alert.subject, reason=alert.text)
    return fresh


async def read_alert(connection: Connection, alert_id: str) -> StoredAlert | None:
    """However it stands; None where it never was raised."""
    row = await connection.fetchrow(_SQL["read_alert"], alert_id)
    return None if row is None else StoredAlert.model_validate(dict(row))


async def lock_alert(connection: Connection, alert_id: str) -> StoredAlert | None:
    """The same, and nobody raises it before this transaction has ended."""
    await connection.execute(_SQL["lock_alert"], ALERT_LOCKS, alert_id)
    return await read_alert(connection, alert_id)


async def acknowledge_alert(
    connection: Connection, alert_id: str, *, name: str, component: str, now: datetime
) -> bool:
    """A person has seen it, in the caller's transaction; False where one had, or it is over.

    Raised anew after its end, or worse, it is acknowledged by nobody.
    """
    if await connection.fetchval(_SQL["acknowledge"], alert_id, now, name) is None:
        return False
    alert = await read_alert(connection, alert_id)
    assert alert is not None, "it was written just now"
    await append(connection, _entry(alert, "ALERT_ACKNOWLEDGED", component, now, name))
    return True


async def silence_alert(
    connection: Connection,
    alert_id: str,
    *,
    until: datetime,
    name: str,
    reason: str,
    component: str,
    now: datetime,
) -> StoredAlert:
    """Nobody is told of it before ``until``, in the caller's transaction, which has locked it.

    What waits to be told of its beginning is dropped, by a trigger.
    """
    await connection.execute(_SQL["silence"], alert_id, until, name, reason)
    alert = await read_alert(connection, alert_id)
    assert alert is not None, "it was locked just now"
    told = f"until {until.isoformat()}: {reason}"
    await append(connection, _entry(alert, "ALERT_SILENCED", component, now, name, told))
    return alert


async def cut_silence(
    connection: Connection, alert_id: str, *, name: str, component: str, now: datetime
) -> bool:
    """A person ends a silence before its time; False where nothing silences it. Whoever tells people goes on."""
    alert = await lock_alert(connection, alert_id)
    if alert is None or await connection.fetchval(_SQL["cut_silence"], alert_id, now) is None:
        return False
    await append(connection, _entry(alert, "ALERT_SILENCE_CUT", component, now, name))
    return True


async def end_silence(connection: Connection, alert_id: str, *, component: str, now: datetime) -> bool:
    """A silence is over: what lasts is told again. False where it was made longer meanwhile."""
    alert = await lock_alert(connection, alert_id)
    if alert is None or await connection.fetchval(_SQL["end_silence"], alert_id, now) is None:
        return False
    await connection.execute(_DELIVERIES["queue_again"], alert_id)
    await append(connection, _entry(alert, "ALERT_SILENCE_OVER", component, now))
    return True


async def over_silences(connection: Connection, now: datetime) -> list[str]:
    """Alerts whose silence is over, and that nobody was told of since."""
    return [row["alert_id"] for row in await connection.fetch(_SQL["over_silences"], now, LIST_MAX)]


async def clear_alert(
    connection: Connection,
    code: AlertCode,
    subject: str,
    *,
    component: str,
    now: datetime,
    actor: str = "system",
    reason: str = "",
) -> bool:
    """It is over, in the caller's transaction. Free where nothing was raised. A person says why: ``reason``."""
    row = await connection.fetchrow(_SQL["clear_alert"], f"{code.value}:{subject}", now)
    if row is None:
        return False
    entry = _entry(StoredAlert.model_validate(dict(row)), "ALERT_CLEARED", component, now, actor, reason)
    await append(connection, entry)
    return True


async def list_alerts(
    connection: Connection, *, everything: bool = False, limit: int = LIST_MAX
) -> list[StoredAlert]:
    """Those that last, newest first; with ``everything`` the cleared ones after them."""
    rows = await connection.fetch(_SQL["list_alerts"], everything, min(limit, LIST_MAX))
    return [StoredAlert.model_validate(dict(row)) for row in rows]


async def read_raised(
    connection: Connection, codes: Iterable[AlertCode], subject: str
) -> dict[AlertCode, StoredAlert]:
    """Those of these codes that last for one subject, however many others do."""
    ids = [f"{code.value}:{subject}" for code in codes]
    found = [
        StoredAlert.model_validate(dict(row)) for row in await connection.fetch(_SQL["read_raised"], ids)
    ]
    return {each.code: each for each in found}


async def read_subjects(connection: Connection, code: AlertCode) -> list[str]:
    """What alerts of that code last about."""
    return [row["subject"] for row in await connection.fetch(_SQL["read_subjects"], code.value)]


async def untold_conflicts(connection: Connection) -> list[StoredOrder]:
    """Orders under whose id the broker holds another, of which no alert was ever raised; oldest first."""
    return [stored_order(row) for row in await connection.fetch(_SQL["untold_conflicts"], LIST_MAX)]


async def unalerted_runs(connection: Connection) -> list[str]:
    """Finished reconciliations whose alert was not seen to yet, oldest first."""
    return [row["run_id"] for row in await connection.fetch(_SQL["unalerted_runs"], LIST_MAX)]


async def mark_alerted(connection: Connection, run_id: str) -> bool:
    """Whether this run's alert was still to be seen to, and is by the caller's transaction."""
    return await connection.fetchval(_SQL["mark_alerted"], run_id) is not None


async def count_open(connection: Connection) -> dict[str, int]:
    """How many last, by code; codes without any are left out."""
    return {row["code"]: row["count"] for row in await connection.fetch(_SQL["count_open"])}


def _entry(
    alert: Alert, decision: str, component: str, now: datetime, actor: str = "system", reason: str = ""
) -> AuditEntry:
    because = f"; {reason}" if reason else ""
    return AuditEntry(
        occurred_at=now,
        correlation_id=alert.correlation_id,
        component=component,
        actor=actor,
        decision=decision,
        input={"detail": f"{alert.code.value}: {alert.text}{because}", "subject": alert.subject},
    )
