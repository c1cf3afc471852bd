"""The rows of protection: which shares want a stop, the legs that stand for them, what the broker said of those."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from risk.protection import share_out
from schemas.audit import AuditEntry
from schemas.base import decimal_text
from schemas.orders import Action, OrderType, OrderView, TimeInForce
from schemas.protection import Holding, LegBasis, Lot, Obstacle, Protection
from schemas.risk import CheckName
from schemas.wire import Leg
from storage.events import append
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

    An opening entry that has ended with shares gets its row; what is sold or covered, protections give up.
    """
    connection, before = locked.connection, locked.order
    change = after.filled_quantity - before.filled_quantity
    if after.leg is not Leg.ENTRY:
        if change < 0 and await connection.fetchval(_SQL["reopen"], after.signal_id, now):
            detail = (
                f"{decimal_text(-change)} shares are back: {after.leg.value} {after.generation} was busted"
            )
            await append(connection, _told(after.signal_id, "PROTECTION_REOPENED", detail, now))
        return
    if not after.action.opens:
        if change < 0:
            await _give_back(connection, after, -change, now)
        if change:
            await write_off(connection, after.ticker, after.action, now)
        return
    closes_by = Action.SELL_TO_CLOSE if after.action is Action.BUY_TO_OPEN else Action.BUY_TO_CLOSE
    if change > 0:
        # Shares that come back no older lot: what that has lost is lost before these.
        fresh = Lot(signal_id=after.signal_id, strategy=after.strategy, quantity=change)
        await write_off(connection, after.ticker, closes_by, now, fresh=fresh)
    if after.hard_stop_loss is not None and after.status.is_final and after.filled_quantity > 0:
        await lock_lots(connection, after.ticker, closes_by)
        if await connection.fetchval(_SQL["ensure_protection"], after.internal_order_id, now):
            stop = decimal_text(after.hard_stop_loss)
            detail = f"{decimal_text(after.filled_quantity)} {after.ticker} want a stop at {stop}"
            await append(connection, _told(after.signal_id, "PROTECTION_OPENED", detail, now))
        # Its first shares may have been closed before its last ones came.
        await write_off(connection, after.ticker, closes_by, now)


async def _give_back(connection: Connection, order: StoredOrder, shares: Decimal, now: datetime) -> None:
    """What a bust gives back, the newest lots get again."""
    await lock_lots(connection, order.ticker, order.action)
    for row in await connection.fetch(_SQL["lock_given"], order.ticker, order.strategy, order.action.value):
        back = min(row["given_up"], shares)
        if back:
            await connection.execute(_SQL["give_up"], row["signal_id"], -back, now)
            detail = f"{decimal_text(back)} shares are back by a bust: they want their stop again"
            await append(connection, _told(row["signal_id"], "SHARES_GIVEN_BACK", detail, now))
        shares -= back


async def write_off(
    connection: Connection, ticker: str, action: Action, now: datetime, *, fresh: Lot | None = None
) -> None:
    """Shares that are gone want no stop, whoever has closed them: else an old stop would sell the next ones.

    Those that can have no stop went first, then the oldest lots'; first what the strategy does not hold, then
    what the account does not. Not while executions are missing. ``fresh``: shares that came just now back no
    other lot. A repeat changes nothing.
    """
    if not await lock_lots(connection, ticker, action):
        return
    found = await connection.fetch(_SQL["read_backing"], ticker, action.value)
    if not found or found[0]["fills_missing"]:
        return
    names = ("signal_id", "strategy", "quantity", "beyond")
    lots = [Lot.model_validate({name: row[name] for name in names}) for row in found]
    pairs = zip(found[0]["holders"], found[0]["held"], strict=True)
    holdings = [Holding(strategy=strategy, held=held) for strategy, held in pairs]
    if fresh is not None:
        holdings.append(Holding(strategy=fresh.strategy, held=-fresh.quantity))
        lots = [_without(lot, fresh) for lot in lots]
    backed = share_out(lots, holdings)
    for lot in lots:
        gone = lot.quantity - backed[lot.signal_id]
        if gone:
            await connection.execute(_SQL["give_up"], lot.signal_id, gone, now)
            await append(connection, _gone(lot, gone, holdings, now))


def _without(lot: Lot, fresh: Lot) -> Lot:
    if lot.signal_id != fresh.signal_id:
        return lot
    rest = {
        "quantity": max(Decimal(0), lot.quantity - fresh.quantity),
        "beyond": max(Decimal(0), lot.beyond - fresh.quantity),
    }
    return lot.model_copy(update=rest)


