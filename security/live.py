"""Whether an order may go to the live brokerage: the one place that says yes, and what it takes to.

Execution holds the public half of the console's key. So whoever can write every table of ours still cannot grant
anything; he can take a grant away.
"""

import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Self
from uuid import uuid4

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError

from broker.permit import LivePermit
from schemas.audit import canonical_json
from schemas.live import (
    ADMIN,
    GrantPerson,
    LiveConfiguration,
    LiveGrant,
    LiveReason,
    LiveSeen,
    LiveSetup,
    SignedGrant,
)
from schemas.mode import Mode
from schemas.people import STANDING_MIN
from security.grants import GrantKey, public_key_id

PURPOSE: Final = b"trading-interface/live-grant/1\n"
"""Stands before what is signed, so that a signature made for anything else is none here."""
GRANT_VALID_MAX: Final = timedelta(hours=24)
MFA_FRESH: Final = timedelta(minutes=5)
SAID_WITHIN: Final = timedelta(minutes=15)
"""Between the two persons' words."""
AHEAD_MAX: Final = timedelta(seconds=2)
"""How far the console's clock may be before ours."""
CLOCK_READ_MAX: Final = timedelta(minutes=10)
"""Without a reading for longer, nobody knows."""
KEY_HEX_DIGITS: Final = 64
_KEY: Final = re.compile(rf"[0-9a-f]{{{KEY_HEX_DIGITS}}}")


class LiveKeyError(Exception):
    """A key of live grants cannot be used; the message names its setting and never a value."""


class LiveGrantRefused(Exception):
    """These persons cannot grant it; the message says why."""


def sign_grant(key: GrantKey, grant: LiveGrant) -> SignedGrant:
    """Sign whatever it says, with the console's key: `grant_live` asks who says it."""
    text = canonical_json(grant.model_copy(update={"key_id": key.key_id}))
    signature = key.sign(PURPOSE + text.encode())
    return SignedGrant(grant_id=grant.grant_id, document=text, signature=signature, key_id=key.key_id)


class LiveGrantKey:
    """The public half of the console's grant key, which execution holds."""

    def __init__(self, raw: bytes) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(raw)
        self.key_id: Final = public_key_id(raw)

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """Raises:
        LiveKeyError: not a public key in hexadecimal.
        """
        if not _KEY.fullmatch(text.strip().lower()):
            raise LiveKeyError(f"TRADING_CONSOLE_GRANT_PUBLIC_KEY is not {KEY_HEX_DIGITS} hexadecimal digits")
        return cls(bytes.fromhex(text.strip()))

    def read(self, signed: SignedGrant) -> LiveGrant | None:
        """The grant, if this key has signed these very characters."""
        try:
            self._key.verify(bytes.fromhex(signed.signature), PURPOSE + signed.document.encode())
            grant = LiveGrant.model_validate_json(signed.document)
        except (InvalidSignature, ValidationError, ValueError):
            return None
        return grant if grant.grant_id == signed.grant_id else None


def grant_live(
    key: GrantKey,
    configuration: LiveConfiguration,
    *,
    asked: GrantPerson,
    agreed: GrantPerson,
    reason: str,
    valid_for: timedelta,
    now: datetime,
) -> SignedGrant:
    """Sign a grant of two Admins, for the configuration that both have seen.

    Raises:
        LiveGrantRefused: one of them may not, or not now, or not for so long.
    """
    grant = LiveGrant(
        grant_id=uuid4(),
        installation=configuration.installation,
        account=configuration.account,
        configuration_hash=configuration.hash,
        asked=asked,
        agreed=agreed,
        reason=reason,
        given_at=now,
        expires_at=now + valid_for,
    )
    wrong = next(_wrong_persons(grant), None) or next(_wrong_time(grant, now), None)
    if wrong is not None:
        raise LiveGrantRefused(wrong.value)
    if not reason.strip():
        raise LiveGrantRefused("a grant has its reason")
    return sign_grant(key, grant)


class LiveDecision(NamedTuple):
    """Yes with a permit, or no with every reason."""

    permit: LivePermit | None
    reasons: tuple[LiveReason, ...]

    @property
    def text(self) -> str:
        """For people."""
        return "; ".join(reason.value for reason in self.reasons) or "permitted"


