"""Grants of live trading, and what execution runs with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from schemas.base import UtcTime, Wire
from schemas.clock import ClockHealth
from schemas.live import LiveConfiguration, LiveGrant, LiveSeen, SignedGrant
from schemas.mode import Mode
from storage.events import append
from storage.statements import load
from storage.switches import access_entry

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("live")

GRANTS_MAX: Final = 100
"""Listed at once."""


class StoredConfiguration(Wire):
    """What execution said of itself at its last start. What it believes of a grant it takes from itself."""

    configuration: LiveConfiguration
    mode: Mode
    permitted: bool
    reasons: tuple[str, ...]
    """Why not, at that start."""
    written_at: UtcTime


class GrantRow(Wire):
    """One grant for a list; not verified."""

    grant: LiveGrant
    revoked_at: UtcTime | None
    revoked_by: str | None
    revoke_reason: str | None


class NewestGrant(Wire):
    """The one that execution asks, whatever its state; not verified."""

    expires_at: UtcTime
    revoked_at: UtcTime | None


async def read_newest_grant(connection: Connection) -> NewestGrant | None:
    """None: there was never one."""
    row = await connection.fetchrow(_SQL["read_newest_grant"])
    return None if row is None else NewestGrant.model_validate(dict(row))


async def read_seen(connection: Connection, clock: ClockHealth, *, reduces: bool = False) -> LiveSeen:
    """The newest grant and the kill switch, in one statement. ``reduces``: for an order that can only reduce."""
    row = await connection.fetchrow(_SQL["read_seen"])
    assert row is not None, "kill_switch always has its one row"
    grant = None if row["grant_id"] is None else SignedGrant.model_validate(dict(row))
    return LiveSeen(grant=grant, kill_engaged=row["engaged"], clock=clock, reduces=reduces)


async def save_grant(connection: Connection, signed: SignedGrant, *, component: str, now: datetime) -> None:
    """Store a grant with the audit row of it, in which both persons stand. Call it where two have said it."""
    grant = LiveGrant.model_validate_json(signed.document)
    await connection.execute(
        _SQL["insert_grant"], signed.grant_id, signed.document, signed.signature, signed.key_id, grant.given_at,
        grant.expires_at,
    )  # fmt: skip
    detail = (
        f"{grant.asked.name} and {grant.agreed.name} grant live trading until {grant.expires_at.isoformat()}: "
        f"{grant.reason}"
    )
    evidence = {"grant": signed.model_dump(mode="json")}
    entry = access_entry("LIVE_GRANTED", component, detail, evidence, now, actor=grant.agreed.name)
    await append(connection, entry)


async def revoke_grants(
    connection: Connection,
    *,
    by: str,
    reason: str,
    component: str,
    now: datetime,
    of_person: UUID | None = None,
) -> tuple[UUID, ...]:
    """Take back every grant that has not ended, with the audit row of it. Empty: there was none.

    ``of_person``: only those that this person has asked for or agreed to.
    """
    named = "" if of_person is None else str(of_person)
    rows = await connection.fetch(_SQL["revoke_grants"], now, by, reason, named)
    revoked = tuple(row["grant_id"] for row in rows)
    if revoked:
        evidence = {"grants": [str(each) for each in revoked], "reason": reason}
        detail = f"live trading is granted no more: {reason}"
        await append(connection, access_entry("LIVE_REVOKED", component, detail, evidence, now, actor=by))
    return revoked


async def list_grants(connection: Connection) -> list[GrantRow]:
    """The newest first, at most ``GRANTS_MAX``."""
    rows = await connection.fetch(_SQL["list_grants"], GRANTS_MAX)
    return [
        GrantRow.model_validate(dict(row) | {"grant": LiveGrant.model_validate_json(row["document"])})
        for row in rows
    ]


async def save_configuration(
    connection: Connection,
    configuration: LiveConfiguration,
    *,
    mode: Mode,
    reasons: Sequence[str],
    component: str,
    now: datetime,
) -> None:
    """What execution starts with, and whether it may trade live; an audit row where it is live."""
    document = configuration.model_dump_json()
    await connection.execute(
        _SQL["save_configuration"], configuration.hash, document, mode.value, not reasons, list(reasons), now
    )
    if mode is Mode.LIVE:
        word = "LIVE_NOT_PERMITTED" if reasons else "LIVE_PERMITTED"
        evidence = {"configuration": configuration.model_dump(mode="json"), "reasons": list(reasons)}
        detail = f"live: {'; '.join(reasons) or 'orders may leave'}"
        await append(connection, access_entry(word, component, detail, evidence, now, actor="system"))


async def read_configuration(connection: Connection) -> StoredConfiguration | None:
    """None: execution has never started."""
    row = await connection.fetchrow(_SQL["read_configuration"])
    if row is None:
        return None
    configuration = LiveConfiguration.model_validate_json(row["document"])
    return StoredConfiguration.model_validate(dict(row) | {"configuration": configuration})
