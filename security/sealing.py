"""Small secrets kept in the database, sealed with a key that is not: AES-256-GCM under the console's key."""

import hashlib
import os
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
KEY_ID_BYTES: Final = 4
NONCE_BYTES: Final = 12


class SealError(Exception):
    """The key is none, or something was not sealed with it; the message holds no secret."""


class Sealer:
    """Seals with the first key, opens with any: so a key can be changed without asking everybody anew."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Raises SealError."""
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise SealError(f"the console's key is {2 * KEY_BYTES} hexadecimal digits, one key in a line")
        self._keys = {_key_id(key): AESGCM(key) for key in keys}
        self._first = _key_id(keys[0])

    @classmethod
    def parse(cls, text: str) -> "Sealer":
        """From the secret: keys in hexadecimal, one in a line, the newest first.

        Raises:
            SealError: it is none.
        """
        try:
            return cls([bytes.fromhex(line.strip()) for line in text.split()])
        except ValueError:
            raise SealError(
                f"the console's key is {2 * KEY_BYTES} hexadecimal digits, one key in a line"
            ) from None

    def seal(self, secret: bytes, context: str) -> bytes:
        """The sealed secret, which opens under the same ``context`` only."""
        nonce = os.urandom(NONCE_BYTES)
        return self._first + nonce + self._keys[self._first].encrypt(nonce, secret, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Raises SealError: it was changed, is another's, or its key is gone."""
        key = self._keys.get(sealed[:KEY_ID_BYTES])
        nonce = sealed[KEY_ID_BYTES : KEY_ID_BYTES + NONCE_BYTES]
        if key is None:
            raise SealError("sealed with a key that the console does not have any more")
        try:
            return key.decrypt(nonce, sealed[KEY_ID_BYTES + NONCE_BYTES :], context.encode())
        except (InvalidTag, ValueError):
            raise SealError("not what was sealed") from None


def _key_id(key: bytes) -> bytes:
    """Which key it was; it says nothing of the key."""
    return hashlib.sha256(b"console key id" + key).digest()[:KEY_ID_BYTES]
