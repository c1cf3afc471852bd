"""Approvals, signed by risk and verified by execution: Ed25519 over the canonical JSON of what may leave.

Execution's trust is its list of public keys, which is no row: who can write every table of ours still cannot
approve anything.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import AwareDatetime, TypeAdapter, ValidationError

from schemas.approvals import ApprovalDocument, ApprovalFault, ApprovalRefused, SignedApproval
from schemas.audit import canonical_json
from schemas.wire import Leg
from security.grants import public_key_id

PURPOSE: Final = b"trading-interface/approval/1\n"
"""Stands before what is signed, so that a signature made for anything else is none here."""
UNSIGNED_BEFORE: Final = "unsigned-before="
KEY_HEX_DIGITS: Final = 64
_ZONED: Final = TypeAdapter(AwareDatetime)
_KEY: Final = re.compile(rf"[0-9a-f]{{{KEY_HEX_DIGITS}}}")


class ApprovalKeyError(Exception):
    """A key of approvals cannot be used; the message names its setting or file and what to do, never a value."""


class KeyState(StrEnum):
    """How far a known key is trusted."""

    CURRENT = "current"
    RETIRED = "retired"
    """For the legs of entries that it approved, as long as these live."""


class ApprovalSigner:
    """Risk's key."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public_key: Final = private.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        self.key_id: Final = public_key_id(self.public_key)

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """Raises:
        ApprovalKeyError: not a private key in hexadecimal.
        """
        if not _KEY.fullmatch(text.strip().lower()):
            raise ApprovalKeyError(
                f"TRADING_APPROVAL_SIGNING_KEY is not {KEY_HEX_DIGITS} hexadecimal digits: see `trading keys`"
            )
        return cls(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text.strip())))

    @classmethod
    def generate(cls) -> tuple[Self, str]:
        """A new key, and its private half in hexadecimal: a secret."""
        private = Ed25519PrivateKey.generate()
        raw = private.private_bytes(
            serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
        )
        return cls(private), raw.hex()

    def sign(self, document: ApprovalDocument) -> SignedApproval:
        """Sign a document under this key's id."""
        text = canonical_json(document.model_copy(update={"key_id": self.key_id}))
        signature = self._private.sign(signed_bytes(text))
        return SignedApproval(document=text, signature=signature.hex(), key_id=self.key_id)


@dataclass(frozen=True)
class ApprovalKeys:
    """The public keys that approvals may be signed with, and since when all must be signed."""

    states: Mapping[bytes, KeyState]
    """Raw public key → its state."""
    unsigned_before: datetime | None = None
    """Legs of entries that an earlier release approved before this need no signature. None: every leg does."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """One key in hexadecimal in a line; ``retired`` after it, or a line ``unsigned-before=TIME``.

        Raises:
            ApprovalKeyError: a line is none of these, or no key is current.
        """
        states: dict[bytes, KeyState] = {}
        before = None
        for number, line in enumerate(text.splitlines(), start=1):
            key, *rest = line.split() or [""]
            if key.startswith(UNSIGNED_BEFORE) and not rest:
                before = _time(key.removeprefix(UNSIGNED_BEFORE), number)
            elif _KEY.fullmatch(key) and rest in ([], [KeyState.RETIRED.value]):
                states[bytes.fromhex(key)] = KeyState.RETIRED if rest else KeyState.CURRENT
            elif key:
                raise ApprovalKeyError(
                    f"TRADING_APPROVAL_PUBLIC_KEYS, line {number}: neither a public key of {KEY_HEX_DIGITS} "
                    f"hexadecimal digits, alone or followed by {KeyState.RETIRED}, nor {UNSIGNED_BEFORE}TIME"
                )
        if KeyState.CURRENT not in states.values():
            raise ApprovalKeyError(
                "TRADING_APPROVAL_PUBLIC_KEYS names no current key: nothing could be placed; see `trading keys`"
            )
        return cls(states, before)

    @property
    def text(self) -> str:
        """What `parse` reads."""
        lines = (
            [] if self.unsigned_before is None else [f"{UNSIGNED_BEFORE}{self.unsigned_before.isoformat()}"]
        )
        for key, state in self.states.items():
            lines.append(key.hex() + ("" if state is KeyState.CURRENT else f" {state}"))
        return "\n".join(lines) + "\n"

    @property
    def by_id(self) -> dict[str, bytes]:
        """The keys by the names that approvals carry."""
        return {public_key_id(key): key for key in self.states}

    def require_current(self, signer: ApprovalSigner) -> None:
        """Return if what ``signer`` signs may be placed.

        Raises:
            ApprovalKeyError: its public half is unknown here, or retired.
        """
        if self.states.get(signer.public_key) is not KeyState.CURRENT:
            how = "has retired" if signer.public_key in self.states else "does not name"
            raise ApprovalKeyError(
                f"approvals would be signed with key {signer.key_id}, which TRADING_APPROVAL_PUBLIC_KEYS {how}: "
                "no order could leave. Give risk and execution files that belong together: see `trading keys`"
            )

    def verify(self, signed: SignedApproval, leg: Leg) -> ApprovalDocument:
        """The document, if a key that is good for ``leg`` has signed it. What it says is the caller's to check.

        Raises:
            ApprovalRefused: with the fault.
        """
        key = self.by_id.get(signed.key_id)
        if key is None:
            raise ApprovalRefused(
                ApprovalFault.KEY_UNKNOWN,
                f"the approval is signed with key {signed.key_id}: unknown or revoked",
            )
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(
                bytes.fromhex(signed.signature), signed_bytes(signed.document)
            )
            document = ApprovalDocument.model_validate_json(signed.document)
        except (InvalidSignature, ValidationError, ValueError) as error:
            raise ApprovalRefused(
                ApprovalFault.FORGED, f"the signature is not that of key {signed.key_id} over this approval"
            ) from error
        if document.key_id != signed.key_id:
            raise ApprovalRefused(ApprovalFault.FORGED, f"the approval names key {document.key_id}")
        if leg is Leg.ENTRY and self.states[key] is KeyState.RETIRED:
            raise ApprovalRefused(
                ApprovalFault.KEY_RETIRED,
                f"the approval is signed with key {signed.key_id}, which is retired",
                is_ours=True,
            )
        return document


def signed_bytes(document: str) -> bytes:
    """What a signature covers."""
    return PURPOSE + document.encode()


def _time(text: str, line: int) -> datetime:
    try:
        return _ZONED.validate_python(text)
    except ValidationError as error:
        raise ApprovalKeyError(
            f"TRADING_APPROVAL_PUBLIC_KEYS, line {line}: {UNSIGNED_BEFORE} needs a time with its zone"
        ) from error
