"""Signing in: a password, then a second factor; and what a session is given for it.

Whatever is wrong, whoever tries is told the same. A try is counted before anything is compared, in one statement:
guesses made at the same time each spend one. A lock compares nothing, whatever was typed.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from console.web.deps import ConsoleDeps
from console.web.problems import Code, WebError
from observability.logging import get_logger
from schemas.people import Factor, wrong_name
from security import one_time, totp
from security.passkeys import PasskeyRefused, credential_id_of
from security.passwords import TooManyAtOnce
from security.sealing import SealError
from storage import people, sessions
from storage.events import append
from storage.people import SOMEBODY, person_entry
from storage.sessions import Session

if TYPE_CHECKING:
    from uuid import UUID

    from storage.database import Connection

NOT_LET_IN: Final = (
    "That did not let you in: a wrong name, password or code, or too many tries. Wait a little."
)
BUSY: Final = "too many people are signing in at this moment: try again"
AGENT_CHARACTERS_MAX: Final = 200
PASSWORD_TYPED_MAX: Final = 4096

_log: Final = get_logger(__name__)


@dataclass(frozen=True)
class Visitor:
    """From where somebody tries."""

    address: str
    agent: str


def not_let_in() -> WebError:
    """401, always in the same words."""
    return WebError(401, Code.NOT_LET_IN, NOT_LET_IN)


async def with_password(deps: ConsoleDeps, name: str, password: str, visitor: Visitor) -> str:
    """The secret of a session whose second factor is still missing.

    Raises:
        WebError: 401, whatever was wrong; 503, too many at once.
    """
    now = deps.now()
    async with deps.database.transaction("people.try_counted") as connection:
        person_id = None if wrong_name(name) else await people.find_person(connection, name)
        subject = sessions.of_address(visitor.address)
        known = None
        if person_id is not None:
            subject = sessions.of_person(person_id)
            known = await people.read_secrets(connection, person_id)
        tried = await sessions.spend_try(connection, subject, now)
        await sessions.forget_old_tries(connection, now)
    try:
        # At the same cost for names that nobody has, and while locked.
        is_right = await deps.passwords.check(
            known.password_hash if known else None, password[:PASSWORD_TYPED_MAX]
        )
    except TooManyAtOnce:
        raise WebError(503, Code.BUSY, BUSY) from None
    if known is None or not is_right or not tried.allowed or known.disabled_at is not None:
        await _refused_at_password(deps, known, tried, visitor, now)
        raise not_let_in()
    secret = await _begin(deps, known, password, subject, visitor, now)
    if secret is None:
        await _refused_at_password(deps, known, tried, visitor, now)
        raise not_let_in()
    return secret


async def _refused_at_password(
    deps: ConsoleDeps, known: people.Secrets | None, tried: sessions.Tried, visitor: Visitor, now: datetime
) -> None:
    async with deps.database.transaction("people.password_refused") as connection:
        await _tell_failure(connection, known.name if known else None, "password", tried, visitor, now)


async def _begin(
    deps: ConsoleDeps, known: people.Secrets, password: str, subject: str, visitor: Visitor, now: datetime
) -> str | None:
    """The session's secret; None: the password that was compared is not this person's any more."""
    secret = one_time.new_secret()
    assert known.password_hash is not None, "it was just compared"
    rehashed = await _rehashed(deps, known.password_hash, password)
    async with deps.database.transaction("people.password_taken") as connection:
        # Comparing takes its time: a reset or another password has ended only the sessions that there were.
        held = await people.hold(connection, known.person_id)
        if held.password_hash != known.password_hash or held.disabled_at is not None:
            return None
        await sessions.give_try_back(connection, subject, now)
        if rehashed is not None:
            await people.set_password(connection, known.person_id, rehashed)
        session_id = await sessions.begin_session(
            connection, secret, known.person_id, address=visitor.address, agent=visitor.agent, now=now
        )
        evidence = {"session_id": str(session_id), "address": visitor.address}
        detail = f"{known.name} gave the password; the second factor is still missing"
        await append(connection, person_entry("PASSWORD_TAKEN", known.name, detail, now, evidence))
    return secret


async def hashed(deps: ConsoleDeps, password: str) -> str:
    """Raises WebError: 503, too many at once."""
    try:
        return await deps.passwords.hash(password)
    except TooManyAtOnce:
        raise WebError(503, Code.BUSY, BUSY) from None


async def _rehashed(deps: ConsoleDeps, stored: str, password: str) -> str | None:
    """The same password at today's cost; None: it is, or another sign-in must do it."""
    if not deps.passwords.needs_rehash(stored):
        return None
    try:
        return await deps.passwords.hash(password)
    except TooManyAtOnce:
        return None


