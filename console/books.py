"""``trading books``: positions, cash and the day's result anew from executions and journal, beside what is kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from console.common import NO_OPTIONS, Common, clean, console, emit, table, utc_now
from console.errors import EXIT_DONE, EXIT_REFUSED
from console.rows import rows
from console.views import draw_pairs, money, shares
from risk.clock import market_time
from risk.day_result import day_result, result_of
from schemas.books import DayMoves, DayResult
from schemas.market import Provider
from schemas.reconciliation import CASH
from storage.journal import Difference, Sum, TradingDay, read_day, read_differences, read_trading_day, rebuild
from storage.market import read_clock, read_middles

if TYPE_CHECKING:
    from storage.database import Connection


@dataclass(frozen=True)
class BooksDay:
    """The books since the trading day began, valued at the middle of the last quotes."""

    day: TradingDay | None
    moves: Mapping[tuple[str, str], DayMoves]
    then: Mapping[str, Decimal]
    marks: Mapping[str, Decimal]
    cash: Decimal

    @property
    def whole(self) -> DayResult | None:
        """The account's; None before the first reconciliation."""
        return day_result(self.moves.values(), self.then, self.marks) if self.day else None

    def result_of(self, ticker: str, strategy: str) -> Decimal | None:
        """Profit or loss of one position."""
        moves = self.moves.get((ticker, strategy))
        if moves is None or self.day is None:
            return None
        return result_of(moves, self.then.get(ticker), self.marks.get(ticker))

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        day = None if self.day is None else self.day.model_dump(mode="json")
        whole = self.whole
        told = None if whole is None else whole.model_dump(mode="json")
        return {"cash": str(self.cash), "day": day, "day_result": told}

    def pairs(self) -> list[tuple[str, object]]:
        """For people."""
        whole = self.whole
        if self.day is None or whole is None:
            return [("cash here", money(self.cash)), ("day", "not known before the first reconciliation")]
        result = money(whole.result)
        if whole.unpriced:
            result = f"not known: no price of {', '.join(whole.unpriced)}"
        return [
            ("cash here", money(self.cash)),
            (f"day {self.day.day.isoformat()}", result),
            ("of it unexplained", money(whole.unexplained) if whole.unexplained else ""),
            ("transferred", money(whole.transferred) if whole.transferred else ""),
        ]


async def read_books_day(connection: "Connection") -> BooksDay:
    """From the two tables alone; marks and the day's beginning are prices and a time, no books."""
    clock = await read_clock(connection)
    now = utc_now()
    if clock is not None:
        now = market_time(now, broker_at=clock.broker_at, read_at=clock.read_at, speed=clock.speed)
    day, then = await read_trading_day(connection, now)
    began_at = day.began_at if day else datetime.max.replace(tzinfo=now.tzinfo)
    moves = {(row.ticker, row.strategy): row for row in await read_day(connection, began_at)}
    cash = sum((each.cash for each in await rebuild(connection)), Decimal(0))
    return BooksDay(day, moves, then, await read_middles(connection, Provider.PRIMARY), cash)


async def books(*, common: Common = NO_OPTIONS) -> int:
    """Compute positions, cash and the day's result anew from executions and journal, and compare with what is kept.

    Exit 0: the kept positions are that sum. Exit 1: they are not; the next `trading reconcile` writes them anew,
    and something beside this service has changed the database.
    """
    async with rows(common.addresses()) as connection:
        sums = await rebuild(connection)
        wrong = await read_differences(connection)
        day = await read_books_day(connection)
    data = {
        "books": [each.model_dump(mode="json") for each in sums],
        "differences": [each.model_dump(mode="json") for each in wrong],
        **day.as_json(),
    }
    emit(common, data, lambda: _draw(sums, wrong, day))
    return EXIT_REFUSED if wrong else EXIT_DONE


def _draw(sums: list[Sum], wrong: list[Difference], day: BooksDay) -> None:
    lines = [
        (clean(each.ticker), clean(each.strategy), "" if each.ticker == CASH else shares(each.quantity),
         money(each.cash), money(day.result_of(each.ticker, each.strategy)))
        for each in sums
    ]  # fmt: skip
    columns = ("ticker", "strategy", "quantity", "cash", "day")
    console().print(table(columns, lines, right=columns[2:]))
    draw_pairs(day.pairs())
    for each in wrong:
        print(
            f"WRONG: {clean(each.ticker)} of {clean(each.strategy)} is kept as {shares(each.kept_quantity)} shares "
            f"and {money(each.kept_cash)}; executions and journal come to {shares(each.quantity)} and "
            f"{money(each.cash)}"
        )
    if wrong:
        print("what to do: `trading reconcile` writes it anew; find out who changed the database by hand")
    else:
        print("the kept positions are the sum of executions and journal")
