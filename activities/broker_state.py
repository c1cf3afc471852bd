"""One whole reading of the broker beside our books, during which neither moved."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from activities.broker_orders import OrderReader, SeenOrders
from broker.errors import NetworkError
from market.calendar import new_york_date
from schemas.broker import Account, CalendarDay, CashActivity, Position
from schemas.orders import BrokerOrder, Fill
from schemas.reconciliation import Books, BrokerState, Held, Holding, SeenFill
from storage import journal
from storage import reconciliation as rows

if TYPE_CHECKING:
    from broker.port import BrokerReader
    from market.clock import MarketClock
    from storage.database import Connection, Database

FILLS_OVERLAP: Final = timedelta(minutes=2)
"""Rows of one moment may be listed out of order, so the last minutes are read again."""
FILL_TIMES_APART: Final = timedelta(minutes=1)
"""How far apart stream and list may put one execution: ours are read from so much earlier than the list."""
ACTIVITIES_OVERLAP: Final = timedelta(days=7)
"""Fees and dividends are listed under their day, some days later."""
MARKET_VALUE_TOLERANCE: Final = Decimal("0.2")
"""How far the listed positions may be worth less or more than the account says, as a share of the latter.
Prices move a little between two requests; a list that lacks rows is further off."""

CENT: Final = Decimal("0.01")
"""US dollars. Shares of a company that is gone are listed and worth nothing."""


class SnapshotMoved(Exception):
    """Something was executed or booked while the broker was read: this reading means nothing. Read again."""


@dataclass(frozen=True)
class _Told:
    """What the broker answered."""

    fills: Sequence[Fill]
    account: Account
    positions: Sequence[Position]
    orders: Sequence[BrokerOrder]
    activities: Sequence[CashActivity]


@dataclass(frozen=True)
class _Ours:
    """Our books, and what is known of the executions that the broker lists."""

    held: tuple[Held, ...]
    cash: Decimal
    marks: dict[str, Decimal]
    fills: list[Fill]
    unexplained: Decimal
    opened_at: datetime | None

    def books(self, *, opened: bool, unlisted: Sequence[Fill] = ()) -> Books:
        """As a comparison takes them."""
        return Books(
            held=self.held,
            cash=self.cash,
            opened=opened,
            marks=self.marks,
            unlisted=tuple(unlisted),
            unexplained=self.unexplained,
            opened_on=None if self.opened_at is None else new_york_date(self.opened_at),
        )


class BrokerStateReader:
    """Reads account, positions, open orders, executions and activities; changes nothing."""

    def __init__(
        self,
        database: "Database",
        broker: "BrokerReader",
        clock: "MarketClock",
        day_of: Callable[[datetime], CalendarDay | None],
    ) -> None:
        """``day_of``: the trading day that has begun last at a moment of the market's clock."""
        self._database = database
        self._broker = broker
        self._clock = clock
        self._day_of = day_of
        self._orders = OrderReader(database, broker, clock)

    async def read(self, started: datetime) -> tuple[BrokerState, Books]:
        """One reading that began at ``started`` on our wall clock.

        Raises:
            SnapshotMoved: read again.
            BrokerError: the broker did not answer, or not wholly: nothing is known.
            ClockUnavailableError: nobody can say what time it is on the market.
        """
        await self._clock.ensure_reading()
        market_at = self._clock.at(started)
        async with self._database.connection() as connection:
            reading = await rows.last_reading(connection)
            last = None if reading is None else reading.market_at
            since = self._listed_since(reading, started, market_at)
            before = await _read_ours(connection, since, last, market_at)
        told = await self._ask(since)
        async with self._database.connection() as connection:
            booked = await journal.known_activities(
                connection,
                [fill.activity_id or "" for fill in told.fills]
                + [activity.activity_id for activity in told.activities],
            )
        # Whose an order is whose execution is booked already was told then, and is not asked again.
        new = [fill for fill in told.fills if fill.activity_id not in booked]
        seen_orders = await self._orders.look(told.orders, new, market_at)
        async with self._database.connection() as connection:
            after = await _read_ours(connection, since, last, market_at)
        if (before.held, before.cash) != (after.held, after.cash):
            raise SnapshotMoved("our own books moved while the broker was read")
        missing = [
            fill
            for fill in missing_fills(new, after.fills)
            if _counts(fill, last, ours=seen_orders.is_ours(fill))
        ]
        state = self._state(market_at, told, after, seen_orders, missing).model_copy(
            update={"activities": tuple(each for each in told.activities if each.activity_id not in booked)}
        )
        return state, _books(after, told.fills, since, opened=last is not None)

    def _listed_since(
        self, last: rows.LastReading | None, started: datetime, market_at: datetime
    ) -> datetime:
        """Market time from which on executions are listed.

        A replayed market may begin anew, and the broker's clock may have been ahead at the last reading: so never
        later than by our own clock, and never what is to come.
        """
        if last is None:
            return market_at - FILLS_OVERLAP
        passed = max(started - last.read_at, timedelta(0)) * self._clock.speed
        return min(last.market_at, market_at - passed) - FILLS_OVERLAP

    def _state(
        self, market_at: datetime, told: _Told, ours: _Ours, orders: SeenOrders, missing: Iterable[Fill]
    ) -> BrokerState:
        def seen(fill: Fill) -> SeenFill:
            age = self._clock.real_seconds((market_at - fill.executed_at).total_seconds())
            return SeenFill(fill=fill, ours=orders.is_ours(fill), age_seconds=age)

        day = self._day_of(market_at)
        return BrokerState(
            market_at=market_at,
            day=day.day if day else None,
            day_began_at=day.session_open if day else None,
            cash=told.account.cash,
            equity=told.account.equity,
            holdings=tuple(_holding(position, ours.marks) for position in told.positions),
            fills=tuple(seen(fill) for fill in missing),
            orders=orders.seen,
            external=orders.external,
        )

    async def _ask(self, since: datetime) -> _Told:
        first = await self._broker.get_fills(since)
        account, positions, orders, activities = await asyncio.gather(
            self._broker.get_account(),
            self._broker.get_positions(),
            self._broker.get_open_orders(),
            self._broker.get_cash_activities(since - ACTIVITIES_OVERLAP),
        )
        again = await self._broker.get_fills(since)
        if [fill.activity_id for fill in first] != [fill.activity_id for fill in again]:
            raise SnapshotMoved("executions came in while the broker was read")
        check_whole(account, positions)
        return _Told(again, account, positions, orders, activities)


