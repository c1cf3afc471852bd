"""Sessions of the console, what passkeys are asked to sign, and how often somebody tried to sign in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

from schemas.mode import Mode
from schemas.people import SESSION_IDLE, SESSION_LIFE, Factor, Role, SessionRow
from storage.people import secret_hash
from storage.statements import load

if TYPE_CHECKING:
    from storage.database import Connection

_SQL: Final = load("sessions")

TRIES_MAX: Final = 10
"""So many wrong tries lock."""
FREE_TRIES: Final = 2
"""After so many, each further one must wait: 1 s, 2 s, 4 s …"""
DELAY_MAX_SECONDS: Final = 60
LOCK_FIRST: Final = timedelta(minutes=15)
LOCK_MAX: Final = timedelta(hours=24)
"""A lock lasts twice as long as the one before, at most so long."""
TRIES_KEPT: Final = timedelta(days=30)
"""A success forgets them, and so does this much quiet."""
CHALLENGE_VALID_FOR: Final = timedelta(minutes=5)
SESSIONS_LISTED_MAX: Final = 200
SESSIONS_PER_PERSON_MAX: Final = 30
"""Of those with a second factor, and of those without."""
SURPLUS: Final = "too many others of the same person"
"""Who has ended what is above it."""


@dataclass(frozen=True)
class Session:
    """Who is behind a cookie, as of now."""

    session_id: UUID
    person_id: UUID
    name: str
    role: Role
    mfa_at: datetime | None
    """When the last second factor was shown; None: only the password was."""
    seen_at: datetime
    has_factor: bool
    has_passkey: bool
    has_totp: bool


@dataclass(frozen=True)
class Tried:
    """What a try came to, before anything was compared."""

    tries: int
    allowed: bool
    """False: locked, or too soon after the last one. Nothing may be compared."""
    locked_until: datetime | None


@dataclass(frozen=True)
class Standing:
    """What stands on every page."""

    mode: Mode
    account: str | None
    halted: bool
    halt_scope: str
    halt_reason: str | None
    halted_by: str | None
    halted_at: datetime | None


def of_person(person_id: UUID) -> str:
    """The subject under which a person's tries are counted."""
    return f"person {person_id}"


def of_session(session_id: UUID) -> str:
    """The subject under which tries to show a factor once more are counted: no stranger's tries are among them."""
    return f"session {session_id}"


def of_address(address: str) -> str:
    """The subject of tries with names that nobody has."""
    return f"address {address}"


async def begin_session(
    connection: Connection, secret: str, person_id: UUID, *, address: str, agent: str, now: datetime
) -> UUID:
    """A session whose second factor is still missing."""
    session_id = uuid4()
    await connection.execute(
        _SQL["insert_session"],
        session_id,
        secret_hash(secret),
        person_id,
        now,
        now + SESSION_LIFE,
        address,
        agent,
    )
    await _end_surplus(connection, person_id, session_id, now, with_factor=False)
    return session_id


async def _end_surplus(
    connection: Connection, person_id: UUID, newest: UUID, now: datetime, *, with_factor: bool
) -> None:
    await connection.execute(
        _SQL["end_surplus"], person_id, now, SURPLUS, with_factor, SESSIONS_PER_PERSON_MAX, newest
    )


async def read_session(connection: Connection, secret: str, now: datetime) -> Session | None:
    """None: unknown, ended, idle for too long, or its person is disabled."""
    row = await connection.fetchrow(_SQL["read_session"], secret_hash(secret), now, now - SESSION_IDLE)
    return None if row is None else Session(**{**dict(row), "role": Role(row["role"])})


async def role_of_session(connection: Connection, session_id: UUID, now: datetime) -> Role | None:
    """What its person may do now; None: it has ended, was idle for too long, or its person may not come in."""
    role = await connection.fetchval(_SQL["role_of_session"], session_id, now, now - SESSION_IDLE)
    return None if role is None else Role(role)


