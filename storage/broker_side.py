"""What the broker held when a reconciliation last ended well, and what runs have written into our books."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Final

from schemas.audit import canonical_json
from schemas.base import DecimalText, UtcTime, Wire
from schemas.reconciliation import BrokerState, Holding
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("reconciliation")

ENTRIES_MAX: Final = 500


class BrokerSide(Wire):
    """The deciding reading of the last good run. US dollars, shares signed."""

    run_id: str
    read_at: UtcTime
    """Our wall clock as the reading began."""
    cash: DecimalText
    equity: DecimalText
    holdings: tuple[Holding, ...]


class Overwritten(Wire):
    """One journal entry: what was written into the books beside executions."""

    run_id: str | None
    cause: str
    ticker: str
    strategy: str
    quantity: DecimalText
    cash: DecimalText
    before: DecimalText
    after: DecimalText
    detail: str
    recorded_at: UtcTime


async def save_broker_side(
    connection: Connection, run_id: str, state: BrokerState, read_at: datetime
) -> None:
    """Keep what the run has read, in the transaction that ends it; an older reading changes nothing."""
    await connection.execute(
        _SQL["save_broker_side"],
        run_id,
        read_at,
        state.cash,
        state.equity,
        canonical_json(list(state.holdings)),
    )


async def read_broker_side(connection: Connection) -> BrokerSide | None:
    """None before the first good run."""
    row = await connection.fetchrow(_SQL["read_broker_side"])
    if row is None:
        return None
    return BrokerSide.model_validate({**dict(row), "holdings": json.loads(row["holdings"])})


async def list_overwritten(connection: Connection, limit: int) -> list[Overwritten]:
    """Journal entries, newest first."""
    rows = await connection.fetch(_SQL["overwritten"], min(limit, ENTRIES_MAX))
    return [Overwritten.model_validate(dict(row)) for row in rows]
