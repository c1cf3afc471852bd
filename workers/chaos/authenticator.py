"""A passkey in software: signs what an authenticator signs, rightly, or wrongly as it is told."""

import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import Any, Final

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from webauthn.helpers import bytes_to_base64url

USER_PRESENT: Final = 0x01
USER_VERIFIED: Final = 0x04
HAS_CREDENTIAL: Final = 0x40
ES256: Final = -7


@dataclass
class Passkey:
    """One ES256 credential with its counter. Keyword arguments of its methods are what an attacker changes."""

    credential_id: bytes = field(default_factory=lambda: os.urandom(32))
    private_key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    counter: int = 0

    def register(
        self,
        options: dict[str, Any],
        origin: str,
        *,
        rp_id: str | None = None,
        challenge: str | None = None,
        verified: bool = True,
        kind: str = "webauthn.create",
    ) -> dict[str, Any]:
        """The answer to ``navigator.credentials.create``."""
        self.counter += 1
        client = _client(kind, challenge or options["challenge"], origin)
        data = self._data(rp_id or options["rp"]["id"], self.counter, verified, with_key=True)
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        return self._answer({
            "clientDataJSON": bytes_to_base64url(client),
            "attestationObject": bytes_to_base64url(attestation),
        })  # fmt: skip

    def sign_in(
        self,
        options: dict[str, Any],
        origin: str,
        *,
        rp_id: str | None = None,
        challenge: str | None = None,
        verified: bool = True,
        counter: int | None = None,
        kind: str = "webauthn.get",
        user_handle: bytes | None = None,
        signature: bytes | None = None,
    ) -> dict[str, Any]:
        """The answer to ``navigator.credentials.get``."""
        self.counter = self.counter + 1 if counter is None else counter
        client = _client(kind, challenge or options["challenge"], origin)
        data = self._data(rp_id or options["rpId"], self.counter, verified)
        signed = data + hashlib.sha256(client).digest()
        made = signature or self.private_key.sign(signed, ec.ECDSA(hashes.SHA256()))
        response = {
            "clientDataJSON": bytes_to_base64url(client),
            "authenticatorData": bytes_to_base64url(data),
            "signature": bytes_to_base64url(made),
            "userHandle": None if user_handle is None else bytes_to_base64url(user_handle),
        }
        return self._answer(response)

    def _answer(self, response: dict[str, Any]) -> dict[str, Any]:
        name = bytes_to_base64url(self.credential_id)
        return {"id": name, "rawId": name, "type": "public-key", "response": response}

    def _data(self, rp_id: str, counter: int, verified: bool, *, with_key: bool = False) -> bytes:
        flags = USER_PRESENT | (USER_VERIFIED if verified else 0) | (HAS_CREDENTIAL if with_key else 0)
        data = hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + counter.to_bytes(4, "big")
        if with_key:
            data += bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id + self._cose()
        return data

    def _cose(self) -> bytes:
        numbers = self.private_key.public_key().public_numbers()
        return cbor2.dumps({
            1: 2, 3: ES256, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big"),
        })  # fmt: skip


def _client(kind: str, challenge: str, origin: str) -> bytes:
    told = {"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": False}
    return json.dumps(told).encode()
