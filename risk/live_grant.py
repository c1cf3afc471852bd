"""How the newest grant of live trading stands, for people; execution asks what it says for each order itself."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

ENDING_WITHIN: Final = timedelta(minutes=30)
"""Two Admins need some minutes to give the next one."""
TOLD_FOR: Final = timedelta(hours=24)
"""For so long after its end somebody may wonder why nothing leaves; a grant is no longer than that itself."""


class GrantState(StrEnum):
    """What a person must know of it."""

    NONE = "none"
    IN_FORCE = "in force"
    ENDING = "ending"
    ENDED = "ended"
    REVOKED = "revoked"


def grant_state(expires_at: datetime | None, revoked_at: datetime | None, now: datetime) -> GrantState:
    """Of the newest grant; ``expires_at`` None: there was never one."""
    if expires_at is None:
        return GrantState.NONE
    if revoked_at is not None:
        return GrantState.REVOKED
    if now > expires_at:
        return GrantState.ENDED
    return GrantState.ENDING if expires_at - now <= ENDING_WITHIN else GrantState.IN_FORCE


def grant_line(state: GrantState, expires_at: datetime | None, now: datetime) -> str:
    """One line of it."""
    if expires_at is None or state is GrantState.NONE:
        return "none was ever given: no entry leaves"
    until = f"{expires_at:%Y-%m-%d %H:%M} UTC"
    match state:
        case GrantState.REVOKED:
            return "taken back: no entry leaves"
        case GrantState.ENDED:
            return f"ended at {until}: no entry leaves"
        case GrantState.ENDING:
            return f"ENDS IN {-(-(expires_at - now).total_seconds() // 60):.0f} MIN, at {until}"
        case _:
            return f"in force until {until}"
