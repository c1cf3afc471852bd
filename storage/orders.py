"""Order rows: read, lock, and change together with their executions, position, event and audit rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Protocol

from schemas.base import DecimalText, UtcTime
from schemas.orders import Fill, OrderFlag, OrderRequest, OrderState, OrderView, Side
from schemas.wire import Leg
from storage.journal import reverse_residuals
from storage.statements import load

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection

_SQL: Final = load("orders")

LIST_MAX: Final = 500


class OrderNotFound(Exception):
    """No order row has this id."""


class StoredOrder(OrderView):
    """The whole order row: the view that people and workflows get, and what placement keeps beside it."""

    extended_hours: bool = False
    request: OrderRequest | None = None
    broker_filled_quantity: DecimalText
    execution_count: int = 0
    replaced_by: str | None = None
    broker_quantity: DecimalText | None = None
    """What the broker's order is for since it was replaced or restated; None while that is what we asked."""
    predecessors: tuple[str, ...] = ()
    pre_trade_at: UtcTime | None = None
    post_open: bool
    """A POST was started and its answer is not yet stored."""
    first_post_at: UtcTime | None = None
    """On the market's clock."""
    posting_deadline: UtcTime | None = None
    """On the database's clock: after it, the last POST can no longer leave."""
    id_taken: bool = False
    """The broker has said that it holds an order under our id."""
    identity_conflict: str | None = None
    """How the order that the broker holds under our id differs from the one we sent."""
    absent_lookups: int
    absent_since: UtcTime | None = None
    traceparent: str | None = None
    """The trace of its signal, where the row was read for what the broker says of it."""
    absent_proved_posts: int
    """How many POSTs are proved not to stand at the broker; equal to ``post_count`` means none does."""

    @property
    def view(self) -> OrderView:
        return OrderView.model_validate(self.model_dump(include=set(OrderView.model_fields)))


def stored_order(row: asyncpg.Record | dict[str, Any]) -> StoredOrder:
    """Build the model from one row of ``orders``."""
    values = dict(row)
    request = values.pop("request")
    values["quantity"] = values.get("broker_quantity") or values["quantity"]
    return StoredOrder.model_validate(
        {
            **values,
            "request": OrderRequest.model_validate_json(request) if request else None,
            "settled": values["settled_at"] is not None,
            "may_stand": values["post_count"] > values["absent_proved_posts"],
        }
    )


@dataclass
class LockedOrder:
    """An order whose row is locked until the transaction ends, with the state ``lifecycle.apply`` works on."""

    connection: Connection
    order: StoredOrder
    state: OrderState

    @property
    def key(self) -> tuple[str, str, int]:
        return (self.order.signal_id, self.order.leg.value, self.order.generation)


class OrderKey(Protocol):
    """Names one order: a question about it, or the order itself."""

    @property
    def signal_id(self) -> str: ...

    @property
    def leg(self) -> Leg: ...

    @property
    def generation(self) -> int | None:
        """None: the leg's newest."""
        ...


async def read_order(
    connection: Connection, signal_id: str, leg: Leg = Leg.ENTRY, generation: int | None = None
) -> StoredOrder:
    """One order; without ``generation`` the newest of the leg.

    Raises:
        OrderNotFound: no such row.
    """
    row = await connection.fetchrow(_SQL["read_order"], signal_id, leg.value, generation)
    if row is None:
        raise OrderNotFound(signal_id)
    return stored_order(row)


async def read_keyed(connection: Connection, key: OrderKey) -> StoredOrder:
    """The order that ``key`` names. Raises as `read_order`."""
    return await read_order(connection, key.signal_id, key.leg, key.generation)


async def lock_order(
    connection: Connection, signal_id: str, leg: Leg = Leg.ENTRY, generation: int | None = None
) -> LockedOrder:
    """Lock the row (a statement of its own), then read the executions it guards.

    Raises:
        OrderNotFound: no such row.
    """
    row = await connection.fetchrow(_SQL["lock_order"], signal_id, leg.value, generation)
    if row is None:
        raise OrderNotFound(signal_id)
    return await _locked(connection, row)


