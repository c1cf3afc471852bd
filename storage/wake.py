"""Pushes of the broker: rows that wake the catch-up, and nothing else of what was pushed."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("wake")


async def wake(
    connection: Connection, signature: bytes, *, signed_at: datetime, now: datetime, forget_before: datetime
) -> bool:
    """Note one push; those signed before ``forget_before`` need not be known any more.

    Returns:
        Whether it was new: a signature counts once.
    """
    fresh = await connection.fetchval(_SQL["wake"], signature, signed_at, now) is not None
    if fresh:
        await connection.execute(_SQL["forget_wakes"], forget_before)
    return fresh


async def wake_waits(connection: Connection, *, tried_before: datetime, now: datetime) -> bool:
    """Whether a catch-up is due for a push: none has begun for one since ``tried_before``. Looks only."""
    return bool(await connection.fetchval(_SQL["wake_waits"], tried_before, now))


async def claim_wake(connection: Connection, *, tried_before: datetime, now: datetime) -> int | None:
    """Begin a catch-up for every push so far: which number the last has. None: another process does."""
    found: int | None = await connection.fetchval(_SQL["claim_wake"], tried_before, now)
    return found


async def answer_wake(connection: Connection, number: int) -> None:
    """The catch-up for pushes up to this one has come to its end."""
    await connection.execute(_SQL["answer_wake"], number)
