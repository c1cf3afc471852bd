"""The journal: every change of shares or cash that is no execution of an order of ours.

Positions and cash are Σ executions + Σ journal entries, nothing else. The table ``positions`` is that sum kept
in the same transactions; ``rebuild`` computes it anew from the two tables alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from schemas.audit import AuditEntry
from schemas.base import DecimalText, UtcTime, Wire, decimal_text
from schemas.books import DayMoves
from schemas.broker import TRANSFERS
from schemas.orders import Fill
from schemas.reconciliation import CASH, EXTERNAL, Held
from storage.events import append
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("journal")

ZERO: Final = Decimal(0)
COMPONENT: Final = "Books"
CORRELATION: Final = "reconciliation"
"""Whose story an entry belongs to that no order of ours has brought about."""


class Entry(Wire):
    """One entry to be booked. Shares signed; US dollars that came (positive) or went."""

    run_id: str | None
    cause: str
    ticker: str = CASH
    strategy: str = EXTERNAL
    quantity: DecimalText = ZERO
    cash: DecimalText = ZERO
    price: DecimalText | None = None
    activity_id: str | None = None
    activity_type: str | None = None
    reverses: int | None = None
    snapshot_at: UtcTime
    """Market time: what was executed up to here is in it."""
    detail: str
    correlation_id: str = CORRELATION
    """Whose story it belongs to: the signal's where a late execution of its order reverses something."""


class Sum(Wire):
    """Shares and cash of one ticker and strategy."""

    ticker: str
    strategy: str
    quantity: DecimalText
    cash: DecimalText


class Difference(Sum):
    """What executions and journal come to where the table ``positions`` says something else."""

    kept_quantity: DecimalText
    kept_cash: DecimalText


class TradingDay(Wire):
    """A trading day, New York, and when its extended session began on the market's clock."""

    day: date
    began_at: UtcTime


async def lock_books(connection: Connection) -> None:
    """Let no execution and no entry be booked until the transaction ends; read the books in later statements."""
    await connection.execute(_SQL["lock_books"])


async def read_held(connection: Connection) -> tuple[Held, ...]:
    """Shares by ticker and strategy."""
    return tuple(Held.model_validate(dict(row)) for row in await connection.fetch(_SQL["read_held"]))


async def read_cash(connection: Connection) -> Decimal:
    """US dollars over everything."""
    cash: Decimal = await connection.fetchval(_SQL["read_cash"])
    return cash


async def read_marks(connection: Connection) -> dict[str, Decimal]:
    """US dollars a share of every ticker held: the quote's middle, or what the shares cost."""
    return {row["ticker"]: row["mark"] for row in await connection.fetch(_SQL["read_marks"])}


async def rebuild(connection: Connection) -> list[Sum]:
    """The books from executions and journal alone."""
    return [Sum.model_validate(dict(row)) for row in await connection.fetch(_SQL["rebuild_books"])]


async def read_differences(connection: Connection) -> list[Difference]:
    """Where the table ``positions`` is not what executions and journal come to; changes nothing."""
    return [Difference.model_validate(dict(row)) for row in await connection.fetch(_SQL["read_differences"])]


async def read_day(connection: Connection, began_at: datetime) -> list[DayMoves]:
    """What executions and journal have moved since then (market time), from the two tables alone."""
    rows = await connection.fetch(_SQL["read_day"], began_at, sorted(TRANSFERS))
    return [DayMoves.model_validate(dict(row)) for row in rows]


async def save_trading_day(connection: Connection, day: TradingDay, marks: Mapping[str, Decimal]) -> None:
    """Keep when a day began, and what a share of each ticker was worth at the close before. Again is harmless."""
    await connection.execute(_SQL["save_trading_day"], day.day, day.began_at)
    await connection.execute(_SQL["save_day_marks"], day.day, list(marks), list(marks.values()))


async def read_trading_day(
    connection: Connection, market_now: datetime
) -> tuple[TradingDay | None, dict[str, Decimal]]:
    """The last day that a reconciliation has seen begin, and its marks; None before the first."""
    row = await connection.fetchrow(_SQL["read_trading_day"], market_now)
    if row is None:
        return None, {}
    day = TradingDay.model_validate(dict(row))
    marks = await connection.fetch(_SQL["read_day_marks"], day.day)
    return day, {each["ticker"]: each["price"] for each in marks}


async def mend(connection: Connection, now: datetime) -> list[Sum]:
    """Write ``positions`` anew where it is not the sum it must be; call it in a transaction of its own.

    Returns:
        What was wrong with it: its former rows, empty where it was right.
    """
    if not await connection.fetchval(_SQL["books_differ"]):
        return []
    await lock_books(connection)
    kept = [Sum.model_validate(dict(row)) for row in await connection.fetch(_SQL["read_materialised"])]
    right = await rebuild(connection)
    if kept == right:
        return []
    await connection.execute(_SQL["clear_positions"])
    for each in right:
        await _add(connection, each.ticker, each.strategy, each.quantity, each.cash, now)
    await _tell_mended(connection, kept, right, now)
    return kept or [Sum(ticker=CASH, strategy=EXTERNAL, quantity=ZERO, cash=ZERO)]


async def _tell_mended(connection: Connection, kept: list[Sum], right: list[Sum], now: datetime) -> None:
    told = AuditEntry(
        occurred_at=now,
        correlation_id=CORRELATION,
        component=COMPONENT,
        actor="system",
        decision="BOOKS_MENDED",
        input={
            "detail": "the kept positions were not the sum of executions and journal: written anew",
            "kept": [each.model_dump(mode="json") for each in kept],
            "right": [each.model_dump(mode="json") for each in right],
        },
    )
    await append(connection, told)


