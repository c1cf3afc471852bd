"""What the broker says of an order, brought to its row: from the stream, the fill list and look-ups alike."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeAlias

from activities.identity import conflict_in, stop_everything
from broker import lifecycle
from risk.messages import UserMessage
from schemas.broker import TradeUpdate
from schemas.orders import BrokerOrder, Fill, OrderState, OrderStatus
from schemas.wire import CLIENT_ORDER_ID_PREFIX, Leg
from storage.orders import LockedOrder, StoredOrder, lock_by_broker_id, restore_reservation
from storage.transitions import Step, advance

if TYPE_CHECKING:
    from storage.database import Connection, Database

Evidence: TypeAlias = TradeUpdate | BrokerOrder | Fill

COMPONENT: Final = "BrokerWatcher"


@dataclass(frozen=True)
class Taken:
    """An order after evidence, and whether its workflow should hear of it."""

    order: StoredOrder
    news: bool

    @property
    def is_told(self) -> bool:
        """Whether a workflow waits for it: the order's own, or after its end the one that protects its shares."""
        order = self.order
        protects = order.leg is not Leg.ENTRY or order.hard_stop_loss is not None
        return self.news and (protects or not order.settled)


async def take_in(database: "Database", evidence: Evidence, *, now: datetime, source: str) -> Taken | None:
    """Apply one piece of evidence in one transaction. Idempotent: what is known already writes nothing.

    Returns:
        The order after it, or None when the order is not ours.
    """
    return await database.run(
        "evidence.taken_in", lambda connection: _take_in(connection, evidence, now, source)
    )


async def take_in_successor(
    database: "Database", order: BrokerOrder, *, now: datetime, source: str
) -> Taken | None:
    """Apply an order that replaced one of ours at the broker. Idempotent as ``take_in`` is.

    Returns:
        The order after it, or None when what it replaced is not ours.
    """
    replaced = order.replaces
    if replaced is None:
        return None

    async def apply(connection: "Connection") -> Taken | None:
        locked = await lock_by_broker_id(connection, replaced, "")
        if locked is None:
            return None
        after = await bring(locked, order, now=now, source=source)
        return Taken(after, news=after.row_version != locked.order.row_version)

    return await database.run("evidence.successor", apply)


async def _take_in(connection: "Connection", evidence: Evidence, now: datetime, source: str) -> Taken | None:
    locked = await lock_by_broker_id(connection, *_ids(evidence))
    if locked is None:
        return None
    found = _order_in(evidence)
    conflict = conflict_in(locked, found) if found is not None else None
    if found is not None and conflict is not None:
        await stop_everything(locked, found, conflict, now)
        return Taken(locked.order, news=False)
    after = await bring(locked, evidence, now=now, source=source)
    return Taken(after, news=after.row_version != locked.order.row_version)


async def bring(locked: LockedOrder, evidence: Evidence, *, now: datetime, source: str) -> StoredOrder:
    """Apply evidence to a locked order. Evidence outranks our verdict, so an ended order may open again."""
    new = lifecycle.apply(locked.state, evidence)
    step = Step(
        now=now,
        component=COMPONENT,
        actor=source,
        decision=_decision(evidence),
        detail=describe(evidence, locked.state, new),
        evidence={"source": source, "told": evidence.model_dump(mode="json")},
        user_message=UserMessage.PARTIAL_FILLS if new.status is OrderStatus.PARTIALLY_FILLED else None,
        answers_post=locked.order.post_open,
    )
    after = await advance(locked, new, step)
    if locked.order.settled and not after.settled:
        await restore_reservation(locked, after.quantity - after.filled_quantity)
    return after


def is_ours(order: BrokerOrder) -> bool:
    """Whether the id was made by some installation of this product."""
    return order.client_order_id.startswith(CLIENT_ORDER_ID_PREFIX)


def _ids(evidence: Evidence) -> tuple[str, str]:
    match evidence:
        case TradeUpdate(order=order) | (BrokerOrder() as order):
            return order.broker_order_id, order.client_order_id
        case Fill(broker_order_id=broker_order_id):
            return broker_order_id, ""


def _order_in(evidence: Evidence) -> BrokerOrder | None:
    match evidence:
        case TradeUpdate(order=order) | (BrokerOrder() as order):
            return order
        case Fill():
            return None


def _decision(evidence: Evidence) -> str:
    match evidence:
        case TradeUpdate(event=event):
            return f"BROKER_{event.value.upper()}"
        case BrokerOrder(raw_status=raw):
            return f"BROKER_{raw.upper()}"
        case Fill():
            return "BROKER_FILL"


def describe(evidence: Evidence, before: OrderState, after: OrderState) -> str:
    """One line for people."""
    if after.filled_quantity != before.filled_quantity:
        fill = next((each for each in reversed(after.fills) if not each.busted), None)
        last = f"{fill.quantity} at {fill.price}; " if fill else ""
        return f"{last}{after.filled_quantity} of {after.quantity} filled"
    told = evidence.raw_status if isinstance(evidence, BrokerOrder) else after.raw_status
    if after.status is before.status:
        return f"the broker says {told}"
    return f"{before.status.value} → {after.status.value}, the broker says {told}"
