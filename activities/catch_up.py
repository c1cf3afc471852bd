"""Reading from the broker what the update stream may have missed. Calls grow with pages, not with orders."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from activities.doubts import Doubts
from activities.evidence import Evidence, Taken, take_in
from broker.budget import NoToken, patiently
from broker.errors import NotFound
from observability.logging import get_logger
from schemas.orders import BrokerOrder, Fill
from storage import market as market_rows
from storage import switches as rows
from storage import watch

if TYPE_CHECKING:
    from activities.notifier import OrderNotifier
    from broker.port import BrokerReader
    from market.clock import ClockReading, MarketClock
    from storage.database import Database

FILLS_OVERLAP: Final = timedelta(minutes=2)
"""Rows of one moment may be listed out of order, so the last minutes are read again."""
FIRST_FILLS: Final = timedelta(days=1)
"""How far back the very first catch-up reads."""
OPEN_ORDERS_MAX: Final = 50_000
CHAIN_MAX: Final = 20
"""Replacements of one order followed to the newest."""
ACCOUNT_AGE_MAX: Final = timedelta(seconds=30)
"""A younger snapshot of the account is not read again: the passes without a stream come every 5 s."""
MISSED_AFTER: Final = timedelta(seconds=5)
"""An execution younger than this may still be on its way in the stream."""
UNTOLD_WITHIN: Final = timedelta(hours=1)
"""Of executions longer ago it is not asked any more whether the stream brought them. Market time."""
STRANGERS_MAX: Final = 10_000
TOKENS_WAIT_MAX_SECONDS: Final = 20.0
"""For requests: a pass given up in its middle would begin with the same ones."""
LOOKUPS_MAX: Final = 200
"""Orders read by id in one pass; what is more, the next pass or the reconciliation reads."""


_log = get_logger(__name__)


class CatchUp:
    """One pass over fills, account and clock, and on request over every open order."""

    def __init__(
        self,
        database: "Database",
        broker: "BrokerReader",
        clock: "MarketClock",
        notifier: "OrderNotifier",
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._broker = broker
        self._clock = clock
        self._notifier = notifier
        self._now = now
        self._running = asyncio.Lock()
        self._strangers: set[str] = set()
        self._lookups = 0
        self._doubts = Doubts(database, broker, clock, notifier, now=now)

    @property
    def is_running(self) -> bool:
        """Whether a pass is under way in this process: one begun now would wait for it."""
        return self._running.locked()

    async def pursue_doubts(self) -> None:
        """Ask again for orders that the broker denies. Raises BrokerError: nothing counts."""
        await self._doubts.pursue()

    async def run(self, *, orders: bool) -> None:
        """Take in what is new; with ``orders`` also compare every open order. Safe to repeat.

        Raises:
            BrokerError: the broker could not be asked; what was read before it stays taken in.
            ClockUnavailableError: nobody can say what time it is on the market.
        """
        async with self._running:
            self._lookups = 0
            with patiently(TOKENS_WAIT_MAX_SECONDS):
                await self._run(orders=orders)

    async def _run(self, *, orders: bool) -> None:
        await self._clock.ensure_reading()
        began = self._now()
        cursor = await self._fills()
        await self._account_and_clock()
        if orders:
            await self._open_orders()
        async with self._database.transaction("catch_up.done") as connection:
            await rows.caught_up(connection, began=began, now=self._now(), fill_cursor=cursor, orders=orders)

    async def _account_and_clock(self) -> None:
        asked_at = self._now()
        async with self._database.connection() as connection:
            known = await market_rows.read_account(connection)
        if known.taken_at is None or asked_at - known.taken_at >= ACCOUNT_AGE_MAX:
            await self.read_account()

    async def read_account(self) -> None:
        """Store a new snapshot of the account, and the clock with it. Raises BrokerError: the old one stays."""
        asked_at = self._now()
        account = await self._broker.get_account()
        reading = self._clock.reading()
        async with self._database.transaction("catch_up.account") as connection:
            await market_rows.save_account(connection, account, taken_at=asked_at)
            await market_rows.save_clock_reading(connection, clock_row(reading, self._clock.speed))

    async def _fills(self) -> datetime | None:
        """Take in the fill list from the cursor on; return the new cursor."""
        async with self._database.connection() as connection:
            stream = await rows.read_stream(connection)
        began = self._now()
        started = self._clock.at(began)
        cursor, last_pass = stream.fill_cursor, stream.last_catch_up_at or began
        passed = max(began - last_pass, timedelta(0)) * self._clock.speed
        since = started - FIRST_FILLS
        if cursor is not None:
            # A replayed market may begin anew: never ask for what is to come.
            since = min(cursor, started - passed) - FILLS_OVERLAP
        fills = await self._broker.get_fills(since)
        async with self._database.connection() as connection:
            known = await watch.known_executions(connection, [fill.activity_id or "" for fill in fills])
        for fill in fills:
            if fill.activity_id not in known:
                await self._take_in_fill(fill)
        await self._doubt_stream(started)
        stamps = [fill.executed_at for fill in fills]
        if cursor is not None:
            # Where nothing is executed it goes on as well, or the same rows were listed for ever. By our own clock
            # from what the broker has stamped: an answer of its clock that is ahead would hide what comes next.
            stamps.append(min(cursor + passed, started - FILLS_OVERLAP))
        return max(stamps, default=None)

    async def _take_in_fill(self, fill: Fill) -> None:
        taken = await self._take_in(fill, "fill list")
        if taken is None and fill.broker_order_id not in self._strangers and self._lookups < LOOKUPS_MAX:
            # Of an order closed here without its id, or that replaced one of ours: the order first.
            if await self._order_by_id(fill.broker_order_id):
                await self._take_in(fill, "fill list")
            else:
                self._remember_stranger(fill.broker_order_id)

    def _remember_stranger(self, broker_order_id: str) -> None:
        if len(self._strangers) >= STRANGERS_MAX:
            self._strangers.clear()
        self._strangers.add(broker_order_id)

    async def _doubt_stream(self, market_now: datetime) -> None:
        """Where the stream should have brought an execution, and brought nothing since, it may be mute.

        Whoever found that execution: this pass, an earlier one, or the reconciliation.
        """
        async with self._database.connection() as connection:
            newest = await watch.newest_untold(connection, executed_after=market_now - UNTOLD_WITHIN)
        if newest is None:
            return
        now = self._now()
        age = timedelta(seconds=self._clock.real_seconds((market_now - newest).total_seconds()))
        if age < MISSED_AFTER:
            return
        async with self._database.transaction("catch_up.stream_doubted") as connection:
            if await rows.doubt_stream(connection, executed_at=now - age, now=now):
                _log.warning("the update stream did not bring an execution", executed=newest.isoformat())

    async def _open_orders(self) -> None:
        """Compare the broker's open orders with ours; read by id what its list does not show."""
        async with self._database.connection() as connection:
            ours = {
                each.broker_order_id: each
                for each in await watch.open_at_broker(connection, limit=OPEN_ORDERS_MAX)
            }
        listed = await self._broker.get_open_orders()
        shown = {order.broker_order_id for order in listed}
        for order in listed:
            if not _is_known(order, ours.get(order.broker_order_id)):
                await self._take_in(order, "open-order list")
        missing = [each for each, standing in ours.items() if each not in shown and not standing.doubted]
        denied: list[str] = []
        none_left: NoToken | None = None
        for broker_order_id in missing[:LOOKUPS_MAX]:
            try:
                is_ours = await self._order_by_id(broker_order_id)
            except NoToken as error:
                # What was asked before is kept: the next pass need not ask for it again.
                none_left = error
                break
            if not is_ours:
                denied.append(broker_order_id)
        await self._doubts.begin(*denied)
        if none_left is not None:
            raise none_left

    async def _order_by_id(self, broker_order_id: str) -> bool:
        """Read and take in an order, and what has replaced it. Whether it is one of ours."""
        ours, wanted = False, broker_order_id
        for _ in range(CHAIN_MAX):
            self._lookups += 1
            try:
                order = await self._broker.get_order_status(wanted)
            except NotFound:
                break
            ours = await self._take_in(order, "look-up by id") is not None or ours
            if order.replaced_by is None:
                break
            wanted = order.replaced_by
        return ours

    async def _take_in(self, evidence: Evidence, source: str) -> Taken | None:
        taken = await take_in(self._database, evidence, now=self._now(), source=source)
        if taken is not None and taken.is_told:
            await self._notifier.notify(taken.order)
        return taken


def _is_known(order: BrokerOrder, ours: watch.Standing | None) -> bool:
    """Whether the row says already what the list says: most of thousands of resting orders do."""
    return ours is not None and (order.raw_status, order.filled_quantity, order.replaced_by) == (
        ours.raw_status,
        ours.broker_filled_quantity,
        ours.replaced_by,
    )


def clock_row(reading: "ClockReading", speed: float) -> market_rows.ClockRow:
    """A reading of the broker's clock as the row that others tell market time by."""
    return market_rows.ClockRow(
        read_at=reading.read_at,
        broker_at=reading.clock.timestamp,
        speed=speed,
        is_open=reading.clock.is_open,
        next_open=reading.clock.next_open,
        next_close=reading.clock.next_close,
    )