async def with_factor(
    deps: ConsoleDeps, session: Session, factor: Factor, answer: "str | dict[str, Any]", visitor: Visitor
) -> str:
    """Show a second factor: at sign-in, or once more in a session. The session's new secret.

    Counting, comparing and using up are one transaction, so that no code, counter or challenge serves twice.

    Raises:
        WebError: 401, whatever was wrong.
    """
    now = deps.now()
    secret = one_time.new_secret()
    async with deps.database.transaction("people.factor_shown") as connection:
        await people.hold(connection, session.person_id)
        subject = sessions.of_person(session.person_id)
        tried = await sessions.spend_try(connection, subject, now)
        wrong = await _compare(deps, connection, session, factor, answer, now) if tried.allowed else "locked"
        if wrong is None and not await sessions.rotate_session(
            connection, session.session_id, secret, factor, now
        ):
            wrong = "the session has ended"
        if wrong is None:
            await sessions.forget_tries(connection, subject)
            decision = "SIGNED_IN" if session.mfa_at is None else "STEPPED_UP"
            detail = f"{session.name} showed a second factor: {factor}"
            evidence = {
                "session_id": str(session.session_id), "factor": factor.value, "address": visitor.address,
            }  # fmt: skip
            await append(connection, person_entry(decision, session.name, detail, now, evidence))
        else:
            await _tell_failure(connection, session.name, f"{factor}: {wrong}", tried, visitor, now)
    if wrong is not None:
        raise not_let_in()
    return secret


async def _compare(
    deps: ConsoleDeps,
    connection: "Connection",
    session: Session,
    factor: Factor,
    answer: "str | dict[str, Any]",
    now: datetime,
) -> str | None:
    """What is wrong; None: nothing. What was right is used up."""
    person_id = session.person_id
    if factor is Factor.PASSKEY:
        return await _compare_passkey(deps, connection, session, answer, now)
    typed = str(answer)
    if factor is Factor.RECOVERY_CODE:
        good = await people.use_recovery_code(connection, person_id, one_time.typed_code(typed), now)
        return None if good else "no such code, or used before"
    known = await people.read_secrets(connection, person_id)
    if known.totp_secret is None:
        return "none is enrolled"
    try:
        secret = deps.sealer.open(known.totp_secret, totp_context(person_id))
    except SealError as error:
        _log.error("a TOTP secret cannot be opened", person=session.name, reason=str(error))
        return "it cannot be opened with the console's key"
    step = totp.matching_step(secret.decode(), typed, now)
    if step is None:
        return "wrong code"
    return None if await people.use_totp_step(connection, person_id, step) else "used before"


async def _compare_passkey(
    deps: ConsoleDeps,
    connection: "Connection",
    session: Session,
    answer: "str | dict[str, Any]",
    now: datetime,
) -> str | None:
    # Gone with this try, whatever comes of it.
    challenge = await sessions.take_challenge(connection, session.session_id, SIGN_IN, now)
    if challenge is None:
        return "no challenge, or used before, or too old"
    if not isinstance(answer, dict):
        return "malformed"
    try:
        credential_id = credential_id_of(answer)
        known = await people.read_passkey(connection, session.person_id, credential_id)
        if known is None:
            return "no passkey of this person"
        counted = deps.passkeys.check_sign_in(answer, challenge, session.person_id, *known)
    except PasskeyRefused as error:
        return str(error)
    grown = await people.use_passkey(connection, session.person_id, credential_id, counted, now)
    return None if grown else "its counter has not grown"


SIGN_IN: Final = "sign in"
REGISTER: Final = "register"
"""What a challenge is for."""


def totp_context(person_id: "UUID") -> str:
    """A sealed TOTP secret opens for its person only."""
    return f"totp {person_id}"


async def _tell_failure(
    connection: "Connection",
    name: str | None,
    what: str,
    tried: sessions.Tried,
    visitor: Visitor,
    now: datetime,
) -> None:
    """Every try that fails is a row. What was typed is in none: it may be a password in the wrong field."""
    who = name or "an unknown name"
    state = "" if tried.allowed else "; not compared: locked or too soon"
    evidence = {
        "tries": tried.tries, "compared": tried.allowed, "address": visitor.address,
        "locked_until": None if tried.locked_until is None else tried.locked_until.isoformat(),
    }  # fmt: skip
    detail = f"{who} was not let in ({what}{state})"
    await append(connection, person_entry("SIGN_IN_FAILED", name or SOMEBODY, detail, now, evidence))
