"""Live trading as acts of a person: granted by two Admins, taken back by any one who may stop things."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from console.acts.people import COMPONENT, Actor
from console.acts.repeats import require_same_ask
from console.errors import BadUsage, Refused
from schemas.live import GrantPerson
from schemas.mode import Mode
from schemas.people import Role
from schemas.two_persons import AskedKind
from security.live import GRANT_VALID_MAX, LiveGrantRefused, grant_live
from security.two_persons import ASK_VALID_FOR, ask_fault
from storage import live as rows
from storage import two_persons
from storage.commits import committing
from storage.two_persons import read_standing

if TYPE_CHECKING:
    from schemas.two_persons import AskedApproval, Standing
    from security.grants import GrantKey
    from storage.database import Connection

LOOK: Final = "see `trading live`"


def grant_content(stored: rows.StoredConfiguration, actor: Actor, *, valid_for: timedelta) -> dict[str, Any]:
    """What the first Admin asks for, as the second is shown it: for this configuration, from now on for so long.

    Raises:
        Refused: he may not ask.
        StepUpNeeded: no second factor was shown just now.
    """
    actor.require(Role.ADMIN, "to ask for live trading")
    actor.require_fresh()
    if actor.person_id is None or actor.mfa_at is None:
        raise Refused("only a person with an account asks for live trading", do="sign in to the console")
    return {
        "configuration": stored.configuration.model_dump(mode="json"),
        "configuration_hash": stored.configuration.hash,
        "valid_for_seconds": int(valid_for.total_seconds()),
        "asked_mfa_at": actor.mfa_at.isoformat(),
    }


async def ask(
    connection: Connection,
    actor: Actor,
    *,
    approval_id: UUID,
    configuration_hash: str,
    valid_for: timedelta,
    reason: str,
) -> AskedApproval:
    """Ask another Admin for a grant; the same ``approval_id`` again is the same wish.

    ``configuration_hash`` is of what this person was shown.

    Raises:
        Refused: he may not, this installation is on paper, or execution runs with something else by now.
        StepUpNeeded: no second factor was shown just now.
        BadUsage: for longer than a grant may be.
    """
    if not timedelta(0) < valid_for <= GRANT_VALID_MAX:
        raise BadUsage(
            f"a grant is valid for {GRANT_VALID_MAX / timedelta(hours=1):g} hours at most", do="8h"
        )
    async with committing(connection, "console.live_asked"):
        stored, now = await rows.read_configuration(connection), actor.now()
        if stored is None or stored.mode is not Mode.LIVE:
            raise Refused("this installation is on paper: there is nothing to grant", do=LOOK)
        if stored.configuration.hash != configuration_hash:
            raise Refused("execution runs with another configuration by now", do=f"look at it; {LOOK}")
        content = grant_content(stored, actor, valid_for=valid_for)
        asker = await read_standing(connection, actor.person_id)
        if asker is None:
            raise Refused("nobody knows this person", do=LOOK)
        fault = ask_fault(AskedKind.LIVE_GRANT, asker, mode=stored.mode, now=now)
        if fault is not None:
            raise Refused(fault, do=LOOK)
        asked = await two_persons.ask(
            connection, AskedKind.LIVE_GRANT, content, approval_id=approval_id, asker=asker,
            asked_name=actor.name, reason=reason, now=now, valid_until=now + ASK_VALID_FOR,
            component=COMPONENT,
        )  # fmt: skip
        require_same_ask(
            asked, AskedKind.LIVE_GRANT, content, person_id=actor.person_id, reason=reason, now=now
        )
        return asked


class Granting:
    """Carries out an asked live grant in the transaction of the second decision: `console.acts.approvals`."""

    def __init__(self, key: GrantKey, actor: Actor) -> None:
        """``actor``: the second Admin."""
        self._key = key
        self._actor = actor

    async def __call__(
        self,
        connection: Connection,
        asked: AskedApproval,
        content: Mapping[str, Any],
        decider: Standing,
        now: datetime,
    ) -> dict[str, Any]:
        """Sign and store the grant.

        Raises:
            Refused: execution runs with something else by now, or one of the two may not.
        """
        stored = await rows.read_configuration(connection)
        if stored is None or stored.configuration.hash != content["configuration_hash"]:
            raise Refused("execution runs with another configuration by now", do=f"ask anew; {LOOK}")
        asker = await _asker(connection, asked)
        try:
            signed = grant_live(
                self._key,
                stored.configuration,
                asked=_said(asker, asked.asked_at, datetime.fromisoformat(content["asked_mfa_at"])),
                agreed=_said(decider, now, self._actor.mfa_at),
                reason=asked.reason,
                valid_for=timedelta(seconds=int(content["valid_for_seconds"])),
                now=now,
            )
        except LiveGrantRefused as error:
            raise Refused(f"not granted: {error}", do=LOOK) from error
        await rows.save_grant(connection, signed, component=COMPONENT, now=now)
        return {"grant_id": str(signed.grant_id), "key_id": signed.key_id}


async def _asker(connection: Connection, asked: AskedApproval) -> Standing:
    """The first Admin as the database knows him now."""
    person = await read_standing(connection, asked.asked_by)
    if person is None:
        raise Refused("only a person with an account asks for live trading", do=LOOK)
    return person


def _said(person: Standing, at: datetime, mfa_at: datetime | None) -> GrantPerson:
    person_id: UUID = person.person_id
    # A person who showed nothing has shown it never.
    shown = datetime.fromtimestamp(0, at.tzinfo) if mfa_at is None else mfa_at
    return GrantPerson(
        person_id=person_id, name=person.name, role=person.role.value, mfa_at=shown, said_at=at,
        standing_since=person.standing_since,
    )  # fmt: skip


async def revoke(connection: Connection, actor: Actor, *, reason: str) -> tuple[UUID, ...]:
    """Take back every grant of live trading: the next order is refused.

    Raises:
        Refused: he may not, or none is in force.
    """
    actor.require(Role.OPERATOR, "to take live trading back")
    async with committing(connection, "console.live_revoked"):
        revoked = await rows.revoke_grants(
            connection, by=actor.name, reason=reason, component=COMPONENT, now=actor.now()
        )
    if not revoked:
        raise Refused("no grant of live trading is in force", do=LOOK)
    return revoked
