"""Messages about alerts: which channels are told, what waits to be sent, and what became of it.

A trigger queues them in the transaction of the alert itself, whoever writes that; see migration 0019.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from schemas.alerts import Channel, Delivery, DeliveryState, Severity
from schemas.audit import AuditEntry
from storage.events import append
from storage.statements import load

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection

_SQL: Final = load("deliveries")

LIST_MAX: Final = 500
OF_ONE_ALERT_MAX: Final = 6
CHANNELS: Final = "alert-channels"
"""The story of who is told of alerts, in the audit log."""
NOT_CONFIGURED: Final = "the channel is not configured any more"


def _delivery(row: asyncpg.Record) -> Delivery:
    values: dict[str, Any] = dict(row)
    del values["alert_id"]
    return Delivery.model_validate(values)


async def read_channels(connection: Connection) -> dict[Channel, tuple[str, ...]]:
    """The severities that each channel is told of; one that is told of none is left out."""
    rows = await connection.fetch(_SQL["read_channels"])
    return {Channel(row["channel"]): tuple(row["severities"]) for row in rows if row["severities"]}


async def set_channels(
    connection: Connection, wanted: Mapping[Channel, Sequence[Severity]], now: datetime
) -> None:
    """Bring the channels to what this process was told. Again is harmless.

    One that begins is told of what lasts already; what waits for one that ends is dead.
    """
    before = await read_channels(connection)
    for channel in Channel:
        severities = [each.value for each in wanted.get(channel, ())]
        if tuple(severities) == before.get(channel, ()):
            continue
        await connection.execute(_SQL["set_channel"], channel.value, severities, now)
        told = AuditEntry(
            occurred_at=now,
            correlation_id=CHANNELS,
            component="AlertPost",
            actor="configuration",
            decision="CHANNEL_SET",
            input={"detail": f"{channel.value} is told of: {', '.join(severities) or 'nothing'}"},
        )
        await append(connection, told)
        if not severities:
            await connection.execute(_SQL["bury_all"], channel.value, NOT_CONFIGURED)
        elif channel not in before:
            await connection.execute(_SQL["queue_open"], channel.value, severities)


async def has_due(connection: Connection, channel: Channel, now: datetime) -> bool:
    """Whether anything may be sent there now. Looks only."""
    return bool(await connection.fetchval(_SQL["has_due"], channel.value, now))


async def claim(
    connection: Connection, channel: Channel, *, now: datetime, until: datetime, limit: int
) -> list[Delivery]:
    """Take messages to send, the most severe first; of one alert only its earliest. The try counts already.

    Nobody else gets them before ``until``: then whoever took them is dead, and they are due again.
    """
    rows = await connection.fetch(_SQL["claim"], channel.value, now, until, limit)
    return [_delivery(row) for row in rows]


async def mark_sent(connection: Connection, delivery: Delivery, response: str, now: datetime) -> None:
    """The receiver has taken it."""
    await connection.execute(_SQL["mark_sent"], delivery.delivery_id, now, response)


async def mark_failed(
    connection: Connection, delivery: Delivery, error: str, *, next_try_at: datetime | None
) -> DeliveryState | None:
    """It was not taken: tried again at that time, or dead where there is none.

    Returns:
        How it stands; None where another process has it by now.
    """
    state = await connection.fetchval(
        _SQL["mark_failed"], delivery.delivery_id, delivery.tries, error, next_try_at
    )
    return None if state is None else DeliveryState(state)


async def resend(
    connection: Connection, delivery_id: int, *, component: str, actor: str, now: datetime
) -> Delivery | None:
    """Make a dead message due again, with all its tries before it, and note who wanted that.

    Returns:
        The message; None where it is not dead, or where an incident would be opened for what is over.
    """
    row = await connection.fetchrow(_SQL["resend"], delivery_id)
    if row is None:
        return None
    delivery = _delivery(row)
    told = AuditEntry(
        occurred_at=now,
        correlation_id=delivery.correlation_id,
        component=component,
        actor=actor,
        decision="ALERT_RESENT",
        input={"detail": f"{delivery.alert_id}: {delivery.change.value}, to {delivery.channel.value}",
               "delivery_id": delivery_id},
    )  # fmt: skip
    await append(connection, told)
    return delivery


async def read_delivery(connection: Connection, delivery_id: int) -> Delivery | None:
    row = await connection.fetchrow(_SQL["read_delivery"], delivery_id)
    return None if row is None else _delivery(row)


async def list_deliveries(
    connection: Connection, *, everything: bool = False, limit: int = LIST_MAX
) -> list[Delivery]:
    """The dead, then what waits; with ``everything`` what was sent after them. Newest first."""
    rows = await connection.fetch(_SQL["list_deliveries"], everything, min(limit, LIST_MAX))
    return [_delivery(row) for row in rows]


async def deliveries_of(connection: Connection, alert_ids: Sequence[str]) -> list[Delivery]:
    """Of each of these alerts the newest ``OF_ONE_ALERT_MAX`` messages, newest first."""
    rows = await connection.fetch(_SQL["deliveries_of"], list(alert_ids), OF_ONE_ALERT_MAX)
    return [_delivery(row) for row in rows]


async def count_unsent(connection: Connection) -> dict[DeliveryState, int]:
    """How many are due and how many are dead."""
    found = {
        DeliveryState(row["state"]): row["count"] for row in await connection.fetch(_SQL["count_unsent"])
    }
    return {state: found.get(state, 0) for state in (DeliveryState.DUE, DeliveryState.DEAD)}
