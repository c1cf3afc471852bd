"""Asked approvals: rows that one person makes and another ends, once, each change with its audit row."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from schemas.audit import AuditEntry, canonical_json, text_sha256
from schemas.mode import Mode
from schemas.two_persons import AskedApproval, AskedKind, AskedState, Standing
from storage.events import append
from storage.statements import load
from storage.switches import access_entry

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection

_SQL: Final = load("two_persons")

LIST_MAX: Final = 200
CORRELATION: Final = "approvals-asked"
"""Their story in the audit log."""
ENDS: Final = {
    AskedState.CARRIED_OUT: "APPROVAL_CARRIED_OUT",
    AskedState.DECLINED: "APPROVAL_DECLINED",
    AskedState.WITHDRAWN: "APPROVAL_WITHDRAWN",
}
NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class NobodyAsked(Exception):
    """There is no such request."""


async def read_rule(connection: Connection) -> tuple[bool, Mode]:
    """Whether two persons are needed in every mode, and the mode that the broker connection has told of."""
    row = await connection.fetchrow(_SQL["read_rule"])
    assert row is not None, "both tables always have their one row"
    return row["always"], Mode.read(row["mode"])


async def set_rule(connection: Connection, *, always: bool, now: datetime) -> None:
    """Say, with the owner's rights, whether two persons are needed in every mode."""
    if await connection.fetchval(_SQL["set_rule"], always) is not None:
        detail = "raises of limits and live grants need two persons " + (
            "in every mode" if always else "in live mode"
        )
        await append(connection, access_entry("TWO_PERSONS_SET", "Setup", detail, {"always": always}, now))


async def ask(
    connection: Connection,
    kind: AskedKind,
    content: Mapping[str, Any],
    *,
    approval_id: UUID,
    asker: Standing | None,
    asked_name: str,
    reason: str,
    now: datetime,
    valid_until: datetime,
    component: str,
) -> AskedApproval:
    """Ask for an act; the same ``approval_id`` again is the same request.

    ``asker`` is None where nobody is known by an account. That he may ask was judged by ``security.two_persons``.
    """
    text = canonical_json(dict(content))
    fresh = await connection.fetchval(
        _SQL["ask"], approval_id, kind.value, text, text_sha256(text), reason,
        asker.person_id if asker else None, asked_name, now, valid_until,
    )  # fmt: skip
    asked = await read_asked(connection, approval_id)
    if fresh is not None:
        await append(connection, _entry("APPROVAL_ASKED", asked, asked_name, component, now))
    return asked


async def read_asked(connection: Connection, approval_id: UUID) -> AskedApproval:
    """Raises:
    NobodyAsked: no such row.
    """
    return _asked(await connection.fetchrow(_SQL["read_asked"], approval_id))


async def lock_asked(connection: Connection, approval_id: UUID) -> AskedApproval:
    """The same, and nobody else decides it before this transaction has ended.

    Raises:
        NobodyAsked: no such row.
    """
    return _asked(await connection.fetchrow(_SQL["lock_asked"], approval_id))


async def read_standing(connection: Connection, person_id: UUID | None) -> Standing | None:
    """What a person is now; it cannot change before this transaction has ended. None: nobody."""
    if person_id is None:
        return None
    row = await connection.fetchrow(_SQL["standing"], person_id)
    return None if row is None else Standing.model_validate(dict(row))


async def read_standings(
    connection: Connection, first: UUID | None, second: UUID | None
) -> tuple[Standing | None, Standing | None]:
    """Of two people, locked in the order in which all lock people, so that nobody waits for the other in a ring."""
    known = {
        each: await read_standing(connection, each) for each in sorted({first, second} - {None}, key=str)
    }
    return known.get(first), known.get(second)


async def end_asked(
    connection: Connection,
    asked: AskedApproval,
    state: AskedState,
    person: Standing,
    *,
    component: str,
    now: datetime,
    evidence: Mapping[str, Any] = NOTHING,
) -> AskedApproval | None:
    """End a request, once, with the audit row that names both persons; None where it has ended already."""
    row = await connection.fetchrow(
        _SQL["end_asked"], asked.approval_id, state.value, person.person_id, person.name, now
    )
    if row is None:
        return None
    ended = _asked(row)
    await append(connection, _entry(ENDS[state], ended, person.name, component, now, evidence))
    return ended


async def take_up(
    connection: Connection, asked: AskedApproval, person: Standing, *, component: str, now: datetime
) -> AskedApproval | None:
    """Make one's own what was asked for from the command line; None where somebody has."""
    row = await connection.fetchrow(_SQL["take_up"], asked.approval_id, person.person_id, person.name)
    if row is None:
        return None
    taken = _asked(row)
    evidence = {"first_asked_by": asked.asked_name}
    await append(connection, _entry("APPROVAL_TAKEN_UP", taken, person.name, component, now, evidence))
    return taken


async def list_asked(
    connection: Connection, now: datetime, *, everything: bool = False
) -> list[AskedApproval]:
    """What waits for a second person, newest first; with ``everything`` what has ended or expired after it."""
    return [_asked(row) for row in await connection.fetch(_SQL["list_asked"], everything, now, LIST_MAX)]


def _asked(row: asyncpg.Record | None) -> AskedApproval:
    if row is None:
        raise NobodyAsked
    return AskedApproval.model_validate(dict(row))


def _entry(
    decision: str,
    asked: AskedApproval,
    actor: str,
    component: str,
    now: datetime,
    evidence: Mapping[str, Any] = NOTHING,
) -> AuditEntry:
    names = f"asked by {asked.asked_name}"
    if asked.decided_name is not None:
        names += f", {asked.state.value.replace('_', ' ')} by {asked.decided_name}"
    return AuditEntry(
        occurred_at=now,
        correlation_id=CORRELATION,
        component=component,
        actor=actor,
        decision=decision,
        input={
            "detail": f"{asked.kind.value} {asked.approval_id}: {names}: {asked.reason}",
            "approval": asked.model_dump(mode="json"),
            **evidence,
        },
    )
