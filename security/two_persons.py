"""The two-person rule: when it is on, and who may decide what another has asked for. Pure."""

from datetime import datetime, timedelta
from typing import Final

from schemas.mode import Mode
from schemas.people import STANDING_MIN, STEP_UP_FRESH
from schemas.two_persons import AskedApproval, AskedKind, AskedState, Standing

ASK_VALID_FOR: Final = timedelta(minutes=15)
"""For so long another person can decide; then it is asked anew."""


def is_on(*, mode: Mode, always: bool) -> bool:
    """Whether raises of limits and live grants need two persons: always in live mode."""
    return always or mode is Mode.LIVE


def standing_fault(person: Standing, *, mode: Mode, now: datetime) -> str | None:
    """Why this person counts as none of two yet; None: he does. On paper everybody does at once.

    Both are asked: whoever has one Admin's session can make another person, or be let in as one who is there, and
    would then ask as the one and carry out as the other.
    """
    if mode is not Mode.LIVE or now - person.standing_since >= STANDING_MIN:
        return None
    return (
        f"{person.name} has account, role or way in since {person.standing_since:%Y-%m-%d %H:%M} UTC only: in live "
        f"mode one of two persons has had them for {STANDING_MIN / timedelta(hours=1):g} hours"
    )


def ask_fault(kind: AskedKind, asker: Standing, *, mode: Mode, now: datetime) -> str | None:
    """Why this person may not ask for it; None: he may."""
    if not asker.covers(kind.needed):
        return f"{asker.name} has not the role {kind.needed.value} that this needs"
    return standing_fault(asker, mode=mode, now=now)


def withdraw_fault(asked: AskedApproval, person: Standing) -> str | None:
    """Why this person may not take it back; None: he may. Whoever asked may, whatever role he has left."""
    if asked.state is not AskedState.ASKED:
        return _over(asked)
    if asked.asked_by != person.person_id:
        return f"only {asked.asked_name} can take it back; decline it instead"
    return None


def decline_fault(asked: AskedApproval, person: Standing) -> str | None:
    """Why this person may not decline it; None: he may. It needs the role, and no fresh factor: it stops an act."""
    if asked.state is not AskedState.ASKED:
        return _over(asked)
    if asked.asked_by == person.person_id:
        return "nobody decides what he has asked for himself: take it back"
    if not person.covers(asked.kind.needed):
        return f"{person.name} has not the role {asked.kind.needed.value} that this needs"
    return None


def decision_fault(
    asked: AskedApproval,
    *,
    asker: Standing | None,
    decider: Standing,
    mfa_at: datetime | None,
    content_hash: str,
    mode: Mode,
    now: datetime,
) -> str | None:
    """Why ``decider`` may not carry it out; None: he may.

    Args:
        asked: the row, locked.
        asker: who asked, as he stands at this moment; None: nobody with an account, or he is gone.
        decider: likewise.
        mfa_at: when the decider last showed a second factor in the session that decides.
        content_hash: of what the decider was shown.
        mode: of the installation.
        now: our own wall clock.
    """
    fault = decline_fault(asked, decider)
    if fault is not None:
        return fault
    if now >= asked.expires_at:
        return f"it could be decided until {asked.expires_at:%H:%M:%S} UTC: ask anew"
    if not asked.is_whole or content_hash != asked.content_hash:
        return "this is not what was shown: look at it again"
    if asked.asked_by is None:
        return "it was asked for from the command line: one person takes it up, and another carries it out"
    if asker is None or asker.person_id != asked.asked_by or not asker.covers(asked.kind.needed):
        return f"{asked.asked_name} has not the role {asked.kind.needed.value} any more"
    if mfa_at is None or not timedelta(0) <= now - mfa_at <= STEP_UP_FRESH:
        return "a second factor must be shown first"
    return standing_fault(asker, mode=mode, now=now) or standing_fault(decider, mode=mode, now=now)


def take_up_fault(asked: AskedApproval, person: Standing, *, mode: Mode, now: datetime) -> str | None:
    """Why this person may not make his own what was asked for from the command line; None: he may."""
    if asked.state is not AskedState.ASKED:
        return _over(asked)
    if now >= asked.expires_at:
        return f"it could be decided until {asked.expires_at:%H:%M:%S} UTC: ask anew"
    if asked.asked_by is not None:
        return f"{asked.asked_name} has asked for it"
    return ask_fault(asked.kind, person, mode=mode, now=now)


def _over(asked: AskedApproval) -> str:
    state = asked.state.value.replace("_", " ")
    return f"it was {state} already, by {asked.decided_name}"