async def lock_keyed(connection: Connection, key: OrderKey) -> LockedOrder:
    """Lock the order that ``key`` names. Raises as `lock_order`."""
    return await lock_order(connection, key.signal_id, key.leg, key.generation)


async def lock_by_broker_id(
    connection: Connection, broker_order_id: str, client_order_id: str
) -> LockedOrder | None:
    """Lock the order that the broker speaks of; None for a foreign one."""
    row = await connection.fetchrow(_SQL["lock_by_broker_id"], broker_order_id, client_order_id)
    return await _locked(connection, row) if row else None


async def lock_by_chain(connection: Connection, broker_order_id: str, replaces: str) -> LockedOrder | None:
    """Lock the order that had this broker id, is about to have it, or that ``replaces`` names; None if foreign."""
    row = await connection.fetchrow(_SQL["lock_by_chain"], replaces, broker_order_id)
    return await _locked(connection, row) if row else None


async def _locked(connection: Connection, row: asyncpg.Record) -> LockedOrder:
    order = stored_order(row)
    fills: Sequence[asyncpg.Record] = ()
    if order.execution_count:
        fills = await connection.fetch(_SQL["order_fills"], order.internal_order_id)
    return LockedOrder(connection, order, _state(order, fills))


def _state(order: StoredOrder, fills: Sequence[asyncpg.Record]) -> OrderState:
    return OrderState(
        status=order.status,
        quantity=order.quantity,
        flags=frozenset(order.flags),
        broker_order_id=order.broker_order_id,
        raw_status=order.raw_status,
        fills=tuple(Fill.model_validate(dict(fill)) for fill in fills),
        broker_filled_quantity=order.broker_filled_quantity,
        reason=order.reason,
        replaced_by=order.replaced_by,
        predecessors=order.predecessors,
    )


async def find_order(
    connection: Connection, broker_order_id: str, client_order_id: str
) -> tuple[str, Leg, int] | None:
    """Which of our orders the broker speaks of; None for a foreign one."""
    row = await connection.fetchrow(_SQL["find_by_broker_id"], broker_order_id, client_order_id)
    return (row["signal_id"], Leg(row["leg"]), row["generation"]) if row else None


async def find_by_client_id(connection: Connection, client_order_id: str) -> StoredOrder | None:
    """The order that was sent under this id; None for a foreign one."""
    row = await connection.fetchrow(_SQL["find_by_client_id"], client_order_id)
    return stored_order(row) if row else None


async def find_by_any_id(connection: Connection, some_id: str) -> tuple[str, Leg, int] | None:
    """Find an order by signal id, client order id, broker order id or internal order id."""
    row = await connection.fetchrow(_SQL["find_by_any_id"], some_id)
    return (row["signal_id"], Leg(row["leg"]), row["generation"]) if row else None


async def list_orders(
    connection: Connection,
    *,
    status: str | None = None,
    ticker: str | None = None,
    strategy: str | None = None,
    open_only: bool = False,
    limit: int = LIST_MAX,
) -> list[StoredOrder]:
    """Orders, newest first."""
    rows = await connection.fetch(
        _SQL["list_orders"], status, ticker, strategy, open_only, min(limit, LIST_MAX)
    )
    return [stored_order(row) for row in rows]


async def write_executions(locked: LockedOrder, new: OrderState, now: datetime) -> list[Fill]:
    """Store what ``new.fills`` has over the stored ones, move the position, return the executions added."""
    added = list(new.fills[len(locked.state.fills) :])
    order = locked.order
    moved = []
    for old, fill in zip(locked.state.fills, new.fills, strict=False):
        if old != fill:
            moved.append((fill, _signed([fill], "shares") - _signed([old], "shares")))
            await locked.connection.execute(
                _SQL["update_execution"], order.internal_order_id, fill.execution_id, fill.activity_id,
                fill.quantity, fill.price, fill.cumulative_quantity, fill.busted, fill.executed_at, fill.corrects,
            )  # fmt: skip
    for fill in added:
        moved.append((fill, _signed([fill], "shares")))
        await locked.connection.execute(
            _SQL["insert_execution"], order.internal_order_id, fill.execution_id, fill.activity_id,
            fill.broker_order_id, order.strategy, fill.ticker, fill.side.value, fill.quantity, fill.price,
            fill.cumulative_quantity, fill.executed_at, now, fill.busted, fill.corrects,
        )  # fmt: skip
    shares = _signed(new.fills, "shares") - _signed(locked.state.fills, "shares")
    cash = _signed(new.fills, "cash") - _signed(locked.state.fills, "cash")
    if shares or cash:
        await locked.connection.execute(
            _SQL["add_to_position"], order.ticker, order.strategy, shares, cash, now
        )
        # After the statement that waits for an overwrite: only a later one sees what that has booked.
        for fill, change in _net(moved):
            await reverse_residuals(locked.connection, fill, change, now, correlation_id=order.signal_id)
    return added


