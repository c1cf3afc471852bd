"""What was last seen of the builds, and the audit rows and alerts that tell of their changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from schemas.alerts import Alert, AlertCode, Severity
from schemas.audit import AuditEntry
from schemas.builds import Build, BuildState
from storage.alerts import clear_alert, raise_alert
from storage.events import append
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("builds")

CORRELATION: Final = "builds"
COMPONENT: Final = "Operations"
CONSOLE: Final = "Console"
DETAIL_MAX_CHARACTERS: Final = 200


async def list_builds(connection: Connection) -> tuple[Build, ...]:
    """As they were last seen, by deployment; the current build first."""
    return tuple(Build.model_validate(dict(row)) for row in await connection.fetch(_SQL["list_builds"]))


async def save_builds(
    connection: Connection, deployment: str, builds: Sequence[Build], *, now: datetime
) -> None:
    """Keep what was seen of one deployment, with an audit row where another build gets new work.

    An alert lasts while nobody runs a build that gets all of it or a part.
    """
    before = {
        (each.build_id, each.state)
        for each in await list_builds(connection)
        if each.deployment == deployment and each.state is BuildState.CURRENT
    }
    for each in builds:
        await connection.execute(
            _SQL["save_build"], each.deployment, each.build_id, each.state.value, each.since,
            each.ramp_percent, each.open_workflows, each.attended, now,
        )  # fmt: skip
    await connection.execute(_SQL["forget_builds"], deployment, [each.build_id for each in builds])
    for current in (each for each in builds if each.state is BuildState.CURRENT):
        if (current.build_id, current.state) not in before:
            await append(connection, _became_current(current, sorted(name for name, _ in before), now))
    at_work = [each for each in builds if each.gets_new_work]
    if at_work:
        missed = [each for each in at_work if not each.attended]
        await _tell_of_attendance(connection, deployment, missed, now)


def _became_current(build: Build, before: Sequence[str], now: datetime) -> AuditEntry:
    detail = f"{build.deployment}: {build.build_id} gets new work"
    return AuditEntry(
        occurred_at=now,
        correlation_id=CORRELATION,
        component=COMPONENT,
        actor="system",
        decision="BUILD_CURRENT",
        input={
            "detail": detail,
            "deployment": build.deployment,
            "build": build.build_id,
            "before": list(before),
        },
    )


async def _tell_of_attendance(
    connection: Connection, deployment: str, missed: Sequence[Build], now: datetime
) -> None:
    code = AlertCode.BUILD_UNATTENDED
    if not missed:
        await clear_alert(connection, code, deployment, component=COMPONENT, now=now)
        return
    alert = Alert(
        code=code,
        severity=Severity.CRITICAL,
        subject=deployment,
        text="; ".join(map(_missed, missed)),
        correlation_id=CORRELATION,
    )
    await raise_alert(connection, alert, component=COMPONENT, now=now)


def _missed(build: Build) -> str:
    name = f"no process of {build.deployment} runs build {build.build_id}, which gets"
    if build.state is BuildState.RAMPING:
        return f"{name} {build.ramp_percent} % of new work: that part goes back to the current build now"
    return f"{name} all new work: start it again, or promote a build that runs (`trading builds`)"


async def note_promotion(
    connection: Connection,
    deployments: Sequence[str],
    build_id: str,
    *,
    percent: int | None,
    person: str,
    reason: str,
    now: datetime,
) -> None:
    """The audit row of a person's word; that it is so is told by `save_builds`, once it is seen."""
    part = "all new work" if percent is None else f"{percent} % of new work"
    detail = f"{build_id} shall get {part}: {reason}"[:DETAIL_MAX_CHARACTERS]
    entry = AuditEntry(
        occurred_at=now,
        correlation_id=CORRELATION,
        component=CONSOLE,
        actor=person,
        decision="BUILD_PROMOTED",
        input={
            "detail": detail,
            "deployments": list(deployments),
            "build": build_id,
            "percent": percent,
            "reason": reason,
        },
    )
    await append(connection, entry)
