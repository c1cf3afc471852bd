"""The rows of the request budget: one atomic statement takes tokens for every process, on the database's clock."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from schemas.base import Wire
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("budget")


class Grant(Wire):
    """What one asking got."""

    granted: int
    wait_seconds: float
    """Until the next token; 0 where there is one."""
    failures: int
    """Broker calls that have failed in a row, as far as the halt's row knows."""


async def take(
    connection: Connection,
    share: str,
    wanted: int,
    *,
    burst: int,
    interval_seconds: Decimal,
    now: datetime | None = None,
) -> Grant:
    """Take at most ``wanted`` tokens of a share that holds ``burst`` and gains one every ``interval_seconds``.

    In any window of W seconds at most burst + W / interval are granted. ``now`` stands in for the database's
    clock, which is the one clock of all processes.
    """
    row = await connection.fetchrow(
        _SQL["take"], share, Decimal(wanted), Decimal(burst), interval_seconds, now
    )
    assert row is not None, "every share has its row"
    return Grant.model_validate(dict(row))


async def give_back(connection: Connection, share: str, tokens: int, *, interval_seconds: Decimal) -> None:
    """Return tokens that were taken and with which nothing was sent."""
    await connection.execute(_SQL["give_back"], share, Decimal(tokens), interval_seconds)


async def pause(connection: Connection, share: str, seconds: float, *, now: datetime | None = None) -> None:
    """Let nobody take of a share for that long. An earlier, longer pause stands."""
    await connection.execute(_SQL["pause"], share, seconds, now)