def _gone(lot: Lot, gone: Decimal, holdings: Sequence[Holding], now: datetime) -> AuditEntry:
    held = sum((each.held for each in holdings), Decimal(0))
    own = sum((each.held for each in holdings if each.strategy == lot.strategy), Decimal(0))
    detail = f"{decimal_text(gone)} of its {decimal_text(lot.quantity)} shares are gone: they want no stop any more"
    shares = {"gone": gone, "lot": lot.quantity, "held": held, "held_by_the_strategy": own}
    evidence = {name: decimal_text(quantity) for name, quantity in shares.items()}
    return _told(lot.signal_id, "SHARES_GIVEN_UP", detail, now, **evidence)


def _told(signal_id: str, decision: str, detail: str, now: datetime, **evidence: str) -> AuditEntry:
    return AuditEntry(
        occurred_at=now,
        correlation_id=signal_id,
        component="Protection",
        actor="system",
        decision=decision,
        input={"detail": detail, **evidence},
    )


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
    """Change an order of which no POST was ever begun. None: one was, though it may be proved unsent."""
    limit = None if leg.leg is Leg.STOP else terms.limit_price
    row = await connection.fetchrow(_SQL["fit_leg"], leg.internal_order_id, terms.quantity, limit, now)
    return stored_order(row) if row else None


async def lock_all(connection: Connection, signal_id: str) -> tuple[str, Action]:
    """Lock entry and legs, and then every open protection on the ticker, as they share what is held.

    Returns:
        The ticker, and what the protection's legs do.

    Raises:
        ProtectionNotFound: no such row.
    """
    await connection.execute(_SQL["lock_legs"], signal_id)
    return await lock_protection(connection, signal_id)


async def lock_protection(connection: Connection, signal_id: str) -> tuple[str, Action]:
    """Lock it and every open one on its side of the ticker, oldest first, after one's own orders. As `lock_all`."""
    for row in await connection.fetch(_SQL["lock_protection"], signal_id):
        if row["signal_id"] == signal_id:
            return row["ticker"], Action(row["action"])
    raise ProtectionNotFound(signal_id)


async def lock_lots(connection: Connection, ticker: str, action: Action) -> bool:
    """Lock every open protection on this side of the ticker, oldest first and after one's own order.

    Whoever gives shares to an order holds these until the order's intent is stored, so that a leg and a closing
    order never both get the same ones. False: there is none.
    """
    return bool(await connection.fetch(_SQL["lock_lots"], ticker, action.value))


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
    """What a leg is measured by, in statements of their own after fence, leg and lots are locked."""
    connection, order = locked.connection, locked.order
    await connection.fetch(_SQL["lock_protection"], order.signal_id)
    row = await connection.fetchrow(_SQL["read_leg_basis"], order.signal_id, order.internal_order_id)
    if row is None:
        return None
    action = Action(row["closes_by"])
    lots = await read_lots(connection, row["ticker"], action)
    shares = share_out(lots, await read_holdings(connection, row["ticker"], action))
    found = {name: value for name, value in row.items() if name != "closes_by"}
    return LegBasis.model_validate({**found, "share": shares.get(order.signal_id, Decimal(0))})


@dataclass(frozen=True)
class Shortage:
    """Why a closing order may not leave now. ``refusal``: nor ever, with this reason."""

    why: str
    refusal: CheckName | None


async def lacks_shares(locked: LockedOrder) -> Shortage | None:
    """What a closing order lacks of the shares that it is for. None: nothing.

    It waits while legs hold shares that they may give back, or have executed some that nobody has told yet.
    Once neither is so, and stops or others have taken what it was approved for, it is refused.
    """
    order = locked.order
    await lock_lots(locked.connection, order.ticker, order.action)
    row = await locked.connection.fetchrow(
        _SQL["shares_lent"], order.ticker, order.action.value, order.signal_id
    )
    assert row is not None, "aggregates always have a row"
    free = row["held"] - row["legs"] - row["untold"] - row["closing"]
    if order.quantity <= free:
        return None
    refusal = None
    if not row["legs"] and not row["untold"]:
        is_sell = order.action is Action.SELL_TO_CLOSE
        refusal = CheckName.SELL_MORE_THAN_HELD if is_sell else CheckName.COVER_MORE_THAN_SHORT
    why = (
        f"{order.quantity} wanted, {free} of {row['held']} free: protective legs hold {row['legs']}, have "
        f"executed {row['untold']} that are not told yet, other closing orders want {row['closing']}"
    )
    return Shortage(why, refusal)
