"""The kill switch row, its releases, and who this installation is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

from risk.readiness import STREAM_GAP_MAX
from schemas.audit import AuditEntry
from schemas.base import UtcTime, Wire, storable
from schemas.events import KillSwitchActivated
from schemas.kill import KillCommand, KillState, ReleaseGrant
from schemas.wire import Topic
from storage.events import Queued, append
from storage.statements import load

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection

_SQL: Final = load("switches")

CORRELATION: Final = "kill-switch"
"""The kill switch's own story in the audit log."""
ACCESS: Final = "access"
"""The story of who may do what: the account, tokens, operators' keys, roles, keys of approvals."""


NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class WrongInstallation(Exception):
    """This database belongs to another account or mode. One installation serves one (account, mode)."""


class Installation(Wire):
    namespace: UUID
    account: str | None
    mode: str | None


class StreamRow(Wire):
    """Where the trade-updates stream stands."""

    connected_at: UtcTime | None
    last_seen_at: UtcTime | None
    disconnected_at: UtcTime | None
    fill_cursor: UtcTime | None
    """Market time up to which every execution is stored, as the broker stamps executions."""
    last_catch_up_at: UtcTime | None
    last_update_at: UtcTime | None = None
    """When it last brought an update."""
    orders_listed_at: UtcTime | None = None
    """When all open orders were last compared with the broker's list."""


def _state(row: asyncpg.Record) -> KillState:
    values = dict(row)
    sweep = json.loads(values.pop("sweep") or "{}")
    return KillState.model_validate({**values, "fates": sweep})


async def read_state(connection: Connection) -> KillState:
    """The switch as it stands."""
    row = await connection.fetchrow(_SQL["read_state"])
    assert row is not None, "kill_switch always has its one row"
    return _state(row)


async def engage(
    connection: Connection, command: KillCommand, *, request_id: str, now: datetime, component: str
) -> KillState:
    """Engage the switch: row, event and audit row. Call it in a transaction of its own.

    While engaged, a further activation is recorded, may widen the scope, wants a sweep of its own and leaves
    the epoch as it is. The same ``request_id`` again is the same activation and changes nothing.
    """
    # No text may keep the switch from engaging.
    command = command.model_copy(
        update={"reason": storable(command.reason), "triggered_by": storable(command.triggered_by)}
    )
    await connection.fetchrow(_SQL["lock_switch"])
    before = await read_state(connection)
    if before.engaged and before.request_id == request_id:
        return before
    if before.engaged:
        await connection.execute(_SQL["engage_again"], command.scope.value, request_id)
    else:
        await connection.execute(
            _SQL["engage"], command.scope.value, command.reason, command.triggered_by, now, request_id
        )
    after = await read_state(connection)
    told = AuditEntry(
        occurred_at=now, correlation_id=CORRELATION, component=component, actor=command.triggered_by,
        decision="KILL_ENGAGED" if not before.engaged else "KILL_REPEATED",
        input={
            "detail": command.reason, "epoch": after.epoch, "request_id": request_id,
            "command": command.model_dump(mode="json"),
        },
    )  # fmt: skip
    await append(connection, told, activated(after, "NEW_ORDERS_BLOCKED_CANCELS_REQUESTED", now))
    return after


async def sweep_again(
    connection: Connection,
    reopened: str,
    command: KillCommand,
    *,
    request_id: str,
    now: datetime,
    component: str,
) -> None:
    """Where the switch is engaged: one more activation, which wants a sweep of its own. Else nothing.

    ``reopened``: the client_order_id that makes it needed; what was told of its end is taken back.
    """
    await connection.fetchrow(_SQL["lock_switch"])
    if not (await read_state(connection)).engaged:
        return
    await connection.execute(_SQL["forget_fate"], reopened)
    await engage(connection, command, request_id=request_id, now=now, component=component)


def activated(state: KillState, action_taken: str, now: datetime) -> Queued:
    """``system.killswitch.activated``. Its id cannot be known before, so that nobody can take it before.

    No repeat makes a second one: the switch's row is locked, and only what changes it is told.
    """
    event = KillSwitchActivated.model_validate(
        {
            "event_id": f"evt_{uuid4().hex}",
            "timestamp": now,
            "reason": state.reason or "",
            "triggered_by": state.triggered_by or "",
            "action_taken": action_taken,
            "epoch": state.epoch,
            "scope": state.scope.value,
            "orders": {key: fate.value for key, fate in state.fates.items()},
            "unprotected": state.unprotected,
        }
    )
    return Queued(Topic.KILLSWITCH_ACTIVATED, CORRELATION, event)


async def note(
    connection: Connection,
    *,
    decision: str,
    actor: str,
    detail: str,
    now: datetime,
    evidence: Mapping[str, Any] = NOTHING,
) -> None:
    """An audit row about the switch that changes nothing."""
    await append(connection, entry(decision, actor, detail, now, evidence))


def entry(
    decision: str, actor: str, detail: str, now: datetime, evidence: Mapping[str, Any] = NOTHING
) -> AuditEntry:
    """A line of the switch's own story."""
    return AuditEntry(
        occurred_at=now,
        correlation_id=CORRELATION,
        component="KillSwitch",
        actor=actor,
        decision=decision,
        input={"detail": detail, **evidence},
    )


