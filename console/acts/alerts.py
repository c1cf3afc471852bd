"""Alerts as acts of a person: acknowledged, silenced for a while, cleared where they do not end by themselves."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from console.acts.people import COMPONENT, Actor
from console.errors import BadUsage, Refused
from schemas.alerts import CLEARED_BY_HAND, AlertCode, Severity, StoredAlert
from schemas.people import Role
from storage import alerts as rows
from storage.commits import committing

if TYPE_CHECKING:
    from storage.database import Connection

SILENCE_MAX: Final = timedelta(hours=24)
SAME_WISH: Final = timedelta(seconds=60)
"""Two silences by one person for one reason whose ends are closer than this are one that was sent twice."""
LOOK: Final = "look with `trading alerts`"


def code_and_subject(alert_id: str) -> tuple[AlertCode, str]:
    """Raises:
    BadUsage: it names no alert.
    """
    name, _, subject = alert_id.partition(":")
    if not subject or name not in set(AlertCode) or "\0" in subject:
        raise BadUsage("this names no alert: it is CODE:subject", do=LOOK)
    return AlertCode(name), subject


async def acknowledge(connection: Connection, alert_id: str, actor: Actor) -> bool:
    """Say that one has seen it. False where somebody has already.

    Raises:
        Refused: it does not last.
    """
    actor.require(Role.OPERATOR, "to acknowledge an alert")
    async with committing(connection, "console.alert_acknowledged"):
        await _lasting(connection, alert_id)
        return await rows.acknowledge_alert(
            connection, alert_id, name=actor.name, component=COMPONENT, now=actor.now()
        )


async def silence(
    connection: Connection, alert_id: str, actor: Actor, *, until: datetime, reason: str
) -> StoredAlert:
    """Let nobody be told of it before ``until``; it is shown all the same. One that lasts then is told again.

    Raises:
        Refused: it never was, or it is critical and this is no Admin.
        BadUsage: the end is past, or too far away.
    """
    actor.require(Role.OPERATOR, "to silence an alert")
    now = actor.now()
    if until <= now:
        raise BadUsage("a silence ends later than now", do="30m, 2h, or a time")
    if until > now + SILENCE_MAX:
        raise BadUsage(
            f"a silence lasts {SILENCE_MAX / timedelta(hours=1):g} hours at most", do="then look again"
        )
    async with committing(connection, "console.alert_silenced"):
        alert = await _lasting(connection, alert_id)
        if alert.severity is Severity.CRITICAL:
            actor.require(Role.ADMIN, "to silence a critical alert")
        if _is_said(alert, actor, until, reason):
            return alert
        return await rows.silence_alert(
            connection, alert_id, until=until, name=actor.name, reason=reason, component=COMPONENT, now=now
        )


async def end_silence(connection: Connection, alert_id: str, actor: Actor) -> bool:
    """Let people be told of it again, in some seconds if it lasts; False where nothing silences it."""
    actor.require(Role.OPERATOR, "to end a silence")
    async with committing(connection, "console.alert_heard"):
        return await rows.cut_silence(
            connection, alert_id, name=actor.name, component=COMPONENT, now=actor.now()
        )


async def clear(connection: Connection, alert_id: str, actor: Actor, *, reason: str) -> bool:
    """Clear an alert of what does not end by itself. False where it was over already.

    Raises:
        Refused: it ends by itself, or never was.
    """
    actor.require(Role.OPERATOR, "to clear an alert")
    code, subject = code_and_subject(alert_id)
    if code not in CLEARED_BY_HAND:
        raise Refused(f"{code.value} ends by itself, with what it tells of", do="see docs/RUNBOOK.md")
    if await rows.read_alert(connection, alert_id) is None:
        raise Refused("no such alert was ever raised", do=LOOK)
    async with committing(connection, "console.alert_cleared"):
        return await rows.clear_alert(
            connection, code, subject, component=COMPONENT, now=actor.now(), actor=actor.name, reason=reason
        )


def _is_said(alert: StoredAlert, actor: Actor, until: datetime, reason: str) -> bool:
    """The same wish was sent a moment ago."""
    if alert.silenced_until is None or (alert.silenced_by, alert.silence_reason) != (actor.name, reason):
        return False
    return abs(until - alert.silenced_until) < SAME_WISH


async def _lasting(connection: Connection, alert_id: str) -> StoredAlert:
    code_and_subject(alert_id)
    alert = await rows.lock_alert(connection, alert_id)
    if alert is None or alert.cleared_at is not None:
        raise Refused("this alert does not last", do=LOOK)
    return alert