async def is_going_on(connection: Connection, session_id: UUID, now: datetime) -> bool:
    """Whether nobody has ended it. It says so for the whole transaction where the person is held: `people.hold`."""
    return bool(await connection.fetchval(_SQL["is_going_on"], session_id, now))


async def touch_session(connection: Connection, session_id: UUID, now: datetime) -> None:
    """It was used."""
    await connection.execute(_SQL["touch_session"], session_id, now)


async def rotate_session(
    connection: Connection, session_id: UUID, secret: str, factor: Factor, now: datetime
) -> bool:
    """A second factor was shown: the session goes on under another secret. False: it has ended meanwhile."""
    person_id = await connection.fetchval(
        _SQL["rotate_session"], session_id, secret_hash(secret), now, factor.value
    )
    if person_id is not None:
        await _end_surplus(connection, person_id, session_id, now, with_factor=True)
    return person_id is not None


async def end_session(
    connection: Connection, session_id: UUID, *, of: UUID | None, by: str, now: datetime
) -> UUID | None:
    """End one session; ``of``: only if it is this person's. Whose it was; None: there is none such."""
    person_id: UUID | None = await connection.fetchval(_SQL["end_session"], session_id, of, now, by)
    return person_id


async def end_sessions_of(
    connection: Connection, person_id: UUID, *, by: str, now: datetime, but: UUID | None = None
) -> None:
    """End all of a person's sessions ``but`` one."""
    await connection.execute(_SQL["end_sessions_of"], person_id, now, by, but)


async def list_sessions(
    connection: Connection, now: datetime, person_id: UUID | None = None
) -> list[SessionRow]:
    """The sessions that are good now, last used first; of everybody, or of one person."""
    rows = await connection.fetch(
        _SQL["list_sessions"], now, now - SESSION_IDLE, person_id, SESSIONS_LISTED_MAX
    )
    return [SessionRow.model_validate(dict(row)) for row in rows]


async def keep_challenge(
    connection: Connection, session_id: UUID, purpose: str, challenge: bytes, now: datetime
) -> None:
    """What this session's next passkey answer must have signed."""
    await connection.execute(
        _SQL["keep_challenge"], session_id, purpose, challenge, now + CHALLENGE_VALID_FOR
    )


async def take_challenge(
    connection: Connection, session_id: UUID, purpose: str, now: datetime
) -> bytes | None:
    """The challenge, which is gone with it whatever comes of the answer; None: none, or it is too old."""
    row = await connection.fetchrow(_SQL["take_challenge"], session_id, purpose)
    if row is None or row["expires_at"] <= now:
        return None
    challenge: bytes = row["challenge"]
    return challenge


async def spend_try(connection: Connection, subject: str, now: datetime) -> Tried:
    """Count a try before it is looked at."""
    row = await connection.fetchrow(
        _SQL["spend_try"], subject, now, TRIES_MAX, FREE_TRIES, DELAY_MAX_SECONDS, LOCK_FIRST, LOCK_MAX
    )
    assert row is not None, "it inserts or updates"
    return Tried(row["tries"], row["allowed"], row["locked_until"])


async def give_try_back(connection: Connection, subject: str, now: datetime) -> None:
    """It was right as far as it goes: the password before the second factor."""
    await connection.execute(_SQL["give_try_back"], subject, now, TRIES_MAX)


async def forget_tries(connection: Connection, subject: str) -> bool:
    """Begin to count anew. False: there was nothing to forget."""
    return await connection.fetchval(_SQL["forget_tries"], subject) is not None


async def forget_old_tries(connection: Connection, now: datetime) -> None:
    await connection.execute(_SQL["forget_old_tries"], now - TRIES_KEPT)


async def read_standing(connection: Connection) -> Standing:
    row = await connection.fetchrow(_SQL["read_standing"])
    assert row is not None, "both tables always have their one row"
    return Standing(
        mode=Mode.read(row["mode"]),
        account=row["account"],
        halted=row["engaged"],
        halt_scope=row["scope"],
        halt_reason=row["reason"],
        halted_by=row["triggered_by"],
        halted_at=row["changed_at"],
    )
