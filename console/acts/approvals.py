"""The two-person rule as acts: carry out, decline, take back, take up."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from console.acts import limits
from console.acts.people import COMPONENT, Actor
from console.errors import Refused
from schemas.two_persons import AskedApproval, AskedKind, AskedState, Standing
from security.two_persons import decision_fault, decline_fault, take_up_fault, withdraw_fault
from storage import two_persons as rows
from storage.commits import committing
from storage.events import append
from storage.switches import access_entry

if TYPE_CHECKING:
    from storage.database import Connection

LOOK: Final = "look at what waits for a second person"

Performer = Callable[
    ["Connection", AskedApproval, Mapping[str, Any], Standing, datetime], Awaitable[dict[str, Any]]
]
"""Does what was asked, in the transaction of the decision; answers what the audit row tells of it."""


PERFORMERS: Final[Mapping[AskedKind, Performer]] = MappingProxyType(
    {AskedKind.LIMIT_RAISE: limits.carry_out_raise}
)


async def carry_out(
    connection: Connection,
    approval_id: UUID,
    actor: Actor,
    *,
    content_hash: str,
    performers: Mapping[AskedKind, Performer] = PERFORMERS,
) -> AskedApproval:
    """Do what another person has asked for: his wish, this person's decision and the act are one transaction.

    ``content_hash`` is of what this person was shown. Of two who decide at once one wins.

    Raises:
        Refused: he may not, or it cannot be done; a try that he may not make is audited.
        StepUpNeeded: no second factor was shown just now.
    """
    actor.require_fresh()
    async with committing(connection, "console.approval_decided"):
        # The order of locks everywhere: the account's, then the row.
        await limits.lock(connection)
        asked = await _locked(connection, approval_id)
        decider, asker = await rows.read_standings(connection, actor.person_id, asked.asked_by)
        if decider is None:
            raise _no_account()
        _, mode = await rows.read_rule(connection)
        now = actor.now()
        ended: AskedApproval | None = None
        fault = decision_fault(
            asked, asker=asker, decider=decider, mfa_at=actor.mfa_at, content_hash=content_hash, mode=mode,
            now=now,
        )  # fmt: skip
        if fault is not None:
            await _tell_refused(connection, asked, decider, fault, now)
        else:
            performer = performers.get(asked.kind)
            if performer is None:
                raise Refused(f"nothing here carries out {asked.kind.value}", do=LOOK)
            told = await performer(connection, asked, json.loads(asked.content), decider, now)
            ended = await rows.end_asked(
                connection, asked, AskedState.CARRIED_OUT, decider, component=COMPONENT, now=now,
                evidence=told,
            )  # fmt: skip
            assert ended is not None, "the row is locked by this transaction"
    if ended is None:
        raise Refused(f"not carried out: {fault}", do=LOOK)
    return ended


async def decline(connection: Connection, approval_id: UUID, actor: Actor) -> AskedApproval:
    """Say no to what another person has asked for.

    Raises:
        Refused: he may not.
    """
    return await _end(connection, approval_id, actor, AskedState.DECLINED, decline_fault)


async def withdraw(connection: Connection, approval_id: UUID, actor: Actor) -> AskedApproval:
    """Take back what one has asked for.

    Raises:
        Refused: he may not.
    """
    return await _end(connection, approval_id, actor, AskedState.WITHDRAWN, withdraw_fault)


async def _end(
    connection: Connection,
    approval_id: UUID,
    actor: Actor,
    state: AskedState,
    judge: Callable[[AskedApproval, Standing], str | None],
) -> AskedApproval:
    async with committing(connection, "console.approval_ended"):
        asked = await _locked(connection, approval_id)
        person, now = await _person(connection, actor), actor.now()
        fault, ended = judge(asked, person), None
        if fault is None:
            ended = await rows.end_asked(connection, asked, state, person, component=COMPONENT, now=now)
            assert ended is not None, "the row is locked by this transaction"
        else:
            await _tell_refused(connection, asked, person, fault, now)
    if ended is None:
        raise Refused(str(fault), do=LOOK)
    return ended


async def take_up(connection: Connection, approval_id: UUID, actor: Actor) -> AskedApproval:
    """Make one's own what was asked for from the command line: another person can carry it out then.

    Raises:
        Refused: he may not.
        StepUpNeeded: no second factor was shown just now.
    """
    actor.require_fresh()
    async with committing(connection, "console.approval_taken_up"):
        asked = await _locked(connection, approval_id)
        person, now = await _person(connection, actor), actor.now()
        _, mode = await rows.read_rule(connection)
        fault = take_up_fault(asked, person, mode=mode, now=now)
        taken = None
        if fault is None:
            taken = await rows.take_up(connection, asked, person, component=COMPONENT, now=now)
            assert taken is not None, "the row is locked by this transaction"
        else:
            await _tell_refused(connection, asked, person, fault, now)
    if taken is None:
        raise Refused(str(fault), do=LOOK)
    return taken


async def _locked(connection: Connection, approval_id: UUID) -> AskedApproval:
    try:
        return await rows.lock_asked(connection, approval_id)
    except rows.NobodyAsked as error:
        raise Refused("nobody has asked for this", do=LOOK) from error


async def _person(connection: Connection, actor: Actor) -> Standing:
    """As the database knows him now, whatever his session says."""
    person = await rows.read_standing(connection, actor.person_id)
    if person is None:
        raise _no_account()
    return person


def _no_account() -> Refused:
    return Refused("only a person with an account does this", do="sign in to the console")


async def _tell_refused(
    connection: Connection, asked: AskedApproval, person: Standing, fault: str, now: datetime
) -> None:
    """A try that may not be made is a fact too."""
    detail = f"{asked.kind.value} {asked.approval_id}, asked by {asked.asked_name}: {fault}"
    told = access_entry(
        "APPROVAL_REFUSED", COMPONENT, detail, {"approval_id": str(asked.approval_id)}, now, actor=person.name
    )
    await append(connection, told)
