"""What a kill asks of the broker: cancel what is in scope, look until it has ended, name every fate.

It needs nothing but a ``BrokerReader``: `trading kill --direct` does the same while the database is down.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from broker.errors import BrokerError, NotFound
from schemas.broker import Position
from schemas.kill import KillScope, OrderFate
from schemas.orders import BrokerOrder, Side

if TYPE_CHECKING:
    from broker.port import BrokerReader

LOOK_FIRST_SECONDS: Final = 1.0
"""A list that takes longer must not keep the cancel from leaving."""
CONFIRM_POLL_SECONDS: Final = 0.25
CONFIRM_WAIT_MAX_SECONDS: Final = 20.0
LISTING_MARGIN: Final = timedelta(seconds=60)
LISTED_SPAN: Final = timedelta(days=1)
"""A list over the weeks that an order may have rested would use up what the broker takes in a minute."""
ONE_BY_ONE_MAX: Final = 20
"""Older orders than that are asked for by id; of more, the long list is the shorter way."""
STOP_TYPES: Final = frozenset({"stop", "stop_limit", "trailing_stop"})
DYING: Final = frozenset({"pending_cancel"})

FATE_OF_RAW: Final = {
    "filled": OrderFate.FILLED,
    "canceled": OrderFate.CANCELED,
    "expired": OrderFate.CANCELED,
    "rejected": OrderFate.CANCELED,
    "replaced": OrderFate.CANCELED,
}

Beat = Callable[[str], None]
Orders = dict[str, BrokerOrder]
"""By broker order id."""


@dataclass(frozen=True)
class Seen:
    """What the broker showed at the end of a sweep."""

    fates: dict[str, OrderFate]
    """By client_order_id."""
    unprotected: tuple[str, ...] | None
    """Tickers held without a stop for all of it; None: the positions could not be read."""


class Canceller:
    """One kill's requests to the broker."""

    def __init__(
        self,
        broker: "BrokerReader",
        scope: KillScope,
        keeps: Callable[[Sequence[BrokerOrder]], Awaitable[frozenset[str]]],
    ) -> None:
        """``keeps``: which of these orders are protective stops, by broker id; asked for ``risk_adding`` only."""
        self._broker = broker
        self._scope = scope
        self._keeps = keeps

    async def cancel_open(self) -> Orders:
        """Ask to cancel everything in scope, and tell what was seen open.

        Raises:
            BrokerError: the broker did not take the cancels, or nobody can say what is open.
        """
        if self._scope is KillScope.ALL:
            return await self._cancel_all()
        orders = await self._in_scope(await self._broker.get_open_orders())
        # One order that takes no cancel now (pending_replace) must not shield the others.
        asked = (self._broker.cancel_order(each.broker_order_id) for each in orders)
        await asyncio.gather(*asked, return_exceptions=True)
        return _by_id(orders)

    async def _cancel_all(self) -> Orders:
        """Look for as long as it is quick, so that fates can be named; cancel whatever the look came to.

        What was cancelled unseen is read one by one.
        """
        look = asyncio.create_task(self._look())
        await asyncio.wait((look,), timeout=LOOK_FIRST_SECONDS)
        try:
            asked = await self._broker.cancel_all()
        finally:
            before = await look
        seen = before | _by_id(await self._broker.get_open_orders())
        unseen = (self._broker.get_order_status(each) for each in asked if each not in seen)
        return seen | _by_id(await asyncio.gather(*unseen))

    async def _look(self) -> Orders:
        try:
            return _by_id(await self._broker.get_open_orders())
        except BrokerError:
            return {}

    async def _in_scope(self, orders: Sequence[BrokerOrder]) -> list[BrokerOrder]:
        kept: frozenset[str] = frozenset()
        if self._scope is KillScope.RISK_ADDING:
            kept = await self._keeps(orders)
        return [each for each in orders if each.broker_order_id not in kept]

    async def confirm(self, seen: Orders, beat: Beat) -> Seen:
        """Look until the broker shows none of them open, or time is up; then name every fate.

        Raises:
            BrokerError: nobody can say what is open, or what became of it.
        """
        deadline = time.monotonic() + CONFIRM_WAIT_MAX_SECONDS
        while True:
            listed = await self._broker.get_open_orders()
            still_open = _by_id(await self._in_scope(listed))
            if not still_open or time.monotonic() >= deadline:
                break
            beat(f"{len(still_open)} cancels not confirmed yet")
            await asyncio.sleep(CONFIRM_POLL_SECONDS)
        stops = [each for each in listed if each.broker_order_id not in still_open]
        return Seen(await self._fates(seen | still_open, still_open.keys()), await self._unprotected(stops))

    async def _fates(self, seen: Orders, still_open: Iterable[str]) -> dict[str, OrderFate]:
        gone = seen.keys() - set(still_open)
        ended = await self._ends({broker_id: seen[broker_id] for broker_id in gone})
        return {
            order.client_order_id: FATE_OF_RAW.get(ended.get(broker_id, ""), OrderFate.UNKNOWN)
            if broker_id in gone
            else OrderFate.PENDING
            for broker_id, order in seen.items()
        }

    async def _ends(self, gone: Orders) -> dict[str, str]:
        """The raw status of each that is not open any more, by broker id; one that is missing nobody knows."""
        if not gone:
            return {}
        first = min(order.created_at for order in gone.values())
        last = max(order.created_at for order in gone.values())
        old = [key for key, order in gone.items() if order.created_at < last - LISTED_SPAN]
        if len(old) <= ONE_BY_ONE_MAX:
            first = max(first, last - LISTED_SPAN)
        else:
            old = []
        listed = await self._broker.get_orders(after=first - LISTING_MARGIN, until=last + LISTING_MARGIN)
        asked = await asyncio.gather(*map(self._end_of, old))
        return {order.broker_order_id: order.raw_status for order in (*listed, *asked) if order is not None}

    async def _end_of(self, broker_order_id: str) -> BrokerOrder | None:
        try:
            return await self._broker.get_order_status(broker_order_id)
        except NotFound:
            return None

    async def _unprotected(self, stops: Sequence[BrokerOrder]) -> tuple[str, ...] | None:
        try:
            positions = await self._broker.get_positions()
        except BrokerError:
            return None
        return without_stop(positions, stops)


def without_stop(positions: Iterable[Position], stops: Iterable[BrokerOrder]) -> tuple[str, ...]:
    """Tickers of which more shares are held than these orders' stops would close."""
    covered: dict[tuple[str, Side], Decimal] = defaultdict(Decimal)
    for order in stops:
        if order.raw_type in STOP_TYPES and order.quantity is not None and order.raw_status not in DYING:
            covered[order.ticker, order.side] += order.quantity - order.filled_quantity
    return tuple(
        sorted(each.ticker for each in positions if covered[each.ticker, _closing(each)] < abs(each.quantity))
    )


def closes_a_position(order: BrokerOrder, positions: Iterable[Position]) -> bool:
    """Whether a stop order is one that would only close what is held: a protective stop, as the broker sees it."""
    return order.raw_type in STOP_TYPES and any(
        each.ticker == order.ticker
        and order.side is _closing(each)
        and order.quantity is not None
        and order.quantity <= abs(each.quantity)
        for each in positions
    )


def _closing(position: Position) -> Side:
    return Side.SELL if position.quantity > 0 else Side.BUY


def _by_id(orders: Iterable[BrokerOrder]) -> Orders:
    return {order.broker_order_id: order for order in orders}
