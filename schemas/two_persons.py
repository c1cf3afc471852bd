"""Acts that one person asks for and another carries out."""

import hashlib
from enum import StrEnum
from uuid import UUID

from schemas.base import UtcTime, Wire
from schemas.people import Role


class AskedKind(StrEnum):
    """What may be asked for."""

    LIMIT_RAISE = "limit_raise"
    LIVE_GRANT = "live_grant"

    @property
    def needed(self) -> Role:
        """The role that both persons have."""
        return Role.ADMIN if self is AskedKind.LIVE_GRANT else Role.RISK


class AskedState(StrEnum):
    """How an asked act stands. All but the first are ends."""

    ASKED = "asked"
    CARRIED_OUT = "carried_out"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"


class AskedApproval(Wire):
    """One act that waits for a second person, or has ended."""

    approval_id: UUID
    kind: AskedKind
    content: str
    """Exactly what is asked, as canonical JSON: the very text that is hashed."""
    content_hash: str
    """sha256 of ``content``, in hexadecimal: what the second person has seen names it."""
    reason: str
    asked_by: UUID | None
    """None: asked for from the command line, where nobody is known by an account."""
    asked_name: str
    asked_at: UtcTime
    expires_at: UtcTime
    """It can be decided before this instant."""
    state: AskedState = AskedState.ASKED
    decided_by: UUID | None = None
    decided_name: str | None = None
    decided_at: UtcTime | None = None

    @property
    def is_whole(self) -> bool:
        """The content is the one that was hashed."""
        return hashlib.sha256(self.content.encode()).hexdigest() == self.content_hash


class Standing(Wire):
    """What a person is at this moment, as the database says."""

    person_id: UUID
    name: str
    role: Role
    disabled: bool
    standing_since: UtcTime
    """Since when account, role and way in are as they are, by the database's clock."""

    def covers(self, needed: Role) -> bool:
        """Whether this person may now what ``needed`` may."""
        return not self.disabled and self.role.covers(needed)
