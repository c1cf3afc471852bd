"""Groups of consumers: made, listed, set back; what they could not take, and how it is put back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from schemas.alerts import AlertCode
from schemas.audit import AuditEntry
from storage.alerts import clear_alert
from storage.bus import BusEvent, NoSuchGroup
from storage.commits import committing
from storage.event_stream import NUMBERED, start_position
from storage.events import append
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("bus")
_EVENTS: Final = load("events")

BEHIND_MAX: Final = 10_000
"""Counting how far a partition is behind goes no further."""
LETTERS_MAX: Final = 1000


@dataclass(frozen=True)
class Group:
    """One group and how far it is."""

    name: str
    generation: int
    created_at: datetime
    position: int | None
    """After which its next event stands; None: it has acknowledged all there are."""
    waiting: int
    """Events not acknowledged yet; of each partition at most ``BEHIND_MAX`` are counted."""
    dead: int
    holders: tuple[str, ...]


@dataclass(frozen=True)
class Letter:
    """An event that a group could not take."""

    group: str
    event: BusEvent
    tries: int
    error: str
    died_at: datetime
    put_back: bool
    """It is to be delivered again."""


async def create_group(
    connection: Connection, group: str, *, since: int | datetime | None, now: datetime
) -> None:
    """Make the group unless it is there; one that is goes on where it was, whatever ``since`` says.

    Raises:
        AheadOfStream: no event has that position yet.
        EventsArchived: events that come after it have left the database.
    """
    async with committing(connection, "bus.group_created"):
        if not await group_exists(connection, group):
            start = await start_position(connection, since)
            await connection.execute(_SQL["create_group"], group, now)
            await connection.execute(_SQL["create_cursors"], group, start)


async def group_exists(connection: Connection, group: str) -> bool:
    """Whether it was made, and not dropped since."""
    exists: bool = await connection.fetchval(_SQL["group_exists"], group)
    return exists


async def list_groups(connection: Connection) -> list[Group]:
    """Every group by name."""
    rows = await connection.fetch(_SQL["groups"], BEHIND_MAX)
    return [
        Group(
            name=row["group_name"], generation=row["generation"], created_at=row["created_at"],
            position=row["position"], waiting=row["waiting"], dead=row["dead"], holders=tuple(row["holders"]),
        )
        for row in rows
    ]  # fmt: skip


async def reset_group(
    connection: Connection,
    group: str,
    since: int | datetime | None,
    *,
    actor: str,
    reason: str,
    component: str,
    now: datetime,
) -> int:
    """Have the group told everything after ``since`` again, in the caller's transaction; what it holds it loses.

    Audited. A partition that has not come so far stays where it is: nothing is ever passed over.

    Returns:
        The position after which all is told again.

    Raises:
        NoSuchGroup, AheadOfStream, EventsArchived: nothing was changed.
    """
    positions = await _lock(connection, group)
    start = await start_position(connection, since)
    await connection.execute(_SQL["begin_generation"], group)
    await connection.execute(_SQL["reset_cursors"], group, start)
    entry = AuditEntry(
        occurred_at=now, correlation_id=f"event-group {group}", component=component, actor=actor,
        decision="EVENT_GROUP_RESET",
        input={
            "group": group, "position": start, "reason": reason,
            "former_positions": positions, "detail": f"told all after position {start} again: {reason}",
        },
    )  # fmt: skip
    await append(connection, entry)
    await connection.execute(_EVENTS["notify"], NUMBERED)
    return start


async def drop_group(
    connection: Connection, group: str, *, actor: str, reason: str, component: str, now: datetime
) -> None:
    """Forget a group that nobody consumes for any more, with what it could not take, in the caller's transaction.

    Audited. What only it had not acknowledged need be kept in Redis no longer.

    Raises:
        NoSuchGroup: nothing was changed.
    """
    positions = await _lock(connection, group)
    letters = [each.event.position for each in await list_letters(connection, group)]
    for statement in (_SQL["drop_letters"], _SQL["drop_cursors"], _SQL["drop_group"]):
        await connection.execute(statement, group)
    entry = AuditEntry(
        occurred_at=now, correlation_id=f"event-group {group}", component=component, actor=actor,
        decision="EVENT_GROUP_DROPPED",
        input={
            "group": group, "reason": reason, "former_positions": positions, "dead": letters,
            "detail": f"nobody consumes for it any more: {reason}",
        },
    )  # fmt: skip
    await append(connection, entry)
    await clear_alert(
        connection, AlertCode.DEAD_EVENTS, group, component=component, now=now, actor=actor, reason=reason
    )


async def list_letters(connection: Connection, group: str | None = None) -> list[Letter]:
    """What groups could not take, of one or of all, at most ``LETTERS_MAX``."""
    rows = await connection.fetch(_SQL["dead_letters"], group, LETTERS_MAX)
    return [
        Letter(
            group=row["group_name"],
            event=BusEvent.of(row),
            tries=row["tries"], error=row["error"], died_at=row["died_at"], put_back=row["state"] == "due",
        )
        for row in rows
    ]  # fmt: skip


async def put_letters_back(
    connection: Connection,
    group: str,
    position: int | None,
    *,
    actor: str,
    reason: str,
    component: str,
    now: datetime,
) -> Sequence[int]:
    """Have a dead letter delivered again, or all of a group's, in the caller's transaction. Audited.

    It comes out of its order: what stood behind it may have been taken long ago. The group's alert ends with its
    last letter.

    Returns:
        The positions that were put back.
    """
    rows = await connection.fetch(_SQL["put_back"], group, position)
    positions = sorted(row["position"] for row in rows)
    if not positions:
        return positions
    entry = AuditEntry(
        occurred_at=now, correlation_id=f"event-group {group}", component=component, actor=actor,
        decision="DEAD_EVENTS_PUT_BACK",
        input={
            "group": group, "positions": positions, "reason": reason,
            "detail": f"{len(positions)} put back: {reason}",
        },
    )  # fmt: skip
    await append(connection, entry)
    if not await connection.fetchval(_SQL["count_dead"], group):
        await clear_alert(
            connection, AlertCode.DEAD_EVENTS, group, component=component, now=now, actor=actor, reason=reason
        )
    await connection.execute(_EVENTS["notify"], NUMBERED)
    return positions


async def _lock(connection: Connection, group: str) -> list[int]:
    """Keep the group as it is until the commit; where it stands in each partition. Raises NoSuchGroup."""
    positions = [row["position"] for row in await connection.fetch(_SQL["lock_cursors"], group)]
    if not positions:
        raise NoSuchGroup(group)
    return positions
