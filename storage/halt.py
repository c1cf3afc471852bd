"""The broker halt's row: opened by failures in a row, closed by a probe, seen by every process."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from schemas.alerts import Alert, AlertCode, Severity
from schemas.audit import AuditEntry
from schemas.base import UtcTime, Wire
from storage.events import append
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("halt")

FAILURES_MAX: Final = 5
"""Failed broker calls in a row, of any kind and any process, that open the halt."""
SUBJECT: Final = "broker"
"""The halt's own story in the audit log."""
COMPONENT: Final = "BrokerHalt"
NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class HaltRow(Wire):
    is_open: bool
    failures: int
    """In a row; 0 again with the first call that the broker answers."""
    cause: str | None
    changed_at: UtcTime | None
    probed_at: UtcTime | None


async def read_halt(connection: Connection) -> HaltRow:
    """The halt as it stands."""
    row = await connection.fetchrow(_SQL["read_halt"])
    assert row is not None, "broker_halt always has its one row"
    return HaltRow.model_validate(dict(row))


def halt_alert(halt: HaltRow) -> Alert | None:
    """The alert while it is open. It follows the row (`activities.row_alerts`), so that no lock holds a halt up."""
    if not halt.is_open:
        return None
    text = (
        f"No order leaves: {halt.cause}. Orders wait, and those too old by then are refused; look-ups, cancels and "
        "the kill switch go on. It ends by itself once the broker answers: look at its status page, our network "
        "and our keys."
    )
    return Alert(
        code=AlertCode.BROKER_HALT,
        severity=Severity.CRITICAL,
        subject=SUBJECT,
        text=text,
        correlation_id=SUBJECT,
    )


async def note_failure(connection: Connection, cause: str, *, at_once: bool, now: datetime) -> bool:
    """Count one failed call, in the caller's transaction; open the halt with the fifth, or ``at_once``.

    Returns:
        Whether this one opened it.
    """
    failures = await connection.fetchval(_SQL["count_failure"])
    if failures is None or not (at_once or failures >= FAILURES_MAX):
        return False
    opened = await connection.fetchval(_SQL["open_halt"], cause, now)
    assert opened is not None, "the count above holds the row"
    detail = cause if at_once else f"{failures} failed calls in a row, the last: {cause}"
    await append(connection, _entry("BROKER_HALT_OPENED", detail, now))
    return True


async def forget_failures(connection: Connection) -> None:
    """The broker has answered a call: the row of failures is over. An open halt is closed by its probe alone."""
    await connection.execute(_SQL["forget_failures"])


async def claim_probe(connection: Connection, *, every: timedelta) -> bool:
    """Whether the caller is the one who asks the broker now: one probe in that time, whoever makes it."""
    return await connection.fetchrow(_SQL["claim_probe"], every) is not None


async def close_halt(
    connection: Connection, detail: str, *, now: datetime, evidence: Mapping[str, Any] = NOTHING
) -> bool:
    """The broker answers again, in the caller's transaction. Free where nothing is open."""
    cause = await connection.fetchrow(_SQL["close_halt"], now)
    if cause is None:
        return False
    await append(connection, _entry("BROKER_HALT_CLOSED", detail, now, evidence))
    return True


def _entry(decision: str, detail: str, now: datetime, evidence: Mapping[str, Any] = NOTHING) -> AuditEntry:
    return AuditEntry(
        occurred_at=now,
        correlation_id=SUBJECT,
        component=COMPONENT,
        actor="system",
        decision=decision,
        input={"detail": detail, **evidence},
    )
