"""Reading from the broker what the update stream may have missed. Calls grow with pages, not with orders."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from activities.evidence import Evidence, take_in
from broker.errors import NotFound
from observability.logging import get_logger
from storage import market as market_rows
from storage import switches as rows
from storage.orders import open_at_broker

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

    async def run(self, *, orders: bool) -> None:
        """Take in what is new; with ``orders`` also compare every open order. Safe to repeat.

        Raises:
            BrokerError: the broker could not be asked; what was read before it stays taken in.
            ClockUnavailableError: nobody can say what time it is on the market.
        """
        async with self._running:
            await self._account_and_clock()
            cursor = await self._fills()
            if orders:
                await self._open_orders()
            async with self._database.connection() as connection:
                await rows.caught_up(connection, now=self._now(), fill_cursor=cursor)

    async def _account_and_clock(self) -> None:
        asked_at = self._now()
        account = await self._broker.get_account()
        await self._clock.ensure_reading()
        reading = self._clock.reading()
        async with self._database.transaction("catch_up.account") as connection:
            await market_rows.save_account(connection, account, taken_at=asked_at)
            await market_rows.save_clock_reading(connection, clock_row(reading, self._clock.speed))

    async def _fills(self) -> datetime:
        """Take in the fill list from the cursor on; return the new cursor."""
        async with self._database.connection() as connection:
            stream = await rows.read_stream(connection)
        started = self._clock.at(self._now())
        since = stream.fill_cursor - FILLS_OVERLAP if stream.fill_cursor else started - FIRST_FILLS
        fills = await self._broker.get_fills(since)
        await self._take_in(fills, "fill list")
        return max([started - FILLS_OVERLAP, *(fill.executed_at for fill in fills)])

    async def _open_orders(self) -> None:
        """Compare the broker's open orders with ours; read by id what its list does not show."""
        async with self._database.connection() as connection:
            ours = await open_at_broker(connection, limit=OPEN_ORDERS_MAX)
        listed = await self._broker.get_open_orders()
        await self._take_in(listed, "open-order list")
        shown = {order.broker_order_id for order in listed}
        for _, _, broker_order_id in ours:
            if broker_order_id in shown:
                continue
            try:
                found = await self._broker.get_order_status(broker_order_id)
            except NotFound:
                _log.error("the broker no longer knows an order of ours", broker_order_id=broker_order_id)
                continue
            await self._take_in([found], "look-up by id")

    async def _take_in(self, evidence: Iterable[Evidence], source: str) -> None:
        for each in evidence:
            taken = await take_in(self._database, each, now=self._now(), source=source)
            if taken is not None and taken.is_told:
                await self._notifier.notify(taken.order)


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