async def release(connection: Connection, grant: ReleaseGrant, *, now: datetime) -> bool:
    """Release the switch by a grant already verified. False when the grant was used or is for another epoch."""
    await connection.fetchrow(_SQL["lock_switch"])
    state = await read_state(connection)
    if await connection.fetchval(_SQL["released_by"], grant.nonce, grant.epoch) is not None:
        # The repeat of a release whose answer was lost, unless the switch was engaged again since.
        return not state.engaged and state.epoch == grant.epoch + 1
    if not state.engaged or state.epoch != grant.epoch:
        return False
    fresh = await connection.fetchval(
        _SQL["insert_release"], grant.nonce, grant.epoch, grant.person, grant.reason, grant.key_id, now
    )
    if fresh is None:
        return False
    await connection.execute(_SQL["release"], grant.reason, grant.person, now)
    await note(
        connection, decision="KILL_RELEASED", actor=grant.person, detail=grant.reason, now=now,
        evidence={"grant": grant.model_dump(mode="json"), "was": state.model_dump(mode="json")},
    )  # fmt: skip
    return True


async def unknown_orders(connection: Connection) -> tuple[str, ...]:
    """client_order_ids whose fate at the broker is not known."""
    return tuple(row["client_order_id"] for row in await connection.fetch(_SQL["all_unknown"]))


async def read_installation(connection: Connection) -> Installation:
    row = await connection.fetchrow(_SQL["read_installation"])
    assert row is not None, "installation always has its one row"
    return Installation.model_validate(dict(row))


async def bind_installation(
    connection: Connection, *, account: str, mode: str, now: datetime
) -> Installation:
    """Bind the database to its (account, mode) at first start, with the audit row of it.

    Raises:
        WrongInstallation: it is bound to another.
    """
    namespace = await connection.fetchval(_SQL["bind_installation"], account, mode, now)
    if namespace is not None:
        evidence = {"namespace": str(namespace), "account": account, "mode": mode}
        detail = f"this database serves account {account} ({mode}) and no other from now on"
        await append(connection, access_entry("INSTALLATION_BOUND", "Setup", detail, evidence, now))
    installation = await read_installation(connection)
    if (installation.account, installation.mode) != (account, mode):
        raise WrongInstallation(
            f"this database serves account {installation.account} ({installation.mode}), not {account} ({mode}): "
            "use another database"
        )
    return installation


async def save_operator_key(
    connection: Connection, *, key_id: str, public_key: bytes, person: str, now: datetime
) -> None:
    """Make a person's public key known, with the audit row of it. The same key again changes nothing."""
    added = await connection.fetchval(_SQL["save_operator_key"], key_id, public_key, person, now)
    if added is not None:
        evidence = {"key_id": key_id, "public_key": public_key.hex(), "person": person}
        detail = f"{person} may release the kill switch with key {key_id}"
        await append(connection, access_entry("OPERATOR_KEY_ADDED", "Setup", detail, evidence, now))


def access_entry(
    decision: str,
    component: str,
    detail: str,
    evidence: Mapping[str, Any],
    now: datetime,
    *,
    actor: str = "owner",
) -> AuditEntry:
    """A line of the story of who may do what."""
    return AuditEntry(
        occurred_at=now,
        correlation_id=ACCESS,
        component=component,
        actor=actor,
        decision=decision,
        input={"detail": detail, **evidence},
    )


async def operator_key(connection: Connection, key_id: str) -> bytes | None:
    """The raw Ed25519 public key, unless unknown or revoked."""
    key: bytes | None = await connection.fetchval(_SQL["read_operator_key"], key_id)
    return key


async def read_stream(connection: Connection) -> StreamRow:
    row = await connection.fetchrow(_SQL["read_stream"])
    assert row is not None, "trade_stream always has its one row"
    return StreamRow.model_validate(dict(row))


async def stream_connected(connection: Connection, now: datetime, *, started: bool = False) -> None:
    """Note the connection, and a silence before it that a reconciliation must follow.

    ``started``: it is the first of this process, which must be followed by one as well.
    """
    await connection.execute(_SQL["stream_connected"], now, STREAM_GAP_MAX, started)


async def stream_seen(connection: Connection, now: datetime, last_update_at: datetime | None = None) -> bool:
    """Note that the broker answered just now. A process that stood still leaves a gap as well.

    Returns:
        Whether the connection is doubted: an execution was found that it should have brought.
    """
    return bool(await connection.fetchval(_SQL["stream_seen"], now, STREAM_GAP_MAX, last_update_at))


async def doubt_stream(connection: Connection, *, executed_at: datetime, now: datetime) -> bool:
    """An execution of that time on our wall clock came another way. Whoever holds a mute stream connects anew.

    Returns:
        Whether there is reason for doubt: it was connected by then, and has brought nothing since.
    """
    return await connection.fetchval(_SQL["doubt_stream"], executed_at, now) is not None


async def stream_lost(connection: Connection, now: datetime) -> None:
    await connection.execute(_SQL["stream_lost"], now)


async def caught_up(
    connection: Connection, *, began: datetime, now: datetime, fill_cursor: datetime | None, orders: bool
) -> None:
    """Note a finished catch-up, with ``orders`` one of all open orders. The cursor never goes back.

    One that began before the stream's connection does not cover the gap before it: noted as of its beginning.
    """
    await connection.execute(_SQL["caught_up"], now, fill_cursor, orders, began)
