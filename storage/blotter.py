"""What the console's pages list: orders, signals, rejections and audit rows, each page in one statement."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from schemas.base import DecimalText, UtcTime, Wire
from schemas.orders import Action, OrderStatus, OrderType, TimeInForce
from storage.orders import StoredOrder, stored_order
from storage.statements import load

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection

_SQL: Final = load("blotter")

PAGE: Final = 50
STRATEGIES_FROM: Final = 2000
"""The newest signals that the filters' names are taken from."""
LATENCIES_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Mark:
    """The last row of a page: where the next one begins."""

    at: datetime
    key: str

    @property
    def text(self) -> str:
        """As it stands in an address."""
        told = json.dumps([self.at.isoformat(), self.key], separators=(",", ":"))
        return base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Mark:
        """Raises ValueError: it is none."""
        try:
            at, key = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            found = datetime.fromisoformat(at)
        except (TypeError, UnicodeDecodeError) as error:
            raise ValueError("no mark of a page") from error
        if found.tzinfo is None or not isinstance(key, str) or "\0" in key:
            raise ValueError("no mark of a page")
        return cls(found, key)


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which orders; None is all of them."""

    state: str | None = None
    ticker: str | None = None
    strategy: str | None = None
    text: str | None = None


class BlotterRow(Wire):
    """An order with the times before it, and the price that it set out from."""

    order: StoredOrder
    received_at: UtcTime
    decided_at: UtcTime | None
    arrival_price: DecimalText | None
    """US dollars a share: the middle of the quote that risk decided by; None for a stop, and for what was refused
    without a price."""
    acknowledged_at: UtcTime | None
    final_at: UtcTime | None


class SignalLine(Wire):
    """A signal with its entry's end."""

    signal_id: str
    strategy: str
    ticker: str
    action: Action
    order_type: OrderType
    time_in_force: TimeInForce
    quantity: DecimalText
    limit_price: DecimalText | None
    stop_price: DecimalText | None
    received_at: UtcTime
    valid_until: UtcTime
    status: OrderStatus
    reason: str | None
    user_message: str | None
    filled_quantity: DecimalText
    average_price: DecimalText | None
    approved: bool | None
    """None: risk has not decided."""
    decided_at: UtcTime | None


@dataclass(frozen=True, slots=True)
class Count:
    """Of the signals of one strategy, reason or span of time."""

    name: str
    at: datetime | None
    signals: int
    rejected: int
    filled: int


@dataclass(frozen=True, slots=True)
class Rejections:
    """Most first; the spans in their order, without those in which nothing came."""

    by_strategy: tuple[Count, ...]
    by_reason: tuple[Count, ...]
    over_time: tuple[Count, ...]


class Latency(Wire):
    """How long an entry took until the broker had it, in milliseconds: from its signal, and from risk's word."""

    acknowledged_at: UtcTime
    signal_id: str
    ticker: str
    whole_ms: Decimal
    broker_ms: Decimal


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which rows; None is all of them."""

    correlation_id: str | None = None
    component: str | None = None
    decision: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None


class AuditLine(Wire):
    """One row of the audit log, without its payload."""

    id: int
    occurred_at: UtcTime
    correlation_id: str
    component: str
    actor: str
    decision: str
    sequence: int | None
    """None: not sealed yet."""
    is_here: bool
    """False: its payload is in cold storage alone."""
    detail: str | None


@dataclass(frozen=True, slots=True)
class Words:
    """What the strategy wrote for people. Its author's, not ours."""

    rationale: str
    references: tuple[str, ...]


async def orders_page(
    connection: Connection, wanted: OrderFilter, *, before: Mark | None, limit: int = PAGE
) -> list[BlotterRow]:
    """Orders of every leg, newest first."""
    rows = await connection.fetch(
        _SQL["page"], wanted.state, wanted.ticker, wanted.strategy, wanted.text,
        before.at if before else None, UUID(before.key) if before else None, limit,
    )  # fmt: skip
    return [_blotter_row(row) for row in rows]


