"""What operations ask of all open orders at once: who lacks a workflow, a signal, or executions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from schemas.alerts import AlertCode
from schemas.base import DecimalText, Wire
from storage.orders import StoredOrder, stored_order
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("watch")

FIRST_PAGE: Final = (datetime.min.replace(tzinfo=UTC), "")


class Standing(Wire):
    """How an open order of ours stands at the broker, as far as it has been told."""

    broker_order_id: str
    raw_status: str | None
    broker_filled_quantity: DecimalText
    replaced_by: str | None
    doubted: bool
    """The broker has denied it, and it is asked for by itself."""


async def unsettled(
    connection: Connection, *, created_before: datetime, after: tuple[datetime, str], limit: int
) -> list[tuple[datetime, str]]:
    """(created at, signal id) of orders that have not reached their settled end, oldest first.

    Each must have a running workflow. ``after`` is the last of the page before, ``FIRST_PAGE`` for the first.
    """
    rows = await connection.fetch(_SQL["unsettled"], created_before, *after, limit)
    return [(row["created_at"], row["signal_id"]) for row in rows]


async def never_checked(connection: Connection, *, created_before: datetime, limit: int) -> list[str]:
    """Signals whose order has not been seen to have a workflow, oldest first."""
    rows = await connection.fetch(_SQL["never_checked"], created_before, limit)
    return [row["signal_id"] for row in rows]


async def longest_unchecked(connection: Connection, *, created_before: datetime, limit: int) -> list[str]:
    """Signals whose order's workflow was seen to longest ago."""
    rows = await connection.fetch(_SQL["longest_unchecked"], created_before, limit)
    return [row["signal_id"] for row in rows]


async def is_unsettled(connection: Connection, signal_id: str) -> bool:
    """Whether an order of this signal has not reached its settled end."""
    unsettled_now: bool = await connection.fetchval(_SQL["is_unsettled"], signal_id)
    return unsettled_now


async def mark_checked(connection: Connection, signal_ids: Iterable[str], now: datetime) -> None:
    """Note that these orders' workflows run."""
    await connection.execute(_SQL["mark_checked"], list(signal_ids), now)


async def mark_unchecked(connection: Connection, orders: Iterable[UUID]) -> None:
    """Note that no workflow runs for these orders, by internal order id."""
    await connection.execute(_SQL["mark_unchecked"], list(orders))


async def count_unsettled_before(connection: Connection, created_before: datetime) -> int:
    """How many orders of before that time have not reached their settled end."""
    count: int = await connection.fetchval(_SQL["count_unsettled_before"], created_before)
    return count


async def count_unsettled(connection: Connection) -> int:
    """How many orders have not reached their settled end."""
    count: int = await connection.fetchval(_SQL["count_unsettled"])
    return count


async def unsignalled(connection: Connection, *, changed_before: datetime, limit: int) -> list[StoredOrder]:
    """Orders whose newest version their workflow may not have heard of."""
    return [stored_order(row) for row in await connection.fetch(_SQL["unsignalled"], changed_before, limit)]


async def mark_signalled(connection: Connection, versions: Mapping[UUID, int]) -> None:
    """Note which version each workflow holds at least, by internal order id."""
    await connection.executemany(_SQL["mark_signalled"], sorted(versions.items()))


async def open_at_broker(connection: Connection, *, limit: int) -> list[Standing]:
    """Every unsettled order that the broker has acknowledged."""
    return [
        Standing.model_validate(dict(row)) for row in await connection.fetch(_SQL["open_at_broker"], limit)
    ]


async def known_executions(connection: Connection, activity_ids: Iterable[str]) -> set[str]:
    """Which of these rows of the broker's list are stored as executions of ours."""
    rows = await connection.fetch(_SQL["known_executions"], list(activity_ids))
    return {row["activity_id"] for row in rows}


async def newest_untold(connection: Connection, *, executed_after: datetime) -> datetime | None:
    """When the newest execution happened of which the stream has not told; market time."""
    newest: datetime | None = await connection.fetchval(_SQL["newest_untold"], executed_after)
    return newest


async def fills_missing(connection: Connection, *, since_before: datetime, limit: int) -> list[StoredOrder]:
    """Orders whose executions have not added up to the broker's count since before that time."""
    return [stored_order(row) for row in await connection.fetch(_SQL["fills_missing"], since_before, limit)]


async def fills_found(connection: Connection) -> list[str]:
    """Subjects of FILLS_MISSING alerts that are over."""
    rows = await connection.fetch(_SQL["fills_found"], AlertCode.FILLS_MISSING.value)
    return [row["subject"] for row in rows]


async def note_message(connection: Connection, order: StoredOrder, key: str, now: datetime) -> bool:
    """Whether this message of the broker about the order comes for the first time."""
    return await connection.fetchval(_SQL["note_message"], key, order.internal_order_id, now) is not None
