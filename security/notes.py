"""The key of the audit log's checkpoints, and what it signs: C2SP signed notes, Ed25519."""

import base64
import hashlib
import re
from typing import Final, Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

AUDIT_KEY: Final = "trading_audit_key"
"""The file of the key in a folder of secrets."""
ED25519: Final = b"\x01"
"""The algorithm's byte in a key's id and text."""
KEY_ID_BYTES: Final = 4
KEY_HEX_DIGITS: Final = 64
_KEY: Final = re.compile(rf"[0-9a-f]{{{KEY_HEX_DIGITS}}}")
_NAME: Final = re.compile(r"[^\s+]+")


class AuditKeyError(Exception):
    """The key of checkpoints cannot be used; the message names its setting and never a value."""


class NoteSigner:
    """A named key that signs notes."""

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        """``name`` has neither spaces nor ``+``: it is the log's origin line too."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"not the name of a key: {name!r}")
        self.name: Final = name
        self._private = private
        self._public = private.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        self._key_id = key_id(name, self._public)

    @classmethod
    def from_hex(cls, name: str, text: str) -> Self:
        """Raises:
        AuditKeyError: not a private key in hexadecimal.
        """
        if not _KEY.fullmatch(text.strip().lower()):
            raise AuditKeyError(f"TRADING_AUDIT_KEY is not {KEY_HEX_DIGITS} hexadecimal digits")
        return cls(name, Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text.strip())))

    @property
    def vkey(self) -> str:
        """The public half as auditors are given it: ``name+id+key``."""
        return f"{self.name}+{self._key_id.hex()}+{base64.b64encode(ED25519 + self._public).decode()}"

    def sign(self, text: str) -> str:
        """The note: ``text``, which ends with a newline, an empty line, and the signature."""
        if not text.endswith("\n"):
            raise ValueError("a note's text ends with a newline")
        signature = base64.b64encode(self._key_id + self._private.sign(text.encode())).decode()
        return f"{text}\n\N{EM DASH} {self.name} {signature}\n"


def key_id(name: str, public_key: bytes) -> bytes:
    """How a signature names its key: four bytes."""
    return hashlib.sha256(name.encode() + b"\n" + ED25519 + public_key).digest()[:KEY_ID_BYTES]


def checkpoint_text(origin: str, size: int, root: bytes) -> str:
    """What a checkpoint says, before it is signed (C2SP tlog-checkpoint)."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def origin_of(namespace: object) -> str:
    """The log of one installation, by its database's namespace; its key has the same name."""
    return f"trading-interface/audit/{namespace}"
