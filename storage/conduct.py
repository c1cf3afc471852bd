"""What strategies and account have done lately, who is disabled for it, and who asks for the kill switch."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from risk.constants import RATE_WINDOW
from schemas.alerts import Alert, AlertCode, Severity
from schemas.audit import AuditEntry, canonical_json
from schemas.base import UtcTime
from schemas.conduct import Conduct, KillRequest, StopCause, StrategyStop
from schemas.risk import Limits
from storage.alerts import clear_alert, raise_alert
from storage.events import append
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("conduct")

LIST_MAX: Final = 500


class StopRow(StrategyStop):
    """With how it ended, if it did."""

    enabled_at: UtcTime | None = None
    enabled_by: str | None = None
    enable_reason: str | None = None


async def read_conduct(connection: Connection, signal_id: str, limits: Limits, *, now: datetime) -> Conduct:
    """Everything in one statement, under the account lock: every approval before this one is in it.

    ``now`` is the decision's instant. A forged one that lies ahead makes the windows look emptier; how far ahead it
    can lie is bounded by the signal's ``valid_until``.
    """
    row = await connection.fetchrow(
        _SQL["read_conduct"],
        signal_id,
        now - RATE_WINDOW,
        now - timedelta(seconds=limits.repeated_executions_window_seconds),
        now - timedelta(seconds=limits.duplicate_window_seconds),
    )
    assert row is not None, "the signal was read just now"
    values = dict(row)
    stopped = StrategyStop.model_validate(values) if values["since"] is not None else None
    return Conduct.model_validate({**values, "stopped": stopped})


async def stop_strategy(
    connection: Connection,
    stop: StrategyStop,
    *,
    component: str,
    evidence: dict[str, Any],
    correlation_id: str,
) -> bool:
    """Disable a strategy: row, alert and audit row, in the caller's transaction.

    Returns:
        False where it is disabled already; nothing is changed then.
    """
    fresh = await connection.fetchval(
        _SQL["stop_strategy"], stop.strategy, stop.since, stop.cause.value, stop.reason, stop.stopped_by,
        canonical_json(evidence),
    )  # fmt: skip
    if fresh is None:
        return False
    told = {"detail": f"{stop.cause.value}: {stop.reason}", "strategy": stop.strategy, **evidence}
    entry = AuditEntry(
        occurred_at=stop.since,
        correlation_id=correlation_id,
        component=component,
        actor=stop.stopped_by,
        decision="STRATEGY_DISABLED",
        input=told,
    )
    await append(connection, entry)
    if stop.cause is not StopCause.BY_HAND:
        await raise_alert(connection, _alert(stop, correlation_id), component=component, now=stop.since)
    return True


def _alert(stop: StrategyStop, correlation_id: str) -> Alert:
    text = (
        f"Strategy {stop.strategy} is disabled ({stop.cause.value}): {stop.reason}. It opens nothing; closes pass. "
        "Look at what it sends and at what it holds, stop its program, and when it is mended: "
        f"trading strategy enable {stop.strategy} --reason ..."
    )
    return Alert(
        code=AlertCode.RUNAWAY_STRATEGY,
        severity=Severity.CRITICAL,
        subject=stop.strategy,
        text=text,
        correlation_id=correlation_id,
    )


async def enable_strategy(
    connection: Connection, strategy: str, *, person: str, reason: str, component: str, now: datetime
) -> bool:
    """A named person lets it trade again: row, alert and audit row, in the caller's transaction.

    Returns:
        False where it is not disabled.
    """
    since = await connection.fetchval(_SQL["enable_strategy"], strategy, now, person, reason)
    if since is None:
        return False
    entry = AuditEntry(
        occurred_at=now,
        correlation_id=strategy,
        component=component,
        actor=person,
        decision="STRATEGY_ENABLED",
        input={"detail": reason, "strategy": strategy, "disabled_since": since.isoformat()},
    )
    await append(connection, entry)
    await clear_alert(
        connection, AlertCode.RUNAWAY_STRATEGY, strategy, component=component, now=now, actor=person,
        reason=reason,
    )  # fmt: skip
    return True


async def list_stops(connection: Connection, *, everything: bool = False) -> list[StopRow]:
    """Disabled strategies, newest first; with ``everything`` those enabled again after them."""
    rows = await connection.fetch(_SQL["list_stops"], everything, LIST_MAX)
    return [StopRow.model_validate(dict(row)) for row in rows]


async def ask_for_kill(
    connection: Connection,
    request: KillRequest,
    *,
    component: str,
    now: datetime,
    evidence: Mapping[str, Any] = MappingProxyType({}),
) -> bool:
    """Ask operations to engage the kill switch, in the caller's transaction; placements wait until they have.

    Returns:
        False where this was asked for before.
    """
    fresh = await connection.fetchval(
        _SQL["ask_for_kill"], request.request_id, request.reason, request.triggered_by, now,
        canonical_json(dict(evidence)),
    )  # fmt: skip
    if fresh is None:
        return False
    entry = AuditEntry(
        occurred_at=now,
        correlation_id="kill-switch",
        component=component,
        actor=request.triggered_by,
        decision="KILL_ASKED_FOR",
        input={"detail": request.reason, "request_id": request.request_id, **evidence},
    )
    await append(connection, entry)
    return True


async def kills_asked_for(connection: Connection) -> list[KillRequest]:
    """Those not carried out yet, oldest first."""
    return [KillRequest.model_validate(dict(row)) for row in await connection.fetch(_SQL["kills_asked_for"])]


async def take_kill_request(connection: Connection, request_id: str, now: datetime) -> bool:
    """Whether this one is still to be carried out, and is by the caller's transaction."""
    return await connection.fetchval(_SQL["take_kill_request"], request_id, now) is not None
