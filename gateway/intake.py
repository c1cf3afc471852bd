"""Accepting a signal: durable first, started second."""

import time

from pydantic import BaseModel, ConfigDict

from activities.starter import TemporalUnavailable
from gateway.deps import GatewayDeps
from gateway.problems import ApiError, Code, FieldProblem, unavailable
from gateway.scopes import refused_use
from gateway.signals_in import check_times
from observability.logging import get_logger
from observability.tracing import current_traceparent
from schemas.risk import Proposal
from schemas.signals import SignalIn
from schemas.wire import order_workflow_id
from storage.database import Connection
from storage.orders import read_order
from storage.signals import SignalConflict, Token, accept_signal

_log = get_logger(__name__)


class Links(BaseModel):
    """Where to read on, as paths of this server."""

    model_config = ConfigDict(frozen=True)

    signal: str
    order: str
    timeline: str


class SignalAccepted(BaseModel):
    """The answer to an accepted signal; word for word the same however often it is sent."""

    model_config = ConfigDict(frozen=True)

    signal_id: str
    status: str = "ACCEPTED"
    """The signal is durable. What became of it since stands behind the links."""
    workflow_id: str
    links: Links


def accepted(signal_id: str) -> SignalAccepted:
    """The first answer, which depends on the id alone."""
    signal = f"/v1/signals/{signal_id}"
    links = Links(signal=signal, order=f"/v1/orders/{signal_id}", timeline=f"{signal}/timeline")
    return SignalAccepted(signal_id=signal_id, workflow_id=order_workflow_id(signal_id), links=links)


async def take(deps: GatewayDeps, token: Token, signal: SignalIn) -> bool:
    """As `_take`, and a line of the log: the first of the order's story, or the only one of what was refused."""
    began = time.monotonic()
    try:
        new = await _take(deps, token, signal)
    except ApiError as error:
        fields = [f"{each.field}: {each.message}" for each in error.detail.fields]
        _log.info(
            "signal refused", signal_id=signal.signal_id, strategy=signal.strategy, http_status=error.status,
            code=error.detail.code.value, reason=error.detail.message, fields=fields, duration_ms=_since(began),
        )  # fmt: skip
        raise
    _log.info(
        "signal accepted", signal_id=signal.signal_id, strategy=signal.strategy, ticker=signal.ticker, new=new,
        duration_ms=_since(began),
    )  # fmt: skip
    return new


def _since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)


async def _take(deps: GatewayDeps, token: Token, signal: SignalIn) -> bool:
    """Store the signal and start its workflow. True when it is new, False when it was here before.

    When this returns the signal is committed. If Temporal did not answer, the sweeper starts the workflow.

    Raises:
        ApiError: 403 beyond what the token may, 409 the id is taken, 422 a time is wrong, 503 this machine's clock
            is wrong. Nothing was stored.
    """
    if (fault := deps.clock_fault()) is not None:
        raise unavailable(fault)
    if not token.may_propose_for(signal.strategy):
        raise await refused_use(
            deps, token, "strategy", signal.strategy, token.strategies, signal_id=signal.signal_id
        )
    if not token.may_trade(signal.ticker):
        raise await refused_use(
            deps, token, "ticker", signal.ticker, token.tickers, signal_id=signal.signal_id
        )
    now = deps.now()
    proposal = check_times(signal, now)

    async def work(connection: Connection) -> bool:
        return await accept_signal(
            connection, signal, token, valid_until=proposal.valid_until, now=now,
            traceparent=current_traceparent(),
        )  # fmt: skip

    try:
        new = await deps.database.run("gateway.signal", work)
    except SignalConflict as error:
        raise ApiError(
            409, Code.SIGNAL_CONFLICT, str(error), fields=[FieldProblem(field="signal_id", message="taken")]
        ) from error
    if new or not await _settled(deps, signal.signal_id):
        await _start(deps, proposal)
    return new


async def _settled(deps: GatewayDeps, signal_id: str) -> bool:
    async with deps.database.connection() as connection:
        return (await read_order(connection, signal_id)).settled


async def _start(deps: GatewayDeps, proposal: Proposal) -> None:
    try:
        await deps.starter.start(proposal)
    except TemporalUnavailable as error:
        _log.warning("workflow not started yet", signal_id=proposal.signal_id, error=str(error))
