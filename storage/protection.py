"""The rows of protection: which shares want a stop, the legs that stand for them, what the broker said of those."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from schemas.orders import Action, OrderType, OrderView, TimeInForce
from schemas.protection import Holding, LegBasis, Lot, Obstacle, Protection
from schemas.wire import Leg
from storage.orders import LockedOrder, StoredOrder, stored_order
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("protection")

OPEN_MAX: Final = 1000


class ProtectionNotFound(Exception):
    """No entry of this signal has ended with shares that want a stop."""


@dataclass(frozen=True)
class LegTerms:
    """What a leg's next order is to be."""

    quantity: Decimal
    limit_price: Decimal | None
    """Of an exit; a stop has none."""


async def follow(locked: LockedOrder, after: StoredOrder, now: datetime) -> None:
    """Bring protection along with an entry that has just changed, in the same transaction.

    An opening entry that has ended with shares gets its row; what a closing one executes, protections give up.
    """
    if after.leg is not Leg.ENTRY:
        if after.filled_quantity < locked.order.filled_quantity:  # A bust brings shares back.
            await locked.connection.execute(_SQL["reopen"], after.signal_id, now)
        return
    if not after.action.opens:
        change = after.filled_quantity - locked.order.filled_quantity
        if change:
            await _give_up(locked.connection, after, change, now)
    elif after.hard_stop_loss is not None and after.status.is_final and after.filled_quantity > 0:
        await locked.connection.execute(_SQL["ensure_protection"], after.internal_order_id, now)


async def _give_up(connection: Connection, order: StoredOrder, change: Decimal, now: datetime) -> None:
    """Shares that are gone want no stop: those without one went first, then the oldest lots'.

    What a bust gives back, the newest lots get again.
    """
    key = (order.ticker, order.strategy, order.action.value)
    if change < 0:
        for row in await connection.fetch(_SQL["lock_given"], *key):
            back = min(row["given_up"], -change)
            if back:
                await connection.execute(_SQL["give_up"], row["signal_id"], -back, now)
            change += back
        return
    if not await connection.fetch(_SQL["lock_lots"], *key):
        return
    every_lot = await read_lots(connection, order.ticker, order.action)
    lots = [each for each in every_lot if each.strategy == order.strategy]
    holdings = await read_holdings(connection, order.ticker, order.action)
    held = sum((each.held for each in holdings if each.strategy == order.strategy), Decimal(0))
    left = min(sum((lot.quantity for lot in lots), Decimal(0)) - max(Decimal(0), held), change)
    for lot in lots:
        cut = max(Decimal(0), min(lot.quantity, left))
        if cut:
            await connection.execute(_SQL["give_up"], lot.signal_id, cut, now)
        left -= cut


async def insert_leg(
    connection: Connection, protection: Protection, generation: int, terms: LegTerms, now: datetime
) -> StoredOrder | None:
    """One more order of the leg that stands for the shares now. None: a repeat, which changes nothing."""
    is_stop = protection.leg is Leg.STOP
    kind = OrderType.STOP if is_stop else OrderType.LIMIT
    lifetime = TimeInForce.GTC if is_stop else TimeInForce.DAY
    row = await connection.fetchrow(
        _SQL["insert_leg"], protection.signal_id, uuid4(), protection.leg.value, generation, kind.value,
        lifetime.value, terms.quantity, None if is_stop else terms.limit_price,
        protection.stop_price if is_stop else None, now,
    )  # fmt: skip
    return stored_order(row) if row else None


async def fit_leg(
    connection: Connection, leg: StoredOrder, terms: LegTerms, now: datetime
) -> StoredOrder | None:
    """Change an order that was never sent. None: it was."""
    limit = None if leg.leg is Leg.STOP else terms.limit_price
    row = await connection.fetchrow(_SQL["fit_leg"], leg.internal_order_id, terms.quantity, limit, now)
    return stored_order(row) if row else None


async def lock_all(connection: Connection, signal_id: str) -> None:
    """Lock entry, legs and protection, in this order, each by a statement of its own.

    Raises:
        ProtectionNotFound: no such row.
    """
    await connection.execute(_SQL["lock_legs"], signal_id)
    await lock_protection(connection, signal_id)


