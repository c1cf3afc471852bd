"""The rows that make a placement happen exactly once: the fence, the intent, the evidence of absence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from risk.messages import UserMessage
from schemas.approvals import signal_hash
from schemas.base import DecimalText, UtcTime, Wire
from schemas.orders import OrderRequest, OrderStatus
from schemas.risk import Proposal
from schemas.wire import Leg
from storage.clock import HEARD_WITHIN
from storage.orders import LockedOrder, OrderKey, OrderNotFound, StoredOrder, stored_order
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("placement")

FENCE_KEY: Final = 0x7469_6665
"""Advisory lock: shared by every placement try, exclusive for the kill switch."""

POSTING_SECONDS: Final = 15
"""After this long on the database's clock a started POST can no longer leave: the adapter's total deadline."""

POSTS_MAX: Final = 3

_FINAL: Final = [each.value for each in OrderStatus if each.is_final]
DELAYS: Final = (UserMessage.BROKER_API_DOWN.value, UserMessage.RATE_LIMITING.value)
"""What is said of an order while it may not leave yet; over with the intent."""


class PlacementBasis(Wire):
    """What decides whether a try may send: read after the fence is taken and the order is locked."""

    engaged: bool
    switch_epoch: int
    valid_until: UtcTime
    received_at: UtcTime
    as_signalled: bool
    """The order row says what the signal row says."""
    approval_id: UUID | None
    approved: bool | None
    approved_epoch: int | None
    decided_at: UtcTime | None
    expires_at: UtcTime | None
    approved_quantity: DecimalText | None
    approved_price: DecimalText | None
    """US dollars: what an execution may cost at worst."""
    approved_stop: DecimalText | None
    limits_version: int | None
    approval: str | None
    """What risk has signed, in its very characters."""
    approval_signature: str | None
    approval_key_id: str | None
    signal_hash: str
    """Of the signal's row as it is now."""
    ticker_unknown: bool
    """Some order on this ticker has an outcome that nobody knows."""
    strategy_disabled: bool
    """Now, or since the decision."""
    symbol_locked: bool


@dataclass(frozen=True)
class Gate:
    """An order that asks for its turn, and what stops everybody's."""

    order: StoredOrder
    halt: str | None
    """Why nothing leaves; None: no halt is open."""
    wrong_clock: str | None
    """Whose clock is wrong, so that no new order leaves; None: none is."""


class NoFenceConnection(Exception):
    """Every placement slot is taken. Nothing was done; try again."""


class IntentRefused(Exception):
    """The intent must not be stored; the message is the reason's code. Roll the transaction back."""

    def __init__(self, reason: str, why: str = "", *, user_message: str | None = None) -> None:
        super().__init__(reason)
        self.why = why
        self.user_message = user_message


async def take_fence(connection: Connection) -> bool:
    """Share the fence for this session; False while the kill switch holds it."""
    taken: bool = await connection.fetchval(_SQL["take_fence"], FENCE_KEY)
    return taken


async def free_fence(connection: Connection) -> None:
    """Give the share back."""
    await connection.fetchval(_SQL["free_fence"], FENCE_KEY)


async def read_gate(connection: Connection, key: OrderKey) -> Gate:
    """The order that ``key`` names, the broker's halt and the clocks', in one reading.

    Raises:
        OrderNotFound: no such row.
    """
    row = await connection.fetchrow(
        _SQL["read_gate"], key.signal_id, key.leg.value, key.generation, HEARD_WITHIN
    )
    if row is None:
        raise OrderNotFound(key.signal_id)
    values = dict(row)
    halted, cause, wrong_clock = (values.pop(name) for name in ("halted", "halt_cause", "wrong_clock"))
    return Gate(stored_order(values), str(cause) if halted else None, wrong_clock)


async def read_basis(locked: LockedOrder, wall: datetime) -> PlacementBasis:
    """Kill switch, signal and decision, in a statement of its own after fence and order lock are taken.

    ``wall`` is our own clock: no argument may end a lock of the ticker before its time.
    """
    row = await locked.connection.fetchrow(_SQL["read_basis"], locked.order.signal_id, wall)
    assert row is not None, "an order has its signal, kill_switch its one row"
    values = dict(row)
    return PlacementBasis.model_validate(
        {**values, "signal_hash": signal_hash(Proposal.model_validate(values))}
    )


async def write_intent(
    locked: LockedOrder, request: OrderRequest, approval_id: UUID, *, market_now: datetime, now: datetime
) -> StoredOrder:
    """Bind the approval, tie the reservation, and make it durable that a POST may be out until its deadline.

    Raises:
        IntentRefused: RESERVATION_LAPSED, or APPROVAL_TAKEN where the approval bought another order.
    """
    row = await locked.connection.fetchrow(
        _SQL["write_intent"], locked.order.internal_order_id, request.client_order_id,
        request.model_dump_json(), market_now, float(POSTING_SECONDS), now, approval_id, DELAYS,
    )  # fmt: skip
    assert row is not None, "the row is locked by this transaction"
    values = dict(row)
    if values.pop("bound_to") != request.client_order_id:
        raise IntentRefused("APPROVAL_TAKEN")
    # A leg reserves nothing: it can only reduce.
    if not values.pop("working") and locked.order.leg is Leg.ENTRY:
        raise IntentRefused("RESERVATION_LAPSED")
    return stored_order(values)


async def write_not_sent(locked: LockedOrder, post_count: int, now: datetime) -> StoredOrder:
    """Take back the POST numbered ``post_count``: no byte was sent, or the broker refused it unread.

    A repeat is free, and a late result of an older POST leaves a newer one alone.
    """
    row = await locked.connection.fetchrow(
        _SQL["write_not_sent"], locked.order.internal_order_id, now, post_count
    )
    return stored_order(row) if row else locked.order


async def write_delay(locked: LockedOrder, message: UserMessage, now: datetime) -> StoredOrder | None:
    """Say why the order waits; None where that is said already, or it has ended."""
    row = await locked.connection.fetchrow(
        _SQL["write_delay"], locked.order.internal_order_id, message.value, now
    )
    return stored_order(row) if row else None


async def mark_conflict(locked: LockedOrder, conflict: str, now: datetime) -> StoredOrder | None:
    """Note that the broker holds a different order under our id; None where that was noted before."""
    row = await locked.connection.fetchrow(
        _SQL["mark_conflict"], locked.order.internal_order_id, conflict, now
    )
    return stored_order(row) if row else None


async def mark_taken(locked: LockedOrder, now: datetime) -> None:
    """Note that the broker refused our id as taken: an order stands under it, whatever look-ups say."""
    await locked.connection.execute(_SQL["mark_taken"], locked.order.internal_order_id, now)


async def read_due(connection: Connection, signal_id: str) -> tuple[StoredOrder, datetime | None]:
    """A signal's entry, and when risk decided on it; None where it has not.

    Raises:
        OrderNotFound: no such row.
    """
    row = await connection.fetchrow(_SQL["read_due"], signal_id)
    if row is None:
        raise OrderNotFound(signal_id)
    return stored_order(row), row["decided_at"]


async def write_pre_trade(connection: Connection, order: StoredOrder, now: datetime) -> StoredOrder | None:
    """Note when the checks right before the POST were last passed, and lock the row.

    None where no POST is to be made any more: it has ended, or may stand at the broker.
    """
    row = await connection.fetchrow(_SQL["write_pre_trade"], order.internal_order_id, now, _FINAL)
    return stored_order(row) if row else None


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