async def book(connection: Connection, entry: Entry, now: datetime) -> bool:
    """Write one entry and its audit row, and move the position; False where its activity is booked already."""
    before = await _standing(connection, entry.ticker)
    change = entry.cash if entry.ticker == CASH else entry.quantity
    written = await connection.fetchval(
        _SQL["insert_entry"], entry.run_id, entry.cause, entry.ticker, entry.strategy, entry.quantity,
        entry.cash, entry.price, before, before + change, entry.activity_id,
        entry.activity_type, entry.reverses, entry.snapshot_at, entry.detail, now,
    )  # fmt: skip
    if written is None:
        return False
    await _add(connection, entry.ticker, entry.strategy, entry.quantity, entry.cash, now)
    told = AuditEntry(
        occurred_at=now,
        correlation_id=entry.correlation_id,
        component=COMPONENT,
        actor="system",
        decision="BOOKED",
        input={
            "detail": f"{entry.cause}: {entry.detail}",
            "entry_id": written,
            "before": decimal_text(before),
            "after": decimal_text(before + change),
            **entry.model_dump(mode="json", exclude={"detail", "correlation_id"}),
        },
    )
    await append(connection, told)
    return True


async def _standing(connection: Connection, ticker: str) -> Decimal:
    if ticker == CASH:
        return await read_cash(connection)
    shares: Decimal = await connection.fetchval(_SQL["account_shares"], ticker)
    return shares


async def _add(
    connection: Connection, ticker: str, strategy: str, quantity: Decimal, cash: Decimal, now: datetime
) -> None:
    await connection.execute(_SQL["add_to_position"], ticker, strategy, quantity, cash, now)


async def reverse_residuals(
    connection: Connection, fill: Fill, shares: Decimal, now: datetime, *, correlation_id: str
) -> None:
    """Take back what an overwrite had booked for an execution before anyone told us of it.

    ``correlation_id`` names the signal whose order was executed; ``shares`` is what the execution has just
    changed (a bust: its negative). An overwrite whose reading was later than the execution had it in its difference
    already; so of the shares, as many as are left of that difference are booked back, with the cash that the
    execution moved.
    """
    rows = await connection.fetch(_SQL["reversible"], fill.ticker, fill.executed_at)
    for row in rows:
        if row["remaining"] * shares <= 0:
            continue
        part = min(shares, row["remaining"], key=abs)
        booked_at: Decimal = row["price"] or ZERO
        detail = f"{fill.execution_id or fill.activity_id} came late: it was in the reading already"
        shared = {
            "run_id": None,
            "cause": "REVERSAL",
            "reverses": row["entry_id"],
            "snapshot_at": row["snapshot_at"],
            "detail": detail,
            "correlation_id": correlation_id,
        }
        await book(
            connection,
            Entry(
                ticker=fill.ticker,
                strategy=row["strategy"],
                quantity=-part,
                cash=part * booked_at,
                price=booked_at,
                **shared,
            ),
            now,
        )
        await book(connection, Entry(cash=part * (fill.price - booked_at), **shared), now)
        shares -= part
        if not shares:
            return


async def read_unexplained(connection: Connection, since: datetime) -> Decimal:
    """US dollars that overwrites after ``since`` (market time) have booked and nothing has explained yet."""
    cash: Decimal = await connection.fetchval(_SQL["read_unexplained"], since)
    return cash


async def read_opened_at(connection: Connection) -> datetime | None:
    """Market time of the import of the broker's state."""
    found: datetime | None = await connection.fetchval(_SQL["read_opened_at"])
    return found


async def reverse_cash(
    connection: Connection, entry: Entry, amount: Decimal, now: datetime, *, since: datetime
) -> None:
    """Take back what had been booked of an activity's cash before it was listed: ``entry`` is the activity's.

    First of what overwrites since then have left unexplained; the rest was in what was imported.
    """
    left = await read_unexplained(connection, since)
    residual = min(amount, left, key=abs) if amount * left > 0 else ZERO
    for cause, part in (("RESIDUAL", residual), ("OPENING", amount - residual)):
        row = await connection.fetchrow(_SQL["reversible_cash"], cause, since) if part else None
        if row is None:
            continue
        undone = Entry(
            run_id=entry.run_id, cause="REVERSAL", reverses=row["entry_id"], snapshot_at=row["snapshot_at"],
            cash=-part, detail=f"{entry.detail} was listed late: it was in the reading already",
        )  # fmt: skip
        await book(connection, undone, now)


async def known_fills(connection: Connection, since: datetime) -> list[Fill]:
    """Executions of our orders after ``since`` (market time), the busted ones too."""
    return [Fill.model_validate(dict(row)) for row in await connection.fetch(_SQL["known_fills"], since)]


async def known_activities(connection: Connection, activity_ids: Iterable[str]) -> set[str]:
    """Which of the broker's activities are booked."""
    rows = await connection.fetch(_SQL["known_activities"], list(activity_ids))
    return {row["activity_id"] for row in rows}


class BookedEntry(Wire):
    """One row of the journal."""

    entry_id: int
    run_id: str | None
    cause: str
    ticker: str
    strategy: str
    quantity: DecimalText
    cash: DecimalText
    price: DecimalText | None
    before: DecimalText
    after: DecimalText
    activity_id: str | None
    activity_type: str | None
    reverses: int | None
    snapshot_at: UtcTime
    detail: str
    recorded_at: UtcTime


async def list_journal(connection: Connection, run_id: str) -> list[BookedEntry]:
    """What one run booked, in order."""
    return [
        BookedEntry.model_validate(dict(row)) for row in await connection.fetch(_SQL["list_journal"], run_id)
    ]
