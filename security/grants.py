"""The operator's signed words, which release the kill switch or let a month of the audit log go: made from a key
file, verified from a row.
"""

import json
import os
import re
import secrets
import stat
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from schemas.archives import DropGrant
from schemas.audit import canonical_json
from schemas.kill import ReleaseGrant

GRANT_VALID_FOR: Final = timedelta(minutes=5)
NONCE_BYTES: Final = 16
KEY_FILE_MODE: Final = 0o600
KEY_HEX_DIGITS: Final = 64
_KEY: Final = re.compile(rf"[0-9a-f]{{{KEY_HEX_DIGITS}}}")

Grant = TypeVar("Grant", ReleaseGrant, DropGrant)


class KeyFileError(Exception):
    """The operator key file cannot be used; the message says what to do."""


class GrantRefused(Exception):
    """The grant lets nothing happen; the message says why."""


class GrantKey:
    """A key that signs grants, and whose it is."""

    def __init__(self, private: Ed25519PrivateKey, owner: str) -> None:
        self._private = private
        self.owner: Final = owner

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """The operator's key file.

        Raises:
            KeyFileError: missing, unreadable, or readable by others.
        """
        return cls(*_load(path))

    @classmethod
    def from_hex(cls, text: str, owner: str) -> Self:
        """A secret of 64 hexadecimal digits.

        Raises:
            KeyFileError: it is none; the message does not tell it.
        """
        if not _KEY.fullmatch(text.strip().lower()):
            raise KeyFileError(f"the grant key is not {KEY_HEX_DIGITS} hexadecimal digits")
        return cls(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text.strip())), owner)

    @property
    def public_key(self) -> bytes:
        """32 bytes, for the row that it is known by."""
        return _raw(self._private.public_key())

    @property
    def key_id(self) -> str:
        """How grants name it."""
        return public_key_id(self.public_key)

    def sign(self, content: bytes) -> str:
        """In hexadecimal."""
        return self._private.sign(content).hex()


def make_key_file(path: Path, person: str) -> tuple[str, bytes]:
    """Make an Ed25519 key file, mode 0600, unless there is one.

    Returns:
        The key id and the raw public key, 32 bytes.
    """
    if not path.exists():
        private = Ed25519PrivateKey.generate()
        content = {
            "person": person,
            "private_key": private.private_bytes(
                serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
            ).hex(),
        }
        temporary = path.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, KEY_FILE_MODE)
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    key = GrantKey.from_file(path)
    return key.key_id, key.public_key


def public_key_id(raw: bytes) -> str:
    """The first 16 hex digits of the raw public key: enough to name it."""
    return raw.hex()[:16]


def make_grant(
    key: Path | GrantKey,
    *,
    account: str,
    epoch: int,
    reason: str,
    now: datetime,
    person: str | None = None,
    unknown_orders: tuple[str, ...] = (),
) -> ReleaseGrant:
    """Sign a grant that releases one activation, once, within ``GRANT_VALID_FOR``.

    Raises:
        KeyFileError: the file is missing, unreadable, or readable by others.
    """
    return _made(
        ReleaseGrant, key, now, person, account=account, epoch=epoch, reason=reason,
        unknown_orders=tuple(sorted(unknown_orders)),
    )  # fmt: skip


def make_drop_grant(
    key_file: Path, *, account: str, partition: str, reason: str, now: datetime, person: str | None = None
) -> DropGrant:
    """Sign a grant that lets one month of the audit log go, within ``GRANT_VALID_FOR``.

    Raises:
        KeyFileError: the file is missing, unreadable, or readable by others.
    """
    return _made(DropGrant, key_file, now, person, account=account, partition=partition, reason=reason)


def _made(
    kind: type[Grant], source: Path | GrantKey, now: datetime, person: str | None, **said: Any
) -> Grant:
    """What every grant has, and the signature over all of it."""
    key = source if isinstance(source, GrantKey) else GrantKey.from_file(source)
    unsigned = kind(
        nonce=secrets.token_hex(NONCE_BYTES),
        expires_at=now + GRANT_VALID_FOR,
        person=person or key.owner,
        key_id=key.key_id,
        signature="",
        **said,
    )
    return unsigned.model_copy(update={"signature": key.sign(signed_bytes(unsigned))})


def verify_grant(grant: ReleaseGrant | DropGrant, public_key: bytes, *, account: str, now: datetime) -> None:
    """Check signature, account and expiry. Epoch and single use are the database's to check.

    Raises:
        GrantRefused: with the reason.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(
            bytes.fromhex(grant.signature), signed_bytes(grant)
        )
    except (InvalidSignature, ValueError) as error:
        raise GrantRefused("the signature is not this key's over this grant") from error
    if isinstance(grant, DropGrant) and grant.act != DropGrant.model_fields["act"].default:
        raise GrantRefused(f"the grant is for another act: {grant.act}")
    if grant.account != account:
        raise GrantRefused(f"the grant is for account {grant.account}")
    if now > grant.expires_at:
        raise GrantRefused(f"the grant expired at {grant.expires_at.isoformat()}")
    if grant.expires_at > now + 2 * GRANT_VALID_FOR:
        raise GrantRefused("the grant is valid for longer than grants may be")


def signed_bytes(grant: ReleaseGrant | DropGrant) -> bytes:
    """What the signature covers: the canonical JSON of every other field."""
    return canonical_json(grant.model_dump(mode="json", exclude={"signature"})).encode()


def _raw(public: Ed25519PublicKey) -> bytes:
    return public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _load(path: Path) -> tuple[Ed25519PrivateKey, str]:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise KeyFileError(
                f"{path} can be read by others (mode {mode:o}): chmod 600 it, or make a new key"
            )
        content = json.loads(path.read_text())
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(content["private_key"])), content["person"]
    except FileNotFoundError as error:
        raise KeyFileError(f"{path} does not exist: `trading up` makes it at its first start") from error
    except (OSError, ValueError, KeyError) as error:
        raise KeyFileError(f"{path} is not an operator key file: {error}") from error