def _net(moved: Sequence[tuple[Fill, Decimal]]) -> list[tuple[Fill, Decimal]]:
    """What is left of a step's changes once they are set off against one another, latest first.

    A correction takes back one execution and brings another in its place: what it leaves as it was, no
    overwrite has booked for it.
    """
    net = sum((change for _, change in moved), Decimal(0))
    left = []
    for fill, change in reversed(moved):
        part = min(change, net, key=abs) if change * net > 0 else Decimal(0)
        if part:
            left.append((fill, part))
            net -= part
    return left


def _signed(fills: Sequence[Fill], what: str) -> Decimal:
    total = Decimal(0)
    for fill in fills:
        if fill.busted:
            continue
        sign = 1 if fill.side is Side.BUY else -1
        total += sign * fill.quantity if what == "shares" else -sign * fill.quantity * fill.price
    return total


async def write_state(
    locked: LockedOrder, new: OrderState, now: datetime, *, user_message: str | None, answered: bool,
    reopened: bool = False,
) -> StoredOrder:  # fmt: skip
    """Write the row and what is left of its reservation. ``answered`` closes the open POST.

    ``reopened`` takes back the settlement of an order that has ended otherwise than was settled.
    """
    connection = locked.connection
    # Once final, only executions that the broker counts and we do not hold yet still need room.
    expected = new.broker_filled_quantity if new.status.is_final else new.quantity
    remaining = max(Decimal(0), expected - new.filled_quantity)
    row = await connection.fetchrow(
        _SQL["save_order"], locked.order.internal_order_id, new.status.value,
        sorted(flag.value for flag in new.flags), new.raw_status, new.broker_order_id, new.filled_quantity,
        new.average_price, new.broker_filled_quantity, new.reason, user_message, new.replaced_by, now,
        new.status.is_final, answered, remaining, len(new.fills),
        new.quantity, list(new.predecessors),
        OrderFlag.FILLS_MISSING in new.flags, reopened,
    )  # fmt: skip
    if (
        locked.order.absent_lookups
        and locked.order.broker_order_id is None
        and new.broker_order_id is not None
    ):
        row = await connection.fetchrow(_SQL["begin_denials_anew"], locked.order.internal_order_id)
    assert row is not None, "the row is locked by this transaction"
    return stored_order(row)


async def restore_reservation(locked: LockedOrder, quantity: Decimal) -> None:
    """Take back room for an order that the broker turned out to hold after all."""
    await locked.connection.execute(_SQL["restore_reservation"], *locked.key, quantity)


async def raise_reservation_price(locked: LockedOrder, price: Decimal) -> None:
    """Count an order that somebody else has replaced at its new price, where that is worse. US dollars a share."""
    await locked.connection.execute(_SQL["raise_reservation_price"], *locked.key, price)


async def write_settled(locked: LockedOrder, now: datetime) -> StoredOrder:
    """Mark the outcome as written and give back what is left of the reservation. A repeat changes nothing."""
    row = await locked.connection.fetchrow(_SQL["settle_order"], locked.order.internal_order_id, now)
    return stored_order(row) if row else locked.order


async def request_cancel(locked: LockedOrder, actor: str, now: datetime) -> None:
    """Remember who asked first for the cancel, so that it survives an unknown outcome."""
    await locked.connection.execute(_SQL["request_cancel"], locked.order.internal_order_id, actor, now)
