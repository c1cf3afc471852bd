"""Routes under /v1/signals."""

import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from gateway.body import read_body
from gateway.deps import Caller, Deps
from gateway.documents import ACCEPTED_EXAMPLE, INVALID_REQUEST, SIGNAL_EXAMPLES, problems
from gateway.intake import SignalAccepted, accepted, take
from gateway.problems import not_found
from gateway.signals_in import parse_signal
from observability.logging import log_context
from observability.tracing import span_from
from schemas.signals import RESERVED_SIGNAL_IDS, SIGNAL_ID_PATTERN, SignalRow, SignalView, TimelineEntry
from storage.database import Connection
from storage.events import timeline
from storage.orders import read_order
from storage.protection import all_legs
from storage.risk import read_decision
from storage.signals import SignalNotFound, Token, list_signals, read_signal

LIST_DEFAULT: Final = 20
LIST_MAX: Final = 100
TOLD_BY: Final = frozenset({
    "Gateway", "RiskManager", "ExecutionAgent", "BrokerWatcher", "Protection", "Operations", "DriftMonitor",
    "Books",
})  # fmt: skip
"""Components whose rows a strategy may read of its own signal. A row of another story may bear the signal's id as
its name: a strategy's, a person's, a group's."""
NOT_TOLD: Final = ("ALERT_", "STRATEGY_ENABLED", "FUNDS_COVERED")
"""What these write of other stories, and what is said to operators alone."""

SignalId = Annotated[str, Path(description="As it was sent.")]

router = APIRouter(prefix="/v1/signals", tags=["signals"])

_BODY: Final[dict[str, Any]] = {
    "required": True,
    "description": "One proposed trade. Unknown fields are refused; send prices and quantities as strings.",
    "content": {
        "application/json": {
            "schema": {"$ref": "#/components/schemas/SignalIn"},
            "examples": SIGNAL_EXAMPLES,
        }
    },
}


class SignalList(BaseModel):
    """Signals of the token that asks, newest first."""

    model_config = ConfigDict(frozen=True)

    signals: tuple[SignalView, ...]


class Timeline(BaseModel):
    """The story of one signal, oldest first."""

    model_config = ConfigDict(frozen=True)

    signal_id: str
    entries: tuple[TimelineEntry, ...]


@router.post(
    "",
    status_code=202,
    summary="Propose a trade",
    response_model=SignalAccepted,
    responses={
        202: {
            "description": "Durably stored. The same id with the same content gets the same answer again, "
            "with `Idempotent-Replayed: true`.",
            "headers": {"Location": {"schema": {"type": "string"}}},
            "content": {"application/json": {"example": ACCEPTED_EXAMPLE}},
        },
        **problems(401, 403, 408, 409, 413, 415, 422, 429, 500, 503),
    },
    openapi_extra={"requestBody": _BODY},
)
async def submit_signal(request: Request, response: Response, deps: Deps, token: Caller) -> SignalAccepted:
    """Store one signal for ever, then start its order workflow. Risk decides next; follow the links."""
    body = await read_body(request)
    with span_from(request.headers.get("traceparent"), "POST /v1/signals", strategy=token.name) as span:
        signal = parse_signal(body)
        span.set_attribute("signal_id", signal.signal_id)
        with log_context(signal_id=signal.signal_id):
            new = await take(deps, token, signal)
    answer = accepted(signal.signal_id)
    response.headers["Location"] = answer.links.signal
    if not new:
        response.headers["Idempotent-Replayed"] = "true"
    return answer


@router.get(
    "", summary="List own signals", responses=problems(401, 429, 500, 503, own={422: INVALID_REQUEST})
)
async def own_signals(
    deps: Deps,
    token: Caller,
    limit: Annotated[int, Query(ge=1, le=LIST_MAX, description="How many at most.")] = LIST_DEFAULT,
) -> SignalList:
    """The newest signals of this token with what became of them."""
    async with deps.database.connection() as connection:
        ids = await list_signals(connection, token_id=token.token_id, limit=limit)
        views = [await _view(connection, await read_signal(connection, signal_id)) for signal_id in ids]
    return SignalList(signals=tuple(views))


@router.get("/{signal_id}", summary="Read one signal", responses=problems(401, 404, 429, 500, 503))
async def one_signal(signal_id: SignalId, deps: Deps, token: Caller) -> SignalView:
    """The signal, risk's decision with each check's arithmetic, and its order."""
    async with deps.database.connection() as connection:
        return await _view(connection, await own_signal(connection, token, signal_id))


@router.get(
    "/{signal_id}/timeline", summary="Read a signal's story", responses=problems(401, 404, 429, 500, 503)
)
async def signal_timeline(signal_id: SignalId, deps: Deps, token: Caller) -> Timeline:
    """Every decision and event of the signal from the audit log, save what is said to operators alone."""
    async with deps.database.connection() as connection:
        await own_signal(connection, token, signal_id)
        entries = await timeline(connection, signal_id)
    own = () if signal_id in RESERVED_SIGNAL_IDS else tuple(each for each in entries if _is_told(each))
    return Timeline(signal_id=signal_id, entries=own)


def _is_told(entry: TimelineEntry) -> bool:
    if entry.component == "Console":
        return entry.decision.startswith("CANCEL")
    return entry.component in TOLD_BY and not entry.decision.startswith(NOT_TOLD)


async def own_signal(connection: Connection, token: Token, signal_id: str) -> SignalRow:
    """The signal if this token sent it.

    Raises:
        ApiError: 404, also where it is another token's: nobody learns what others trade.
    """
    try:
        row = await read_signal(connection, signal_id) if re.fullmatch(SIGNAL_ID_PATTERN, signal_id) else None
    except SignalNotFound:
        row = None
    if row is None or row.token_id != str(token.token_id):
        raise not_found("signal")
    return row


async def _view(connection: Connection, row: SignalRow) -> SignalView:
    signal_id = row.proposal.signal_id
    return SignalView(
        signal_id=signal_id,
        strategy=row.proposal.strategy,
        created_at=row.proposal.created_at,
        received_at=row.received_at,
        valid_until=row.proposal.valid_until,
        order=(await read_order(connection, signal_id)).view,
        decision=await read_decision(connection, signal_id),
        legs=await all_legs(connection, signal_id),
    )
