"""Locks of tickers: set by an Operator, lifted by who set them or by Risk."""

from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from console.acts import locks as acts
from console.acts.people import why
from console.web.access import Operator, Viewer
from console.web.acting import Reason, Span, actor_of, end_of, go_back, show, told
from console.web.deps import Deps
from schemas.people import Role
from schemas.signals import TICKER_PATTERN
from storage.locks import holding_locks, past_locks

router = APIRouter()

LOCKS = "/acts/locks"


@router.get(LOCKS)
async def show_locks(request: Request, deps: Deps, person: Viewer) -> Response:
    """Which hold: of which ticker, until when, why, by whom; and those that are over."""
    now = deps.now()
    async with deps.database.connection() as connection:
        holding, past = await holding_locks(connection, now), await past_locks(connection)
    may_lift = {
        each.lock_id
        for each in holding
        if person.may(Role.RISK) or (person.may(Role.OPERATOR) and each.person_id == person.person_id)
    }
    over = [each for each in past if each.lock_id not in {lock.lock_id for lock in holding}]
    return show(
        request, "locks", person, holding=holding, over=over, may_lift=may_lift, lock_id=uuid4(),
        may_lock=person.may(Role.OPERATOR),
    )  # fmt: skip


@router.post(LOCKS)
async def lock(
    request: Request,
    deps: Deps,
    person: Operator,
    ticker: Annotated[str, Form(pattern=TICKER_PATTERN)],
    reason: Reason,
    lock_id: Annotated[UUID, Form()],
    span: Span = "",
) -> Response:
    """Let nothing new be opened in a ticker. The form sent twice sets one lock."""
    with told():
        end, text = end_of(span, deps.now()), why(reason, "a ticker is locked for a reason")
        async with deps.database.connection() as connection:
            await acts.lock_ticker(
                connection, ticker, actor_of(person, deps), lock_id=lock_id, until=end, reason=text
            )
    return go_back(request, LOCKS)


@router.post("/acts/locks/{lock_id}/lift")
async def lift(request: Request, deps: Deps, person: Operator, lock_id: UUID, reason: Reason) -> Response:
    """End one lock; another's needs the role Risk. One that is over already stays as it is."""
    with told():
        text = why(reason, "a lock is lifted for a reason")
        async with deps.database.connection() as connection:
            await acts.lift(connection, [lock_id], actor_of(person, deps), reason=text)
    return go_back(request, LOCKS)
