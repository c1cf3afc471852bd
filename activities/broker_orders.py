"""Whose each order at the broker is, and how it stands here and there."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from broker.errors import NetworkError, NotFound
from broker.evidence import known_status
from schemas.base import decimal_text
from schemas.orders import BrokerOrder, Fill
from schemas.reconciliation import Owner, Place, SeenOrder
from schemas.wire import CLIENT_ORDER_ID_PREFIX
from storage import reconciliation as rows

if TYPE_CHECKING:
    from broker.port import BrokerReader
    from market.clock import MarketClock
    from storage.database import Database

LOOKUPS_MAX: Final = 200
"""Open orders of ours read by id in one reading. More means that the list of open ones was not whole."""
STRANGERS_BY_ID_MAX: Final = 20
"""Executed orders of others read one by one; more are read from the list of all orders first."""
SUBMITTED_BEFORE: Final = timedelta(days=1)
"""How long before its execution an order is looked for in that list: most are of the same day."""
CHAIN_MAX: Final = 20
"""Replacements of one order followed back to the first."""


@dataclass(frozen=True)
class SeenOrders:
    """Orders that differ, and those that are not ours."""

    seen: tuple[SeenOrder, ...]
    external: tuple[BrokerOrder, ...]
    own_ids: frozenset[str]

    def is_ours(self, fill: Fill) -> bool:
        return fill.broker_order_id in self.own_ids


class OrderReader:
    """Joins the broker's orders with ours by client id, broker id and replace chain."""

    def __init__(self, database: "Database", broker: "BrokerReader", clock: "MarketClock") -> None:
        self._database = database
        self._broker = broker
        self._clock = clock

    async def look(
        self, listed: Sequence[BrokerOrder], fills: Sequence[Fill], market_at: datetime
    ) -> SeenOrders:
        """Compare the open orders of both sides, and find out whose the executed ones are.

        Raises:
            BrokerError: an order could not be read, or too many would have to be.
        """
        look = _Look(self._database, self._broker, self._clock, market_at)
        executed = {fill.broker_order_id for fill in fills}
        replaced = {order.replaces for order in listed if order.replaces is not None}
        async with self._database.connection() as connection:
            here = await rows.open_here(connection)
            # Of thousands of open orders most are listed by the id that they have here: not to be asked for again.
            at_rest = {own.broker_order_id for own in here}
            others = [order for order in listed if order.broker_order_id not in at_rest]
            found = await rows.own_orders(
                connection,
                {order.broker_order_id for order in others} | (executed - at_rest) | (replaced - at_rest),
                {order.client_order_id for order in others},
            )
            look.own_ids |= await rows.own_executed(connection, executed)
            known = await rows.external_known(
                connection, {order.broker_order_id for order in others} | executed
            )
        look.learn([*found, *here])
        for order in listed:
            await look.listed(order, known=order.broker_order_id in known)
        shown = {order.broker_order_id for order in listed}
        for own in here:
            if own.broker_order_id not in shown:
                await look.not_listed(own)
        strangers = executed - look.own_ids - shown - known
        if len(strangers) > STRANGERS_BY_ID_MAX:
            await look.list_since(min(fill.executed_at for fill in fills) - SUBMITTED_BEFORE)
        for broker_id in sorted(strangers):
            await look.executed(broker_id)
        return SeenOrders(tuple(look.seen), tuple(look.external), frozenset(look.own_ids))


