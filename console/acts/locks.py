"""Locks of tickers as acts of a person: an Operator sets one; who has set it, or Risk, lifts it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from console.acts.people import COMPONENT, Actor
from console.acts.repeats import DO, OTHERWISE, is_same_end
from console.errors import BadUsage, Refused
from schemas.locks import SymbolLockRow
from schemas.people import Role
from schemas.signals import TICKER_PATTERN
from storage.commits import committing
from storage.locks import lift_lock, lock_symbol, read_lock

if TYPE_CHECKING:
    from storage.database import Connection

LOOK: Final = "look with `trading locks`"


async def lock_ticker(
    connection: Connection, ticker: str, actor: Actor, *, lock_id: UUID, until: datetime | None, reason: str
) -> SymbolLockRow:
    """Let nothing new be opened in a ticker; the same ``lock_id`` again changes nothing.

    Raises:
        BadUsage: this is no ticker, or the end is past.
        Refused: ``lock_id`` is of another lock.
    """
    actor.require(Role.OPERATOR, "to lock a ticker")
    if not re.fullmatch(TICKER_PATTERN, ticker):
        raise BadUsage("that is no ticker", do="upper-case, e.g. AAPL or BRK.B")
    now = actor.now()
    if until is not None and until <= now:
        raise BadUsage("a lock ends later than now", do="30m, 2h, or a time")
    wanted = SymbolLockRow(
        lock_id=lock_id, ticker=ticker, locked_at=now, until=until, reason=reason, locked_by=actor.name,
        person_id=actor.person_id,
    )  # fmt: skip
    async with committing(connection, "console.symbol_locked"):
        if not await lock_symbol(connection, wanted, component=COMPONENT):
            _require_same(await read_lock(connection, lock_id), wanted)
    return wanted


def _require_same(stored: SymbolLockRow | None, wanted: SymbolLockRow) -> None:
    assert stored is not None, "its id is taken"
    same = (
        (stored.ticker, stored.reason, stored.person_id, stored.locked_by)
        == (wanted.ticker, wanted.reason, wanted.person_id, wanted.locked_by)
        and is_same_end(stored.until, stored.locked_at, wanted.until, wanted.locked_at)
    )  # fmt: skip
    if not same:
        raise Refused(OTHERWISE, do=DO)


async def lift(
    connection: Connection, lock_ids: Sequence[UUID], actor: Actor, *, reason: str
) -> list[SymbolLockRow]:
    """Lift locks; those that were over already are left out of the answer.

    Raises:
        Refused: one is another person's, and this person has not the role Risk; or there is no such lock.
    """
    now = actor.now()
    async with committing(connection, "console.symbol_unlocked"):
        for each in lock_ids:
            lock = await read_lock(connection, each)
            if lock is None:
                raise Refused("there is no such lock", do=LOOK)
            if lock.person_id is None or lock.person_id != actor.person_id:
                actor.require(Role.RISK, f"to lift a lock of {lock.locked_by}")
        found = [
            await lift_lock(
                connection, each, lifted_by=actor.name, reason=reason, component=COMPONENT, now=now
            )
            for each in lock_ids
        ]
    return [each for each in found if each is not None]