async def read_books(connection: "Connection", state: BrokerState) -> tuple[BrokerState, Books]:
    """Our books now, and of ``state`` the executions and activities that they still lack."""
    since = min((fill.fill.executed_at for fill in state.fills), default=state.market_at) - FILLS_OVERLAP
    last = await rows.last_market_at(connection)
    ours = await _read_ours(connection, since, last, state.market_at)
    booked = await journal.known_activities(
        connection,
        [fill.fill.activity_id or "" for fill in state.fills]
        + [activity.activity_id for activity in state.activities],
    )
    missing = {fill.activity_id for fill in missing_fills([seen.fill for seen in state.fills], ours.fills)}
    left = state.model_copy(
        update={
            "fills": tuple(seen for seen in state.fills if seen.fill.activity_id in missing - booked),
            "activities": tuple(each for each in state.activities if each.activity_id not in booked),
        }
    )
    return left, ours.books(opened=last is not None)


def unexplained_since(last: datetime | None, market_at: datetime) -> datetime:
    """Market time after which an overwrite may have booked what is listed only now: one for a run's every step.

    ``last``: of the last good reading, from before which on activities are listed.
    """
    return min(last or market_at, market_at) - FILLS_OVERLAP - ACTIVITIES_OVERLAP


def missing_fills(listed: Iterable[Fill], known: Iterable[Fill]) -> list[Fill]:
    """Listed executions that are not in our books, under either of their names."""
    ids = {each.activity_id for each in known}
    keys = {_key(each) for each in known}
    return [fill for fill in listed if fill.activity_id not in ids and _key(fill) not in keys]


def check_whole(account: Account, positions: Sequence[Position]) -> None:
    """Compare what the listed positions are worth with what the account says they are.

    Raises:
        NetworkError: the list lacks rows, or has too many; it must not be taken for the whole.
    """
    if account.long_market_value is None or account.short_market_value is None:
        return
    told = abs(account.long_market_value) + abs(account.short_market_value)
    listed = sum((abs(each.market_value or Decimal(0)) for each in positions), Decimal(0))
    if abs(told - listed) > max(MARKET_VALUE_TOLERANCE * told, CENT):
        raise NetworkError(
            f"the list of positions is not whole: {len(positions)} worth ${listed} are listed, the account "
            f"says ${told}"
        )


def _counts(fill: Fill, last: datetime | None, *, ours: bool) -> bool:
    """Foreign executions up to the last good reading are in the books already, as part of what it found.

    Before the first one every foreign execution is part of what the books open with.
    """
    return ours or (last is not None and fill.executed_at > last)


async def _read_ours(
    connection: "Connection", since: datetime, last: datetime | None, market_at: datetime
) -> _Ours:
    return _Ours(
        held=await journal.read_held(connection),
        cash=await journal.read_cash(connection),
        marks=await journal.read_marks(connection),
        fills=await journal.known_fills(connection, since - FILL_TIMES_APART),
        unexplained=await journal.read_unexplained(connection, unexplained_since(last, market_at)),
        opened_at=await journal.read_opened_at(connection),
    )


def _books(ours: _Ours, listed: Iterable[Fill], since: datetime, *, opened: bool) -> Books:
    ids = {fill.activity_id for fill in listed}
    keys = {_key(fill) for fill in listed}
    unlisted = [
        each
        for each in ours.fills
        if each.executed_at > since
        and not each.busted
        and each.activity_id not in ids
        and _key(each) not in keys
    ]
    return ours.books(opened=opened, unlisted=unlisted)


def _key(fill: Fill) -> tuple[str, Decimal, Decimal, Decimal]:
    return (fill.broker_order_id, fill.cumulative_quantity, fill.quantity, fill.price)


def _holding(position: Position, marks: dict[str, Decimal]) -> Holding:
    price = position.current_price or marks.get(position.ticker) or position.average_entry_price
    return Holding(
        ticker=position.ticker,
        quantity=position.quantity,
        price=price,
        average_price=position.average_entry_price,
        last_day_price=position.last_day_price,
    )
