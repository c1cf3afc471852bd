"""Ways to sign in: enrolling TOTP and passkeys, recovery codes, another password."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from console.web.access import is_fresh
from console.web.deps import ConsoleDeps
from console.web.problems import Code, WebError, invalid, refused
from console.web.sign_in import REGISTER, hashed, not_let_in, totp_context
from schemas.people import Factor, wrong_password
from security import one_time, totp
from security.passkeys import PasskeyRefused
from security.sealing import SealError
from storage import people, sessions
from storage.events import append
from storage.people import person_entry
from storage.sessions import Session

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from storage.database import Connection

LABEL_CHARACTERS_MAX: Final = 64
PASSKEYS_MAX: Final = 20
OFFER_LIFE: Final = timedelta(minutes=15)
"""So long an offered TOTP secret waits for its first code."""


async def _hold(connection: "Connection", session: Session, now: "datetime") -> None:
    """Hold the session's person, whose ways in are to change: it was read before this transaction began.

    Raises:
        WebError: 401, it has ended meanwhile; 409, it gave a password alone, and there is a second factor by now.
    """
    await people.hold(connection, session.person_id)
    if not await sessions.is_going_on(connection, session.session_id, now):
        raise WebError(401, Code.NOT_SIGNED_IN, "the session has ended: sign in again")
    if session.mfa_at is None:
        person = await people.read_person(connection, session.person_id, now)
        if person.totp or person.passkeys:
            raise refused("a second factor was enrolled meanwhile: sign in with it")


async def offer_totp(deps: ConsoleDeps, session: Session) -> None:
    """Make a secret; it counts once a code of it was shown."""
    now = deps.now()
    sealed = deps.sealer.seal(totp.new_secret().encode(), totp_context(session.person_id))
    async with deps.database.transaction("people.totp_offered") as connection:
        await _hold(connection, session, now)
        await people.offer_totp(connection, session.person_id, sealed, now)


async def offered_totp(deps: ConsoleDeps, session: Session) -> tuple[str, bytes]:
    """The offered secret, and as it is stored.

    Raises:
        WebError: 409, none is offered, or too long ago.
    """
    async with deps.database.connection() as connection:
        known = await people.read_secrets(connection, session.person_id)
    sealed, since = known.totp_offered, known.totp_offered_at
    if sealed is None or since is None or deps.now() - since > OFFER_LIFE:
        raise refused("no code generator is being set up: begin again")
    try:
        return deps.sealer.open(sealed, totp_context(session.person_id)).decode(), sealed
    except SealError:
        raise refused("it was set up with another key: begin again") from None


async def take_totp(deps: ConsoleDeps, session: Session, code: str) -> str | None:
    """The first code of the offered secret: it counts from now on. The session's new secret if this signed in.

    Raises:
        WebError: 409 as `offered_totp`, 422 a wrong code, 401 the session has ended.
    """
    secret, sealed = await offered_totp(deps, session)
    now = deps.now()
    step = totp.matching_step(secret, code, now)
    if step is None:
        raise invalid("that is not the code it shows now: is the phone's clock right?")
    async with deps.database.transaction("people.totp_enrolled") as connection:
        await _hold(connection, session, now)
        if not await people.take_totp(connection, session.person_id, sealed, step):
            raise refused("another was begun meanwhile: begin again")
        detail = f"{session.name} enrolled a code generator"
        await append(connection, person_entry("TOTP_ENROLLED", session.name, detail, now, {}))
        return await _first_factor(connection, session, Factor.TOTP, now)


async def _first_factor(
    connection: "Connection", session: Session, factor: Factor, now: "datetime"
) -> str | None:
    """Enrolling the first one signs in: whoever did has shown both."""
    if session.mfa_at is not None:
        return None
    secret = one_time.new_secret()
    if not await sessions.rotate_session(connection, session.session_id, secret, factor, now):
        raise not_let_in()
    detail = f"{session.name} signed in by enrolling the first second factor: {factor}"
    evidence = {"session_id": str(session.session_id), "factor": factor.value}
    await append(connection, person_entry("SIGNED_IN", session.name, detail, now, evidence))
    return secret


async def ask_for_passkey(deps: ConsoleDeps, session: Session, purpose: str) -> dict[str, Any]:
    """The options for the browser, with a challenge that serves once."""
    async with deps.database.transaction("people.challenge_made") as connection:
        known = await people.credential_ids(connection, session.person_id)
        if purpose == REGISTER:
            if len(known) >= PASSKEYS_MAX:
                raise refused(f"at most {PASSKEYS_MAX} passkeys: remove one first")
            challenge, options = deps.passkeys.ask_to_register(session.person_id, session.name, known)
        else:
            challenge, options = deps.passkeys.ask_to_sign_in(known)
        await sessions.keep_challenge(connection, session.session_id, purpose, challenge, deps.now())
    return options


async def take_passkey(deps: ConsoleDeps, session: Session, answer: dict[str, Any], label: str) -> str | None:
    """Register a passkey. The session's new secret if this signed in.

    Raises:
        WebError: 422, the answer proves nothing; 409, somebody has this passkey; 401, the session has ended.
    """
    now = deps.now()
    wrong: str | None = None
    secret: str | None = None
    label = label.strip()[:LABEL_CHARACTERS_MAX] or "passkey"
    async with deps.database.transaction("people.passkey_added") as connection:
        await _hold(connection, session, now)
        challenge = await sessions.take_challenge(connection, session.session_id, REGISTER, now)
        try:
            if challenge is None:
                raise PasskeyRefused("no challenge, or used before, or too old")
            made = deps.passkeys.check_registration(answer, challenge)
        except PasskeyRefused as error:
            wrong = str(error)
            evidence = {"session_id": str(session.session_id)}
            detail = f"a passkey of {session.name} was not taken: {wrong}"
            await append(connection, person_entry("PASSKEY_REFUSED", session.name, detail, now, evidence))
        else:
            if not await people.add_passkey(
                connection, session.person_id, credential_id=made.credential_id, public_key=made.public_key,
                sign_count=made.sign_count, label=label, now=now,
            ):  # fmt: skip
                raise refused("this passkey is registered already")
            detail = f"{session.name} registered a passkey: {label}"
            evidence = {"credential_id": made.credential_id.hex(), "label": label}
            await append(connection, person_entry("PASSKEY_ADDED", session.name, detail, now, evidence))
            secret = await _first_factor(connection, session, Factor.PASSKEY, now)
    if wrong is not None:
        raise invalid("the passkey was not taken: try again, and let it ask for PIN, finger or face")
    return secret


async def remove_passkey(deps: ConsoleDeps, session: Session, credential_id: bytes) -> None:
    """Raises WebError: 409, it is the last second factor, or there is none such."""
    now = deps.now()
    async with deps.database.transaction("people.passkey_removed") as connection:
        await _hold(connection, session, now)
        person = await people.read_person(connection, session.person_id, now)
        if not person.totp and person.passkeys <= 1:
            raise refused("it is your last second factor: enrol another one first")
        label = await people.remove_passkey(connection, session.person_id, credential_id)
        if label is None:
            raise refused("you have no such passkey")
        detail = f"{session.name} removed a passkey: {label}"
        evidence = {"credential_id": credential_id.hex(), "label": label}
        await append(connection, person_entry("PASSKEY_REMOVED", session.name, detail, now, evidence))


async def remove_totp(deps: ConsoleDeps, session: Session) -> None:
    """Raises WebError: 409, it is the last second factor, or there is none."""
    now = deps.now()
    async with deps.database.transaction("people.totp_removed") as connection:
        await _hold(connection, session, now)
        person = await people.read_person(connection, session.person_id, now)
        if person.passkeys == 0:
            raise refused("it is your last second factor: enrol another one first")
        if not await people.remove_totp(connection, session.person_id):
            raise refused("no code generator is enrolled")
        detail = f"{session.name} removed the code generator"
        await append(connection, person_entry("TOTP_REMOVED", session.name, detail, now, {}))


async def new_recovery_codes(deps: ConsoleDeps, session: Session) -> list[str]:
    """Ten codes to be shown once; older ones are gone."""
    now, codes = deps.now(), one_time.recovery_codes()
    async with deps.database.transaction("people.recovery_codes") as connection:
        await _hold(connection, session, now)
        await people.replace_recovery_codes(connection, session.person_id, codes)
        detail = f"{session.name} was given {len(codes)} recovery codes; older ones are gone"
        await append(connection, person_entry("RECOVERY_CODES_MADE", session.name, detail, now, {}))
    return codes


async def change_password(deps: ConsoleDeps, session: Session, password: str) -> None:
    """Another password; every other session ends.

    Raises:
        WebError: 422, it may not be one; 403 without a fresh factor; 503, too many at once.
    """
    if wrong := wrong_password(password, session.name):
        raise invalid(wrong)
    if not is_fresh(session, deps.now()):
        raise WebError(403, Code.STEP_UP_REQUIRED, "show your second factor once more to do this")
    password_hash, now = await hashed(deps, password), deps.now()
    async with deps.database.transaction("people.password_changed") as connection:
        await _hold(connection, session, now)
        await people.set_password(connection, session.person_id, password_hash)
        await sessions.end_sessions_of(
            connection, session.person_id, by=session.name, now=now, but=session.session_id
        )
        detail = f"{session.name} changed the password; every other session has ended"
        await append(connection, person_entry("PASSWORD_CHANGED", session.name, detail, now, {}))


async def end_session(
    deps: ConsoleDeps, session_id: "UUID", *, of: "UUID | None", by: str, own: bool = False
) -> None:
    """End a session; ``of``: only this person's; ``own``: by signing out. One that has ended is left so."""
    now = deps.now()
    async with deps.database.transaction("people.session_ended") as connection:
        whose = await sessions.end_session(connection, session_id, of=of, by=by, now=now)
        if whose is not None:
            evidence = {"session_id": str(session_id), "person_id": str(whose)}
            decision = "SIGNED_OUT" if own else "SESSION_REVOKED"
            detail = f"{by} signed out" if own else f"{by} ended a session"
            await append(connection, person_entry(decision, by, detail, now, evidence))
