"""Quotes, the account snapshot, the market's clock and positions, as rows that risk may read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from schemas.base import DecimalText, UtcTime, Wire
from schemas.broker import Account
from schemas.market import Provider, Quote
from schemas.orders import Side
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("market")

WATCHED_TICKERS_MAX: Final = 1000


class PositionRow(Wire):
    """Shares held by one strategy in one ticker: the sum of its executions."""

    ticker: str
    strategy: str
    quantity: DecimalText
    cash: DecimalText
    """US dollars that the executions brought (sells) less what they cost (buys)."""
    updated_at: UtcTime


class AccountRow(Wire):
    """The last account snapshot."""

    equity: DecimalText | None
    last_equity: DecimalText | None
    cash: DecimalText | None
    buying_power: DecimalText | None
    taken_at: UtcTime | None


class ClockRow(Wire):
    """One bracketed reading of the broker's clock."""

    read_at: UtcTime
    broker_at: UtcTime
    speed: float
    is_open: bool
    next_open: UtcTime
    next_close: UtcTime


async def save_quotes(connection: Connection, quotes: Sequence[Quote]) -> None:
    """Keep the newest quote of each ticker and provider; an older one changes nothing."""
    await connection.executemany(
        _SQL["save_quote"],
        [
            (
                quote.ticker, quote.provider.value, quote.bid, quote.ask, quote.bid_size, quote.ask_size,
                quote.quoted_at, quote.received_at,
            )
            for quote in quotes
        ],
    )  # fmt: skip


async def read_quote(connection: Connection, ticker: str, provider: Provider) -> Quote | None:
    """The newest quote stored."""
    row = await connection.fetchrow(_SQL["read_quote"], ticker, provider.value)
    return Quote.model_validate(dict(row)) if row else None


async def read_middles(connection: Connection, provider: Provider) -> dict[str, Decimal]:
    """US dollars a share by ticker: the middle of the newest quote, or its one side. However old it is."""
    return {
        row["ticker"]: row["middle"] for row in await connection.fetch(_SQL["read_middles"], provider.value)
    }


async def save_account(connection: Connection, account: Account, *, taken_at: datetime) -> None:
    """Keep the newest snapshot, and the minute's first in the history of equity.

    ``taken_at`` is when it was asked for, on our wall clock.
    """
    await connection.execute(
        _SQL["save_account"], account.equity, account.last_equity, account.cash, account.buying_power,
        taken_at, account.model_dump_json(exclude={"account_number"}),
    )  # fmt: skip
    await connection.execute(_SQL["note_equity"])


class EquityPoint(Wire):
    """What the account was worth in a minute; US dollars."""

    minute: UtcTime
    equity: DecimalText
    session_equity: DecimalText | None
    peak_equity: DecimalText | None


async def equity_since(connection: Connection, since: datetime, span: timedelta) -> list[EquityPoint]:
    """The history of equity from then on, one point in each ``span``."""
    rows = await connection.fetch(_SQL["equity_since"], since, span)
    return [EquityPoint.model_validate(dict(row)) for row in rows]


class QuoteAge(Wire):
    """When a provider last brought a quote, and of how many tickers it has brought any."""

    provider: Provider
    received_at: UtcTime
    tickers: int


async def quote_ages(connection: Connection) -> list[QuoteAge]:
    """Of each provider that ever brought one."""
    return [QuoteAge.model_validate(dict(row)) for row in await connection.fetch(_SQL["quote_ages"])]


async def read_account(connection: Connection) -> AccountRow:
    """The last snapshot; all None before the first."""
    row = await connection.fetchrow(_SQL["read_account"])
    assert row is not None, "account always has its one row"
    return AccountRow.model_validate(dict(row))


async def save_clock_reading(connection: Connection, reading: ClockRow) -> None:
    """Keep the newest reading of the broker's clock."""
    await connection.execute(
        _SQL["save_clock"],
        reading.read_at,
        reading.broker_at,
        reading.speed,
        reading.is_open,
        reading.next_open,
        reading.next_close,
    )


async def read_clock(connection: Connection) -> ClockRow | None:
    """The newest reading of the broker's clock."""
    row = await connection.fetchrow(_SQL["read_clock"])
    return ClockRow.model_validate(dict(row)) if row else None


async def entries_of_positions(
    connection: Connection,
) -> dict[tuple[str, str], list[tuple[Side, Decimal, Decimal]]]:
    """(side, shares, US dollars a share) of every execution that counts, in order, by position that is not flat."""
    found: dict[tuple[str, str], list[tuple[Side, Decimal, Decimal]]] = {}
    for row in await connection.fetch(_SQL["entries_of_positions"]):
        moves = found.setdefault((row["ticker"], row["strategy"]), [])
        moves.append((Side(row["side"]), row["quantity"], row["price"]))
    return found


async def list_positions(connection: Connection) -> list[PositionRow]:
    """Every position that is not flat, by ticker and strategy."""
    return [PositionRow.model_validate(dict(row)) for row in await connection.fetch(_SQL["list_positions"])]


async def watched_tickers(connection: Connection, *, signals_since: datetime) -> list[str]:
    """Tickers whose quotes are worth keeping: open orders, positions and recent signals."""
    rows = await connection.fetch(_SQL["watched_tickers"], signals_since, WATCHED_TICKERS_MAX)
    return [row["ticker"] for row in rows]