class _Look:
    """One look: the orders found so far, and how many open ones of ours had to be read by id."""

    def __init__(
        self, database: "Database", broker: "BrokerReader", clock: "MarketClock", market_at: datetime
    ) -> None:
        self._database = database
        self._broker = broker
        self._clock = clock
        self._market_at = market_at
        self._lookups = 0
        self._listed: dict[str, BrokerOrder] = {}
        self._by_id: dict[str, rows.OwnOrder] = {}
        self._by_client_id: dict[str, rows.OwnOrder] = {}
        self.seen: list[SeenOrder] = []
        self.external: list[BrokerOrder] = []
        self.own_ids: set[str] = set()

    def learn(self, own: Iterable[rows.OwnOrder]) -> None:
        for order in own:
            if order.broker_order_id is not None:
                self._by_id[order.broker_order_id] = order
                self.own_ids.add(order.broker_order_id)
            if order.client_order_id is not None:
                self._by_client_id[order.client_order_id] = order

    async def listed(self, order: BrokerOrder, *, known: bool) -> None:
        """An order that the broker shows as open."""
        own = await self._owner(order)
        if own is None:
            owner = _stranger(order)
            self.external.append(order)
            self._note(order, owner, Place.UNKNOWN, Place.OPEN, known=known)
            return
        self.own_ids.add(order.broker_order_id)
        here = Place.ENDED if own.status.is_final else Place.OPEN
        if own.broker_order_id != order.broker_order_id:
            here = Place.UNKNOWN
        if here is not Place.OPEN:
            self._note(order, Owner.OURS, here, Place.OPEN, own=own)

    async def not_listed(self, own: rows.OwnOrder) -> None:
        """An order that is open here and that the broker does not list: it is read by id."""
        assert own.broker_order_id is not None, "only acknowledged orders are asked for"
        self._lookups += 1
        if self._lookups > LOOKUPS_MAX:
            raise NetworkError(
                f"more than {LOOKUPS_MAX} open orders are missing from the broker's list: it is not whole"
            )
        try:
            order = await self._newest(own.broker_order_id)
        except NotFound:
            self._note_unknown(own)
            return
        if known_status(order.raw_status).is_final:
            self._note(order, Owner.OURS, Place.OPEN, Place.ENDED, own=own)

    async def _newest(self, broker_id: str) -> BrokerOrder:
        """The order, or what has replaced it at last: that tells how ours stands."""
        order = await self._read(broker_id)
        for _ in range(CHAIN_MAX):
            self.own_ids.add(order.broker_order_id)
            if order.replaced_by is None:
                break
            order = await self._read(order.replaced_by)
        return order

    async def list_since(self, after: datetime) -> None:
        """Read many at once what would have to be read by id: a page holds 500 orders."""
        orders = await self._broker.get_orders(after=after, until=self._market_at)
        self._listed = {order.broker_order_id: order for order in orders}
        await self._ask_for(orders)

    async def executed(self, broker_id: str) -> None:
        """An order of which only an execution is known."""
        try:
            order = await self._read(broker_id)
        except NotFound:
            return  # An execution without its order: it is nobody's of ours.
        await self._ask_for([order])
        own = await self._owner(order)
        if own is not None:
            self.own_ids.add(broker_id)
        elif _stranger(order) is Owner.FOREIGN:
            self._note(order, Owner.FOREIGN, Place.UNKNOWN, Place.ENDED)

    async def _owner(self, order: BrokerOrder) -> rows.OwnOrder | None:
        """Ours by either id, or by what it replaces."""
        for _ in range(CHAIN_MAX):
            own = self._known(order)
            if own is not None or order.replaces is None:
                return own
            try:
                order = await self._read(order.replaces)
            except NotFound:
                return None
            await self._ask_for([order])
        return None

    def _known(self, order: BrokerOrder) -> rows.OwnOrder | None:
        own = self._by_id.get(order.broker_order_id) or self._by_client_id.get(order.client_order_id)
        if own is None and order.replaces is not None:
            own = self._by_id.get(order.replaces)
        return own

    async def _ask_for(self, orders: Sequence[BrokerOrder]) -> None:
        """Ask our rows for orders read by id.

        One whose answer was lost has no broker id here: its client id alone tells that it is ours.
        """
        broker_ids = {order.broker_order_id for order in orders}
        client_ids = {order.client_order_id for order in orders}
        async with self._database.connection() as connection:
            self.learn(await rows.own_orders(connection, broker_ids, client_ids))

    async def _read(self, broker_id: str) -> BrokerOrder:
        return self._listed.get(broker_id) or await self._broker.get_order_status(broker_id)

    def _note(
        self,
        order: BrokerOrder,
        owner: Owner,
        here: Place,
        there: Place,
        *,
        known: bool = False,
        own: rows.OwnOrder | None = None,
    ) -> None:
        age_seconds = self._age_seconds(order.updated_at or order.submitted_at or order.created_at)
        if own is not None:
            # The news may have reached us and not the list that was read before.
            age_seconds = min(age_seconds, self._age_seconds(self._clock.at(own.updated_at)))
        self.seen.append(
            SeenOrder(
                broker_order_id=order.broker_order_id,
                client_order_id=order.client_order_id,
                ticker=order.ticker,
                owner=owner,
                here=here,
                there=there,
                known=known,
                signal_id=own.signal_id if own else None,
                raw_status=order.raw_status,
                text=_text(order),
                age_seconds=age_seconds,
            )
        )

    def _note_unknown(self, own: rows.OwnOrder) -> None:
        assert own.broker_order_id is not None, "only acknowledged orders are asked for"
        side = own.action.side.value if own.action else ""
        quantity = decimal_text(own.quantity) if own.quantity is not None else ""
        self.seen.append(
            SeenOrder(
                broker_order_id=own.broker_order_id,
                client_order_id=own.client_order_id or "",
                ticker=own.ticker,
                owner=Owner.OURS,
                here=Place.OPEN,
                there=Place.UNKNOWN,
                signal_id=own.signal_id,
                text=f"{side} {quantity} {own.ticker}",
                age_seconds=self._age_seconds(self._clock.at(own.updated_at)),
            )
        )

    def _age_seconds(self, then: datetime) -> float:
        return self._clock.real_seconds((self._market_at - then).total_seconds())


def _stranger(order: BrokerOrder) -> Owner:
    foreign = order.client_order_id.startswith(CLIENT_ORDER_ID_PREFIX)
    return Owner.FOREIGN if foreign else Owner.EXTERNAL


def _text(order: BrokerOrder) -> str:
    quantity = decimal_text(order.quantity) if order.quantity is not None else "notional"
    price = order.limit_price or order.stop_price
    at = f" {decimal_text(price)}" if price is not None else ""
    return f"{order.side.value} {quantity} {order.ticker} {order.raw_type}{at}"
