"""Limits as acts of a person: changed under the account's lock, or where two persons are needed asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from console.acts.people import COMPONENT, Actor
from console.acts.repeats import require_same_ask
from console.errors import DependencyDown, Refused
from risk.limit_changes import LimitsDecision, decision
from schemas.limits import MODELS, LimitChange, LimitsRow, NewDocument, owner
from schemas.mode import Mode
from schemas.people import Role
from schemas.risk import LimitScope
from schemas.two_persons import AskedApproval, AskedKind, Standing
from security.two_persons import ASK_VALID_FOR, ask_fault, is_on
from storage import limits as rows
from storage import two_persons
from storage.commits import committing

if TYPE_CHECKING:
    from storage.database import Connection

SHOW = "see `trading limits show`"


@dataclass(frozen=True)
class Wanted:
    """Whose limits."""

    scope: LimitScope
    name: str = ""

    @property
    def owner(self) -> str:
        """``account``, ``strategy momentum``, ``ticker TSLA``."""
        return owner(self.scope, self.name)


class LimitsMoved(Refused):
    """Somebody else has changed these limits since they were shown, or a raise of them has ended."""


@dataclass(frozen=True)
class Shown:
    """The versions on which a form with every field rests. None: nothing was set."""

    in_force: int | None
    lasting: int | None

    @classmethod
    def of(cls, standing: rows.Standing) -> Shown:
        """What stands now."""
        return cls(_version(standing.in_force), _version(standing.lasting))


def _version(row: LimitsRow | None) -> int | None:
    return None if row is None else row.version


@dataclass(frozen=True)
class Changed:
    """What a change came to."""

    version: int | None
    """None: nothing was to be changed, so nothing was stored, or it was asked for."""
    lasting_version: int | None
    """What is in force again after a raise."""
    decision: LimitsDecision
    changes: tuple[LimitChange, ...]
    asked: AskedApproval | None = None
    """What a second person must carry out: nothing was changed yet."""


@dataclass(frozen=True)
class Change:
    """One wish."""

    whose: Wanted
    edit: Callable[[dict[str, Any]], NewDocument]
    """What it makes of the row that lasts."""
    reason: str
    author: str
    expires_at: datetime | None = None
    approval_id: UUID | None = None
    """Of the request where a second person is needed: the same again is the same request. None: a new one."""
    shown: Shown | None = None
    """What the person was shown, where fields that he left alone are sent too; None: each edit was meant."""


async def change_limits(connection: Connection, change: Change, actor: Actor) -> Changed:
    """Store a change that no decision runs through; a raise only with a fresh factor, and with two persons ask.

    Raises:
        LimitsMoved: other limits stand by now than this person was shown.
        Refused: these limits may not be stored, or not by this person.
        StepUpNeeded: it is a raise, and no second factor was shown just now.
        DependencyDown: the lock was not to be had.
        BadUsage: of ``edit``.
    """
    actor.require(Role.RISK, "a change of limits")
    async with committing(connection, "console.limits"):
        await lock(connection)
        now = actor.now()
        whose = change.whose
        standing = await rows.read_standing(connection, whose.scope, whose.name, now)
        document = change.edit(await rows.read_document(connection, whose.scope, whose.name))
        found = decision(standing.in_force, standing.lasting, document)
        lasts = None if standing.lasting is None else standing.lasting.version
        changes = standing.changes(document)
        if not changes and change.expires_at is None and standing.in_force == standing.lasting:
            return Changed(None, lasts, found, changes)
        if change.shown not in (None, Shown.of(standing)):
            raise LimitsMoved(
                "these limits have changed since they were shown", do="look again: nothing was changed"
            )
        if found is LimitsDecision.RAISED:
            actor.require_fresh()
            always, mode = await two_persons.read_rule(connection)
            if is_on(mode=mode, always=always):
                asked = await _ask(connection, change, standing, document, actor, mode, now)
                return Changed(None, lasts, found, changes, asked)
        try:
            version = await rows.save_limits(
                connection, document, author=change.author, reason=change.reason, now=now, name=whose.name,
                expires_at=change.expires_at, actor=actor.name, component=COMPONENT,
            )  # fmt: skip
        except rows.LimitsRefused as error:
            raise Refused(str(error), do=f"nothing was changed; {SHOW}") from error
    return Changed(version, lasts, found, changes)


async def lock(connection: Connection) -> None:
    """Raises:
    DependencyDown: the account's lock was not to be had.
    """
    try:
        await rows.lock_limits(connection)
    except TimeoutError as error:
        raise DependencyDown(
            "decisions held the account's lock all the while: nothing was changed",
            do="run it again; `trading kill` waits for no lock",
        ) from error


async def _ask(
    connection: Connection,
    change: Change,
    standing: rows.Standing,
    document: NewDocument,
    actor: Actor,
    mode: Mode,
    now: datetime,
) -> AskedApproval:
    fault = rows.limits_fault(standing, document, expires_at=change.expires_at, now=now)
    asker = await two_persons.read_standing(connection, actor.person_id)
    if fault is None and asker is not None:
        fault = ask_fault(AskedKind.LIMIT_RAISE, asker, mode=mode, now=now)
    if fault is not None:
        raise Refused(fault, do=f"nothing was changed; {SHOW}")
    content = raise_content(change, standing, document)
    asked = await two_persons.ask(
        connection,
        AskedKind.LIMIT_RAISE,
        content,
        approval_id=change.approval_id or uuid4(),
        asker=asker,
        asked_name=actor.name,
        reason=change.reason,
        now=now,
        valid_until=now + ASK_VALID_FOR,
        component=COMPONENT,
    )
    require_same_ask(
        asked, AskedKind.LIMIT_RAISE, content, person_id=actor.person_id, reason=change.reason, now=now
    )
    return asked


def raise_content(change: Change, standing: rows.Standing, document: NewDocument) -> dict[str, Any]:
    """Exactly what is asked: whose limits, every field of the new row, its end, and on which rows it rests."""
    return {
        "scope": standing.scope.value,
        "name": standing.name,
        "document": document.model_dump(mode="json", exclude_none=True),
        "author": change.author,
        "expires_at": None if change.expires_at is None else change.expires_at.isoformat(),
        "replaces": None if standing.in_force is None else standing.in_force.version,
        "lasting": None if standing.lasting is None else standing.lasting.version,
        "changes": [each.model_dump(mode="json") for each in standing.changes(document)],
    }


async def carry_out_raise(
    connection: Connection, asked: AskedApproval, content: Mapping[str, Any], decider: Standing, now: datetime
) -> dict[str, Any]:
    """Store what was asked, in the transaction of the decision, which holds the account's lock.

    Returns:
        What the audit row of the decision tells of it.

    Raises:
        Refused: the limits that it rests on are not in force any more, or it may not be stored now.
    """
    scope = LimitScope(content["scope"])
    standing = await rows.read_standing(connection, scope, content["name"], now)
    if Shown.of(standing) != Shown(content["replaces"], content["lasting"]):
        raise Refused("the limits have changed since it was asked for", do="look at them, and ask anew")
    ends = content["expires_at"]
    try:
        version = await rows.save_limits(
            connection,
            MODELS[scope].model_validate(content["document"]),
            author=content["author"],
            reason=asked.reason,
            now=now,
            name=content["name"],
            expires_at=None if ends is None else datetime.fromisoformat(ends),
            actor=decider.name,
            component=COMPONENT,
            evidence={
                "approval_id": str(asked.approval_id),
                "asked_by": asked.asked_name,
                "decided_by": decider.name,
            },
        )
    except rows.LimitsRefused as error:
        raise Refused(str(error), do=f"nothing was changed; {SHOW}") from error
    return {"limits_version": version}
