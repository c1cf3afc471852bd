"""Everything that must hold before an order goes to the live brokerage, and a server that stands in for it."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from broker.alpaca.hosts import LiveHosts
from broker.alpaca.settings import AlpacaSettings
from schemas.clock import ClockHealth
from schemas.live import (
    ADMIN,
    GrantPerson,
    KeySource,
    LiveConfiguration,
    LiveGrant,
    LiveSeen,
    LiveSetup,
    SignedGrant,
)
from schemas.mode import Mode
from security.grants import GrantKey
from security.live import LiveGrantKey
from tests.unit.broker_server import KEY, SECRET, Server

SIGNER: Final = GrantKey(Ed25519PrivateKey.generate(), "console")
"""The console's key."""
GRANT_KEY: Final = LiveGrantKey(SIGNER.public_key)
STRANGER: Final = GrantKey(Ed25519PrivateKey.generate(), "stranger")
"""Who can write every table, and has no key of ours."""
ACCOUNT: Final = "A1"
INSTALLATION: Final = UUID(int=7)
ANNA, BERT = UUID(int=1), UUID(int=2)
IN_SYNC: Final = ClockHealth(in_sync=True, age=timedelta(seconds=20))


def live_settings(server: Server, *, live_set_up: bool = True) -> AlpacaSettings:
    """The adapter's, where this server is the live brokerage."""
    stream = f"ws://127.0.0.1:{server.port}/stream"
    hosts = LiveHosts(server.url, stream)
    return AlpacaSettings(
        SecretStr(KEY), SecretStr(SECRET), server.url, stream, live_set_up=live_set_up, live_hosts=hosts
    )


def configuration(trading_url: str = "", **fields: Any) -> LiveConfiguration:
    """What execution runs with."""
    whole: dict[str, Any] = {
        "release": "1", "installation": INSTALLATION, "account": ACCOUNT, "trading_url": trading_url,
        "stream_url": "s", "data_url": "d", "data_stream_url": "ds", "requests_per_minute": 200,
        "market_speed": "1.0", "key_source": KeySource.VAULT, "approval_keys": ("k",),
    }  # fmt: skip
    return LiveConfiguration.model_validate(whole | fields)


def person(
    person_id: UUID,
    said_at: datetime,
    *,
    mfa_age: timedelta = timedelta(minutes=1),
    role: str = ADMIN,
    stands: timedelta | None = timedelta(days=2),
) -> GrantPerson:
    return GrantPerson(
        person_id=person_id,
        name=f"person {person_id.int}",
        role=role,
        mfa_at=said_at - mfa_age,
        said_at=said_at,
        standing_since=None if stands is None else said_at - stands,
    )


def grant(now: datetime, hashed: str, **fields: Any) -> LiveGrant:
    """A good one, given two minutes ago; ``fields`` say otherwise."""
    given = now - timedelta(minutes=2)
    whole: dict[str, Any] = {
        "grant_id": uuid4(), "installation": INSTALLATION, "account": ACCOUNT, "configuration_hash": hashed,
        "asked": person(ANNA, given - timedelta(minutes=3)), "agreed": person(BERT, given), "reason": "a test",
        "given_at": given, "expires_at": given + timedelta(hours=1),
    }  # fmt: skip
    return LiveGrant.model_validate(whole | fields)


def setup(trading_url: str, hashed: str, **fields: Any) -> LiveSetup:
    """A process that was started for it."""
    whole: dict[str, Any] = {
        "asked_for": True, "isolated": True, "key_source": KeySource.VAULT, "sealed": True,
        "mode": Mode.LIVE, "trading_url": trading_url, "installation": INSTALLATION, "account": ACCOUNT,
        "configuration_hash": hashed,
    }  # fmt: skip
    return LiveSetup.model_validate(whole | fields)


def seen(signed: SignedGrant | None, *, kill: bool = False, clock: ClockHealth = IN_SYNC) -> LiveSeen:
    """What rows say."""
    return LiveSeen(grant=signed, kill_engaged=kill, clock=clock)


def now() -> datetime:
    return datetime.now(UTC)
