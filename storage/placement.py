"""The rows that make a placement happen exactly once: the fence, the intent, the evidence of absence."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from schemas.base import Wire
from schemas.orders import OrderRequest
from storage.orders import LockedOrder, StoredOrder, stored_order
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("placement")

FENCE_KEY: Final = 0x7469_6665
"""Advisory lock: shared by every placement try, exclusive for the kill switch."""

POSTING_SECONDS: Final = 15
"""After this long on the database's clock a started POST can no longer leave: the adapter's total deadline."""

POSTS_MAX: Final = 3


class SwitchRow(Wire):
    """The kill switch as a placement try reads it."""

    engaged: bool
    epoch: int
    reason: str | None = None


class ApprovalTaken(Exception):
    """This approval already bought another order."""


async def take_fence(connection: Connection) -> bool:
    """Share the fence for this session; False while the kill switch holds it."""
    taken: bool = await connection.fetchval(_SQL["take_fence"], FENCE_KEY)
    return taken


async def free_fence(connection: Connection) -> None:
    """Give the share back."""
    await connection.fetchval(_SQL["free_fence"], FENCE_KEY)


async def read_switch(connection: Connection) -> SwitchRow:
    """The kill switch, in a statement of its own after the fence is taken."""
    row = await connection.fetchrow(_SQL["read_switch"])
    assert row is not None, "kill_switch always has its one row"
    return SwitchRow.model_validate(dict(row))


async def bind_approval(locked: LockedOrder, approval_id: UUID, client_order_id: str, now: datetime) -> None:
    """Tie the approval to this order for ever. The same order may present it again.

    Raises:
        ApprovalTaken: it is tied to another.
    """
    connection, leg = locked.connection, locked.order.leg.value
    await connection.execute(_SQL["bind_approval"], approval_id, leg, client_order_id, now)
    if await connection.fetchval(_SQL["read_binding"], approval_id, leg) != client_order_id:
        raise ApprovalTaken(f"approval {approval_id} was used for another order")


async def write_intent(
    locked: LockedOrder, request: OrderRequest, *, market_now: datetime, now: datetime
) -> StoredOrder:
    """Make it durable that a POST of ``request`` may be out from now until ``posting_deadline``."""
    row = await locked.connection.fetchrow(
        _SQL["write_intent"], locked.order.internal_order_id, request.client_order_id,
        request.model_dump_json(), market_now, float(POSTING_SECONDS), now,
    )  # fmt: skip
    assert row is not None, "the row is locked by this transaction"
    return stored_order(row)


async def write_not_sent(locked: LockedOrder, now: datetime) -> StoredOrder:
    """Take back an intent of which no byte was sent, or which the broker refused unread. A repeat is free."""
    row = await locked.connection.fetchrow(_SQL["write_not_sent"], locked.order.internal_order_id, now)
    return stored_order(row) if row else locked.order


async def write_pre_trade(locked: LockedOrder, now: datetime) -> None:
    """Note when the checks right before the POST were last passed."""
    await locked.connection.execute(_SQL["write_pre_trade"], locked.order.internal_order_id, now)


async def write_absence(
    locked: LockedOrder, *, lookups: int, since: datetime | None, proved: bool, now: datetime
) -> StoredOrder:
    """Store how far the proof of absence has come; ``proved`` closes the POSTs made so far."""
    order = locked.order
    row = await locked.connection.fetchrow(
        _SQL["write_absence"], order.internal_order_id, lookups, since,
        order.post_count if proved else order.absent_proved_posts, proved, now,
    )  # fmt: skip
    assert row is not None, "the row is locked by this transaction"
    return stored_order(row)


async def database_time(connection: Connection) -> datetime:
    """The clock that ``posting_deadline`` is on: one for all processes."""
    time: datetime = await connection.fetchval(_SQL["database_time"])
    return time


async def unanswered_posts(connection: Connection, *, grace_seconds: float) -> tuple[str, ...]:
    """client_order_ids whose POST may still leave this machine."""
    rows = await connection.fetch(_SQL["unanswered_posts"], grace_seconds)
    return tuple(row["client_order_id"] for row in rows)
