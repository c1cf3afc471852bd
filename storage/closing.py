"""What persons had closed: the very signals that were given to the gateway, each with its audit row."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final
from uuid import UUID

from schemas.audit import AuditEntry
from schemas.base import DecimalText, UtcTime, Wire
from storage.events import append
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("closing")

LIST_MAX: Final = 200


class ClosingRequest(Wire):
    """One close that a person has asked for."""

    signal_id: str
    document: str
    """The signal as JSON, in its very characters: given again it is the same signal."""
    ticker: str
    strategy: str
    asked_at: UtcTime
    asked_by: str
    person_id: UUID
    reason: str


class Held(Wire):
    """What is held of a ticker for a strategy."""

    ticker: str
    strategy: str
    quantity: DecimalText
    """Signed shares."""


async def ask_closing(connection: Connection, request: ClosingRequest, *, component: str) -> str:
    """Write down what is about to be proposed, before it is; the same ``signal_id`` again is the first one.

    Returns:
        The document to give to the gateway.
    """
    fresh = await connection.fetchval(
        _SQL["ask"], request.signal_id, request.document, request.ticker, request.strategy, request.asked_at,
        request.asked_by, request.person_id, request.reason,
    )  # fmt: skip
    if fresh is not None:
        told = AuditEntry(
            occurred_at=request.asked_at,
            correlation_id=request.signal_id,
            component=component,
            actor=request.asked_by,
            decision="CLOSE_ASKED",
            input={
                "detail": f"close {request.ticker} of {request.strategy}: {request.reason}",
                "signal": request.document,
            },
        )
        await append(connection, told)
    document: str = await connection.fetchval(_SQL["read"], request.signal_id)
    return document


async def list_closings(connection: Connection) -> list[ClosingRequest]:
    """Newest first."""
    return [
        ClosingRequest.model_validate(dict(row)) for row in await connection.fetch(_SQL["list"], LIST_MAX)
    ]


async def read_held(connection: Connection, ticker: str | None = None) -> list[Held]:
    """What the books hold, by ticker and strategy."""
    return [Held.model_validate(dict(row)) for row in await connection.fetch(_SQL["held"], ticker)]


def whole_shares(held: Held) -> Decimal:
    """Shares that a signal can close: a broken rest stays."""
    return abs(held.quantity).to_integral_value(rounding="ROUND_DOWN")
