"""``trading positions`` and ``trading account``."""

from decimal import Decimal
from typing import TYPE_CHECKING

from console.books import BooksDay, read_books_day
from console.common import NO_OPTIONS, Common, ago, console, emit, table, utc_now
from console.errors import EXIT_DONE
from console.rows import rows
from console.views import draw_pairs, money, shares
from risk.entry_price import entry
from schemas.base import DecimalText, UtcTime, Wire
from storage.market import PositionRow, entries_of_positions, list_positions, read_account
from storage.risk import live_reservations
from storage.switches import read_installation

if TYPE_CHECKING:
    from schemas.orders import Side
    from storage.database import Connection


class PositionView(Wire):
    """A position valued at the middle of the last quote; US dollars."""

    ticker: str
    strategy: str
    quantity: DecimalText
    average_entry: DecimalText | None
    """Average cost of the shares held; None where the executions do not add up to them."""
    mark: DecimalText | None
    value: DecimalText | None
    day: DecimalText | None
    """Profit or loss since the trading day began; None where a price is missing."""
    unrealized: DecimalText | None
    realized: DecimalText | None
    """Of this strategy in this ticker, ever."""
    updated_at: UtcTime


async def positions(*, common: Common = NO_OPTIONS) -> int:
    """List positions by ticker and strategy, valued at the middle of the last quote."""
    async with rows(common.addresses()) as connection:
        views = await read_positions(connection)

    def draw() -> None:
        if not views:
            print("no positions")
            return
        lines = [
            (view.ticker, view.strategy, shares(view.quantity), money(view.average_entry), money(view.mark),
             money(view.value), money(view.day), money(view.unrealized), money(view.realized))
            for view in views
        ]  # fmt: skip
        columns = (
            "ticker", "strategy", "quantity", "average entry", "mark", "value", "day", "unrealized", "realized",
        )  # fmt: skip
        console().print(table(columns, lines, right=columns[2:]))

    emit(common, [view.model_dump(mode="json") for view in views], draw)
    return EXIT_DONE


async def read_positions(connection: "Connection") -> list[PositionView]:
    """Every position that is not flat, in four readings however many there are."""
    day = await read_books_day(connection)
    entries = await entries_of_positions(connection)
    return [
        _valued(row, day, _entered(row, entries.get((row.ticker, row.strategy), [])))
        for row in await list_positions(connection)
    ]


def _valued(row: PositionRow, day: BooksDay, entered: Decimal | None) -> PositionView:
    mark = day.marks.get(row.ticker)
    value = None if mark is None else row.quantity * mark
    unrealized = None if value is None or entered is None else value - row.quantity * entered
    return PositionView(
        ticker=row.ticker,
        strategy=row.strategy,
        quantity=row.quantity,
        average_entry=entered,
        mark=mark,
        value=value,
        day=day.result_of(row.ticker, row.strategy),
        unrealized=unrealized,
        updated_at=row.updated_at,
        realized=None if entered is None else row.cash + row.quantity * entered,
    )


def _entered(row: PositionRow, executions: "list[tuple[Side, Decimal, Decimal]]") -> Decimal | None:
    found = entry(executions)
    return found.price if found.quantity == row.quantity else None


async def account(*, common: Common = NO_OPTIONS) -> int:
    """Show the last account snapshot and what is reserved on top of it."""
    async with rows(common.addresses()) as connection:
        found = await read_account(connection)
        installation = await read_installation(connection)
        count, notional = await live_reservations(connection)
        day = await read_books_day(connection)
    data = found.model_dump(mode="json") | {
        "account": installation.account,
        "mode": installation.mode,
        "reservations": count,
        "reserved_notional": str(notional),
        "books": day.as_json(),
    }

    def draw() -> None:
        snapshot = f"{ago(found.taken_at, utc_now())} ago" if found.taken_at else "none yet"
        draw_pairs([
            ("account", installation.account), ("mode", (installation.mode or "").upper()),
            ("equity", money(found.equity)), ("last equity", money(found.last_equity)),
            ("cash", money(found.cash)), ("buying power", money(found.buying_power)),
            ("reserved", f"{money(notional)} in {count} live reservations"), ("snapshot", snapshot),
            *day.pairs(),
        ])  # fmt: skip

    emit(common, data, draw)
    return EXIT_DONE
