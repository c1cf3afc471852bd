"""Alerts: seen, silenced for a while, cleared where they do not end by themselves."""

from typing import Annotated, Final

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import Response

from console.acts import alerts as acts
from console.acts.people import why
from console.errors import BadUsage
from console.web.access import Operator
from console.web.acting import Reason, Span, actor_of, end_of, go_back, show, told
from console.web.deps import Deps
from schemas.alerts import CLEARED_BY_HAND, Severity
from schemas.people import Role
from storage.alerts import list_alerts

router = APIRouter()

ALERTS: Final = "/acts/alerts"
ID_CHARACTERS_MAX: Final = 300
AlertId = Annotated[str, Form(max_length=ID_CHARACTERS_MAX)]


@router.get(ALERTS)
async def show_alerts(
    request: Request,
    deps: Deps,
    person: Operator,
    alert_id: Annotated[str | None, Query(max_length=ID_CHARACTERS_MAX)] = None,
) -> Response:
    """Those that last, or one of them, each with what this person may do about it."""
    async with deps.database.connection() as connection:
        found = await list_alerts(connection)
    wanted = [each for each in found if alert_id in (None, each.alert_id)]
    may_silence = {
        each.alert_id for each in wanted if each.severity is not Severity.CRITICAL or person.may(Role.ADMIN)
    }
    return show(request, "alerts", person, alerts=wanted, may_silence=may_silence, by_hand=CLEARED_BY_HAND)


@router.post("/acts/alerts/acknowledge")
async def acknowledge(request: Request, deps: Deps, person: Operator, alert_id: AlertId) -> Response:
    """Somebody has seen it. Again, or by another: the first one stays."""
    with told():
        async with deps.database.connection() as connection:
            await acts.acknowledge(connection, alert_id, actor_of(person, deps))
    return go_back(request, ALERTS)


@router.post("/acts/alerts/silence")
async def silence(
    request: Request, deps: Deps, person: Operator, alert_id: AlertId, span: Span, reason: Reason
) -> Response:
    """Nobody is told of it for a while; a critical one only an Admin silences."""
    with told():
        end = end_of(span, deps.now())
        if end is None:
            raise BadUsage("a silence has an end", do="30m, 2h, or a time")
        text = why(reason, "an alert is silenced for a reason")
        async with deps.database.connection() as connection:
            await acts.silence(connection, alert_id, actor_of(person, deps), until=end, reason=text)
    return go_back(request, ALERTS)


@router.post("/acts/alerts/hear")
async def hear(request: Request, deps: Deps, person: Operator, alert_id: AlertId) -> Response:
    """End a silence before its time. Where nothing silences it nothing changes."""
    with told():
        async with deps.database.connection() as connection:
            await acts.end_silence(connection, alert_id, actor_of(person, deps))
    return go_back(request, ALERTS)


@router.post("/acts/alerts/clear")
async def clear(
    request: Request, deps: Deps, person: Operator, alert_id: AlertId, reason: Reason
) -> Response:
    """It was seen to. Over already: nothing changes."""
    with told():
        text = why(reason, "an alert is cleared for a reason")
        async with deps.database.connection() as connection:
            await acts.clear(connection, alert_id, actor_of(person, deps), reason=text)
    return go_back(request, ALERTS)
