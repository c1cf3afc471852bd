"""Close positions: by ordinary closing signals through the gateway, which are judged like any other."""

from decimal import Decimal
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import Response

from console.acts.closing import Closing, ask, closable, propose
from console.acts.people import why
from console.gateway import open_gateway
from console.web.access import FreshRisk, Risk
from console.web.acting import Reason, actor_of, show, told
from console.web.deps import Deps
from console.web.problems import refused
from schemas.base import PRICE_MAX
from schemas.signals import STRATEGY_PATTERN, TICKER_PATTERN
from storage.closing import list_closings, read_held

router = APIRouter()

CLOSE = "/acts/close"
Ticker = Annotated[str | None, Query(pattern=TICKER_PATTERN)]
Strategy = Annotated[str | None, Query(pattern=STRATEGY_PATTERN)]


@router.get(CLOSE)
async def ask_close(
    request: Request, deps: Deps, person: Risk, ticker: Ticker = None, strategy: Strategy = None
) -> Response:
    """What would be closed."""
    async with deps.database.connection() as connection:
        held = closable(await read_held(connection, ticker))
        past = await list_closings(connection)
    wanted = [each for each in held if strategy in (None, each.strategy)]
    return show(
        request, "close", person, held=wanted, ticker=ticker, strategy=strategy, past=past, act_id=uuid4()
    )


@router.post(CLOSE)
async def close(
    request: Request,
    deps: Deps,
    person: FreshRisk,
    reason: Reason,
    act_id: Annotated[UUID, Form()],
    ticker: Annotated[str, Form(pattern=rf"{TICKER_PATTERN}|^$")] = "",
    strategy: Annotated[str, Form(pattern=rf"{STRATEGY_PATTERN}|^$")] = "",
    limit_price: Annotated[Decimal | None, Form(gt=0, le=PRICE_MAX, allow_inf_nan=False)] = None,
) -> Response:
    """Propose the closes. The form sent twice proposes the same signals."""
    if deps.gateway is None:
        raise refused("this console knows no gateway: propose the close with `trading signal submit`")
    with told():
        wish = Closing(
            ticker or None,
            strategy or None,
            why(reason, "positions are closed for a reason"),
            act_id,
            limit_price,
        )
        async with deps.database.connection() as connection:
            asked = await ask(connection, wish, actor_of(person, deps))
        async with open_gateway(deps.gateway.url, deps.gateway.token.get_secret_value()) as door:
            proposed = await propose(door, asked)
    return show(request, "closed", person, proposed=proposed)
