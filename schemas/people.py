"""Who uses the console: roles, names, and what is known of a person."""

import re
import unicodedata
from datetime import timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from schemas.base import UtcTime, Wire

NAME_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}"
RESERVED_NAMES: Final = frozenset({"owner", "somebody", "system"})
"""Actors in the audit log who are no persons."""
PASSWORD_CHARACTERS_MIN: Final = 12
PASSWORD_CHARACTERS_MAX: Final = 1024
SESSION_IDLE: Final = timedelta(minutes=30)
SESSION_LIFE: Final = timedelta(hours=12)
STEP_UP_FRESH: Final = timedelta(minutes=5)
"""For so long after a second factor was shown it counts for what needs a fresh one."""
STANDING_MIN: Final = timedelta(hours=24)
"""For so long somebody has had account, role and way in, before live mode counts him as one of two persons."""
LINK_VALID_FOR: Final = timedelta(hours=1)


class Role(StrEnum):
    """What a person may do. Each may all that those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    RISK = "risk"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        """Higher may more."""
        return list(Role).index(self)

    def covers(self, needed: "Role") -> bool:
        """Whether this role may what ``needed`` may."""
        return self.rank >= needed.rank


class Factor(StrEnum):
    """How somebody showed that it is they, beside the password."""

    TOTP = "totp"
    PASSKEY = "passkey"
    RECOVERY_CODE = "recovery code"


class PersonRow(Wire):
    """One person, without anything secret."""

    person_id: UUID
    name: str
    role: Role
    created_at: UtcTime
    created_by: str
    disabled_at: UtcTime | None
    standing_since: UtcTime
    """Since when account, role and way in are as they are, whoever else gave them."""
    joined: bool
    """The person has set a password."""
    totp: bool
    """A TOTP secret is enrolled."""
    passkeys: int
    recovery_codes: int
    """Codes not used yet."""
    locked_until: UtcTime | None
    last_seen_at: UtcTime | None

    @property
    def has_factor(self) -> bool:
        """Without one nothing can be done but to enrol one."""
        return self.totp or self.passkeys > 0


class SessionRow(Wire):
    """One session, without its secret."""

    session_id: UUID
    person_id: UUID
    name: str
    began_at: UtcTime
    seen_at: UtcTime
    ends_at: UtcTime
    mfa_at: UtcTime | None
    factor: Factor | None
    address: str
    agent: str


class PasskeyRow(Wire):
    """One passkey, without its public key."""

    credential_id: str
    """Hexadecimal."""
    label: str
    sign_count: int
    created_at: UtcTime
    last_used_at: UtcTime | None


def wrong_name(name: str) -> str | None:
    """Why nobody can be called so; None: it is a good name."""
    if not re.fullmatch(NAME_PATTERN, name):
        return "a name has 1 to 64 letters, digits and . _ @ -, and begins with a letter or digit"
    if name.lower() in RESERVED_NAMES:
        return f"{name} means something else in the audit log"
    return None


def password_text(password: str) -> str:
    """One text for what looks the same on every keyboard."""
    return unicodedata.normalize("NFC", password)


def wrong_password(password: str, name: str) -> str | None:
    """Why it may not be a password; None: it may."""
    text = password_text(password)
    if len(text) < PASSWORD_CHARACTERS_MIN:
        return f"a password has at least {PASSWORD_CHARACTERS_MIN} characters; a sentence is good"
    if len(text) > PASSWORD_CHARACTERS_MAX:
        return f"a password has at most {PASSWORD_CHARACTERS_MAX} characters"
    if len(set(text)) < 5:
        return "that repeats a few characters only"
    if text.lower().replace(name.lower(), "").strip() == "":
        return "a password is not one's name"
    return None
