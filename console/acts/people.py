"""Who acts: a person of the console, known by an account, or whoever sits at a terminal."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from console.errors import BadUsage, Refused
from schemas.base import storable
from schemas.people import STEP_UP_FRESH, Role

COMPONENT: Final = "Console"
"""Of every audit row of a person's act."""
REASON_MAX_CHARACTERS: Final = 500


def utc_now() -> datetime:
    """Our wall clock."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Actor:
    """Who does something, as the audit log names him."""

    name: str
    person_id: UUID | None = None
    """The account; None: a terminal, which is trusted as its user is."""
    role: Role | None = None
    mfa_at: datetime | None = None
    """When a second factor was last shown in this session."""
    now: Callable[[], datetime] = utc_now
    """Our wall clock."""

    def covers(self, needed: Role) -> bool:
        """Whether he may what that role may. A terminal may all that its database role may."""
        return self.person_id is None or (self.role is not None and self.role.covers(needed))

    def require(self, needed: Role, what: str) -> None:
        """Raises:
        Refused: he has not this role.
        """
        if not self.covers(needed):
            raise Refused(f"{what} needs the role {needed.value}", do="ask somebody who has it")

    def require_fresh(self) -> None:
        """A terminal shows no second factor: whoever may use it is known by the machine.

        Raises:
            StepUpNeeded: none was shown in the last minutes.
        """
        if self.person_id is None:
            return
        if self.mfa_at is None or not timedelta(0) <= self.now() - self.mfa_at <= STEP_UP_FRESH:
            raise StepUpNeeded("this needs a second factor, shown now", do="show it and send it again")


class StepUpNeeded(Refused):
    """Nothing was done: a fresh second factor must be shown first."""

    code = "STEP_UP_REQUIRED"


def why(reason: str, what: str = "this is done for a reason") -> str:
    """A reason that can be stored.

    Raises:
        BadUsage: there is none.
    """
    text = storable(reason).strip()[:REASON_MAX_CHARACTERS]
    if not text:
        raise BadUsage(what, do="say why")
    return text
