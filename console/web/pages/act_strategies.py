"""Strategies: disabled by an Operator, enabled again by a named person with the role Risk."""

from typing import Annotated, Final

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from console.acts import strategies as acts
from console.acts.people import why
from console.web.access import Operator, Risk, Viewer
from console.web.acting import Reason, actor_of, go_back, show, told
from console.web.deps import Deps
from schemas.people import Role
from schemas.signals import STRATEGY_PATTERN
from storage.conduct import list_stops

router = APIRouter()

STRATEGIES: Final = "/acts/strategies"
Strategy = Annotated[str, Form(pattern=STRATEGY_PATTERN)]


@router.get(STRATEGIES)
async def show_strategies(request: Request, deps: Deps, person: Viewer) -> Response:
    """Which may open nothing, since when and why; which were enabled again, and by whom."""
    async with deps.database.connection() as connection:
        stops = await list_stops(connection, everything=True)
    return show(
        request, "strategies", person, stops=stops, may_disable=person.may(Role.OPERATOR),
        may_enable=person.may(Role.RISK),
    )  # fmt: skip


@router.post("/acts/strategies/disable")
async def disable(
    request: Request, deps: Deps, person: Operator, strategy: Strategy, reason: Reason
) -> Response:
    """It opens nothing from the next decision on; it may close. Disabled already: nothing changes."""
    with told():
        text = why(reason, "a strategy is disabled for a reason")
        async with deps.database.connection() as connection:
            await acts.disable(connection, strategy, actor_of(person, deps), reason=text)
    return go_back(request, STRATEGIES)


@router.post("/acts/strategies/enable")
async def enable(request: Request, deps: Deps, person: Risk, strategy: Strategy, reason: Reason) -> Response:
    """It may trade again, in this person's name."""
    with told():
        text = why(reason, "say what was wrong, and what was done about it")
        async with deps.database.connection() as connection:
            await acts.enable(connection, strategy, actor_of(person, deps), reason=text)
    return go_back(request, STRATEGIES)