async def lock_protection(connection: Connection, signal_id: str) -> None:
    """After its orders, as everyone else does.

    Raises:
        ProtectionNotFound: no such row.
    """
    if await connection.fetchval(_SQL["lock_protection"], signal_id) is None:
        raise ProtectionNotFound(signal_id)


async def read_protection(connection: Connection, signal_id: str) -> Protection:
    """The row with what its orders have come to.

    Raises:
        ProtectionNotFound: no such row.
    """
    row = await connection.fetchrow(_SQL["read_protection"], signal_id)
    if row is None:
        raise ProtectionNotFound(signal_id)
    return Protection.model_validate(dict(row))


async def read_lots(connection: Connection, ticker: str, action: Action) -> list[Lot]:
    """Every open protection's shares on this side of the ticker, oldest first."""
    return [
        Lot.model_validate(dict(row))
        for row in await connection.fetch(_SQL["read_lots"], ticker, action.value)
    ]


async def read_holdings(connection: Connection, ticker: str, action: Action) -> list[Holding]:
    """What each strategy holds on the side that ``action`` closes, and has asked to close."""
    rows = await connection.fetch(_SQL["read_holdings"], ticker, action.value)
    return [Holding.model_validate(dict(row)) for row in rows]


async def read_legs(connection: Connection, signal_id: str) -> list[StoredOrder]:
    """Legs that are not settled, and the newest of each."""
    return [stored_order(row) for row in await connection.fetch(_SQL["read_legs"], signal_id)]


async def all_legs(connection: Connection, signal_id: str) -> tuple[OrderView, ...]:
    """Every order of the signal's legs, oldest first."""
    return tuple(stored_order(row).view for row in await connection.fetch(_SQL["all_legs"], signal_id))


async def read_in_the_way(connection: Connection, ticker: str, action: Action) -> list[StoredOrder]:
    """Our own risk-adding orders that could trade against a leg."""
    return [
        stored_order(row) for row in await connection.fetch(_SQL["read_in_the_way"], ticker, action.value)
    ]


async def save_cover(connection: Connection, protection: Protection, now: datetime) -> None:
    """Write how it stands after a review."""
    await connection.execute(
        _SQL["save_cover"], protection.signal_id, protection.exiting, protection.obstacle,
        protection.obstacle_detail, protection.refusals, protection.retry_at, protection.uncovered_since,
        protection.closed_at, now,
    )  # fmt: skip


async def save_obstacle(
    connection: Connection,
    signal_id: str,
    obstacle: Obstacle,
    detail: str,
    *,
    retry_at: datetime,
    now: datetime,
) -> None:
    """Note the broker's refusal of a leg."""
    await connection.execute(_SQL["save_obstacle"], signal_id, obstacle.value, detail, retry_at, now)


async def open_on_ticker(connection: Connection, ticker: str, action: Action) -> tuple[str, ...]:
    """Signals whose shares an order of this action could take."""
    rows = await connection.fetch(_SQL["open_on_ticker"], ticker, action.value)
    return tuple(row["signal_id"] for row in rows)


async def open_protections(
    connection: Connection, *, created_before: datetime, after: str, limit: int = OPEN_MAX
) -> list[str]:
    """Signals whose protection must have a running workflow, by id."""
    rows = await connection.fetch(_SQL["open_protections"], created_before, after, limit)
    return [row["signal_id"] for row in rows]


async def read_leg_basis(locked: LockedOrder) -> LegBasis | None:
    """What a leg is measured by, in a statement of its own after fence and leg are locked."""
    order = locked.order
    row = await locked.connection.fetchrow(_SQL["read_leg_basis"], order.signal_id, order.internal_order_id)
    return LegBasis.model_validate(dict(row)) if row else None


async def lacks_shares(locked: LockedOrder) -> str | None:
    """Why a closing order must wait: legs at the broker still hold the shares that it needs. None: it need not."""
    order = locked.order
    row = await locked.connection.fetchrow(
        _SQL["shares_lent"], order.ticker, order.action.value, order.signal_id
    )
    assert row is not None, "aggregates always have a row"
    free = row["held"] - row["legs"] - row["closing"]
    if not row["legs"] or order.quantity <= free:
        return None
    return f"{order.quantity} wanted, {free} of {row['held']} free: protective legs hold {row['legs']}"