def may_trade_live(setup: LiveSetup, seen: LiveSeen, key: LiveGrantKey | None, now: datetime) -> LiveDecision:
    """Whether one order may go to the live brokerage right now. All must hold; what cannot be known does not.

    Pure but for the permit's own time, from which on it is good for a moment.
    """
    made_at = time.monotonic()
    grant = None if key is None or seen.grant is None else key.read(seen.grant)
    reasons = (
        *_wrong_setup(setup),
        *_wrong_grant(setup, seen.grant, grant, now),
        *_wrong_state(seen),
    )
    if reasons or grant is None:
        return LiveDecision(None, reasons)
    return LiveDecision(LivePermit(setup.trading_url, setup.account, grant.grant_id, made_at), ())


def wrong_setup(setup: LiveSetup) -> tuple[LiveReason, ...]:
    """Why a process may not even reach the live brokerage, as it was started."""
    return tuple(_wrong_setup(setup))


def _wrong_setup(setup: LiveSetup) -> Iterator[LiveReason]:
    if not setup.asked_for:
        yield LiveReason.NOT_ASKED_FOR
    if setup.mode is not Mode.LIVE:
        yield LiveReason.NOT_LIVE_HOST
    if not setup.isolated:
        yield LiveReason.NOT_ISOLATED
    if not setup.key_source.is_store:
        yield LiveReason.KEYS_NOT_FROM_STORE
    if not setup.sealed:
        yield LiveReason.PAYLOADS_PLAIN


def _wrong_grant(
    setup: LiveSetup, signed: SignedGrant | None, grant: LiveGrant | None, now: datetime
) -> Iterator[LiveReason]:
    if signed is None:
        yield LiveReason.NO_GRANT
        return
    if grant is None:
        yield LiveReason.GRANT_FORGED
        return
    if signed.revoked_at is not None:
        yield LiveReason.GRANT_REVOKED
    if (grant.installation, grant.account) != (setup.installation, setup.account):
        yield LiveReason.GRANT_OF_ANOTHER
    if grant.configuration_hash != setup.configuration_hash:
        yield LiveReason.GRANT_OF_OTHER_CONFIGURATION
    yield from _wrong_time(grant, now)
    yield from _wrong_persons(grant)


def _wrong_time(grant: LiveGrant, now: datetime) -> Iterator[LiveReason]:
    if grant.given_at > now + AHEAD_MAX:
        yield LiveReason.GRANT_NOT_YET
    if now > grant.expires_at:
        yield LiveReason.GRANT_EXPIRED
    if not timedelta(0) < grant.expires_at - grant.given_at <= GRANT_VALID_MAX:
        yield LiveReason.GRANT_TOO_LONG


def _wrong_persons(grant: LiveGrant) -> Iterator[LiveReason]:
    persons = (grant.asked, grant.agreed)
    if any(person.role != ADMIN for person in persons):
        yield LiveReason.NOT_ADMIN
    in_time = timedelta(0) <= grant.agreed.said_at - grant.asked.said_at <= SAID_WITHIN
    is_given = timedelta(0) <= grant.given_at - grant.agreed.said_at <= MFA_FRESH
    if not (in_time and is_given and all(_is_fresh(person) for person in persons)):
        yield LiveReason.MFA_NOT_FRESH
    if not all(_stands(person) for person in persons):
        yield LiveReason.PERSON_TOO_NEW
    if grant.asked.person_id == grant.agreed.person_id:
        yield LiveReason.ONE_PERSON


def _is_fresh(person: GrantPerson) -> bool:
    return timedelta(0) <= person.said_at - person.mfa_at <= MFA_FRESH


def _stands(person: GrantPerson) -> bool:
    return person.standing_since is not None and person.said_at - person.standing_since >= STANDING_MIN


def _wrong_state(seen: LiveSeen) -> Iterator[LiveReason]:
    if seen.kill_engaged:
        yield LiveReason.KILL_SWITCH
    if seen.reduces:
        return
    age = seen.clock.age
    if age is None or not -AHEAD_MAX <= age <= CLOCK_READ_MAX:
        yield LiveReason.CLOCK_UNKNOWN
    if not seen.clock.in_sync:
        yield LiveReason.CLOCK_OFF
