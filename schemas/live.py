"""Live trading: who granted it, to what, and what must hold at the moment an order leaves."""

from enum import StrEnum
from typing import Final, Literal
from uuid import UUID

from schemas.audit import sha256_hex
from schemas.base import Edge, UtcTime, Wire
from schemas.clock import ClockHealth
from schemas.mode import Mode

LIVE_MODE_WORD: Final = "true"
"""The one text that asks for live mode. Every other is paper: ``True``, ``1``, ``yes``, nothing."""
ADMIN: Final = "admin"
"""`schemas.people.Role.ADMIN`, as a grant says it."""


class KeySource(StrEnum):
    """Where the broker's keys of a process came from."""

    VAULT = "vault"
    AWS = "aws"
    EMBEDDED = "embedded"
    """Files of a folder of secrets: of the paper exchange."""

    @property
    def is_store(self) -> bool:
        """Keys of real money come from nowhere else."""
        return self in (KeySource.VAULT, KeySource.AWS)


class LiveConfiguration(Wire):
    """What execution runs with, as far as a grant is bound to it; no secret stands in it."""

    release: str
    installation: UUID
    account: str
    trading_url: str
    stream_url: str
    data_url: str
    data_stream_url: str
    # An older release has stored none of these four.
    data_feed: str = ""
    secondary_data_url: str | None = None
    secondary_data_stream_url: str | None = None
    secondary_data_feed: str = ""
    requests_per_minute: int
    market_speed: str
    key_source: KeySource
    approval_keys: tuple[str, ...]
    """Ids of the keys whose approvals are taken."""

    @property
    def hash(self) -> str:
        """sha256 over the canonical JSON, in hexadecimal."""
        return sha256_hex(self)


class GrantPerson(Edge):
    """One of the two who say it."""

    person_id: UUID
    name: str
    role: str
    mfa_at: UtcTime
    """When their second factor was last shown."""
    said_at: UtcTime
    standing_since: UtcTime | None = None
    """Since when account, role and way in are as they are; None: an earlier release did not say."""


class LiveGrant(Edge):
    """A grant, whole. Its canonical JSON is what is signed and stored; nothing unknown may stand in it."""

    act: Literal["live"] = "live"
    grant_id: UUID
    installation: UUID
    account: str
    configuration_hash: str
    asked: GrantPerson
    agreed: GrantPerson
    reason: str
    given_at: UtcTime
    expires_at: UtcTime
    """The last instant at which an order may leave by it."""
    key_id: str = ""


class SignedGrant(Wire):
    """As stored: the signature is over these very characters."""

    grant_id: UUID
    document: str
    signature: str
    """Ed25519, in hexadecimal."""
    key_id: str
    revoked_at: UtcTime | None = None


class LiveSetup(Wire):
    """What a process was started with: it does not change while it runs."""

    asked_for: bool
    """`LIVE_MODE` says `true`."""
    isolated: bool
    """Each role is a process of its own."""
    key_source: KeySource
    sealed: bool
    """What this process writes to Temporal is encrypted."""
    mode: Mode
    """By the addresses of the broker."""
    trading_url: str
    installation: UUID
    account: str
    configuration_hash: str


class LiveSeen(Wire):
    """What rows say right before an order would leave."""

    grant: SignedGrant | None
    """The newest, whatever its state: an older one does not count beside it."""
    kill_engaged: bool
    clock: ClockHealth
    reduces: bool = False
    """It is a stop or an exit of shares that are held: no clock holds that up."""


class LiveReason(StrEnum):
    """Why no order may go to the live brokerage."""

    NOT_ASKED_FOR = "LIVE_MODE is not true"
    NOT_LIVE_HOST = "the broker's address is not the live one"
    NOT_ISOLATED = "the topology is not isolated"
    KEYS_NOT_FROM_STORE = "the broker's keys are not from a secret store"
    PAYLOADS_PLAIN = "payloads in Temporal are plain, not encrypted"
    NO_GRANT = "nobody has granted it"
    GRANT_FORGED = "the grant is not signed with the console's key"
    GRANT_REVOKED = "the grant was revoked"
    GRANT_EXPIRED = "the grant has expired"
    GRANT_NOT_YET = "the grant is from the future"
    GRANT_TOO_LONG = "the grant is valid for longer than grants may be"
    GRANT_OF_ANOTHER = "the grant is for another account or installation"
    GRANT_OF_OTHER_CONFIGURATION = "the grant is for another configuration"
    NOT_ADMIN = "not an Admin has granted it"
    MFA_NOT_FRESH = "a second factor was not fresh"
    PERSON_TOO_NEW = "one of the two has account, role or way in for less than 24 hours"
    ONE_PERSON = "two persons are needed"
    KILL_SWITCH = "the kill switch is engaged"
    CLOCK_UNKNOWN = "nobody has compared our clocks with others lately"
    CLOCK_OFF = "a clock of ours is not right"