def _blotter_row(row: asyncpg.Record) -> BlotterRow:
    values = dict(row)
    told = {name: values.pop(name) for name in ("received_at", "decided_at", "arrival_price")}
    return BlotterRow(
        order=stored_order(values),
        acknowledged_at=values["acknowledged_at"],
        final_at=values["final_at"],
        **told,
    )


async def arrival_price(connection: Connection, order: StoredOrder) -> Decimal | None:
    """As `BlotterRow.arrival_price`."""
    found: Decimal | None = await connection.fetchval(
        _SQL["arrival_price"], order.signal_id, order.leg.value, order.generation
    )
    return found


async def count_open(connection: Connection) -> tuple[dict[str, int], int]:
    """How many orders are open in each state, and of how many nobody knows whether they stand."""
    rows = await connection.fetch(_SQL["count_open"])
    return {row["status"]: row["count"] for row in rows}, sum(row["unknown"] for row in rows)


async def recent_strategies(connection: Connection) -> list[str]:
    """Names in order, of the newest ``STRATEGIES_FROM`` signals."""
    return [row["strategy"] for row in await connection.fetch(_SQL["strategies"], STRATEGIES_FROM)]


async def latencies(connection: Connection, since: datetime) -> list[Latency]:
    """Oldest first; of more than ``LATENCIES_MAX`` the newest."""
    rows = await connection.fetch(_SQL["latencies"], since, LATENCIES_MAX)
    return [Latency.model_validate(dict(row)) for row in reversed(rows)]


async def signals_page(
    connection: Connection,
    *,
    strategy: str | None,
    ticker: str | None,
    reason: str | None,
    before: Mark | None,
    limit: int = PAGE,
) -> list[SignalLine]:
    """Signals, newest first; ``reason`` 'any' for all that were rejected."""
    rows = await connection.fetch(
        _SQL["signals_page"], strategy, ticker, reason, before.at if before else None,
        before.key if before else None, limit,
    )  # fmt: skip
    return [SignalLine.model_validate(dict(row)) for row in rows]


async def count_rejections(connection: Connection, since: datetime, span: timedelta) -> Rejections:
    """What became of the signals since then, whoever refused them."""
    found: dict[str, list[Count]] = {"strategy": [], "reason": [], "time": []}
    for row in await connection.fetch(_SQL["rejections"], since, span):
        count = Count(row["name"] or "", row["at"], row["signals"], row["rejected"], row["filled"])
        found[row["by"]].append(count)
    return Rejections(
        tuple(sorted(found["strategy"], key=lambda each: (-each.rejected, -each.signals, each.name))),
        tuple(sorted(found["reason"], key=lambda each: (-each.rejected, each.name))),
        tuple(sorted(found["time"], key=lambda each: each.at or since)),
    )


async def strategys_words(connection: Connection, signal_id: str) -> Words:
    """Empty where the strategy said nothing, or nobody knows the signal."""
    row = await connection.fetchrow(_SQL["words"], signal_id)
    if row is None:
        return Words("", ())
    return Words(row["rationale"] or "", tuple(row["sources"] or ()))


async def search_audit(connection: Connection, wanted: AuditFilter, *, limit: int = PAGE) -> list[AuditLine]:
    """Rows, newest first."""
    rows = await connection.fetch(
        _SQL["search_audit"], wanted.correlation_id, wanted.component, wanted.decision, wanted.since, wanted.until,
        wanted.before, limit,
    )  # fmt: skip
    return [AuditLine.model_validate(dict(row)) for row in rows]


async def read_health(connection: Connection, now: datetime) -> dict[str, Any]:
    """The row of `health`, as it is."""
    row = await connection.fetchrow(_SQL["health"], now)
    assert row is not None, "it always has one row"
    return dict(row)
