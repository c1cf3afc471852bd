"""Signed notes read without a line of ours."""

import base64
import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def opened(note: str, vkey: str) -> str:
    """The text of a note that this key has signed, read as C2SP's page says; fails for any other."""
    name, told_id, key = vkey.split("+", 2)
    raw = base64.b64decode(key)
    assert raw[:1] == b"\x01"
    assert hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4].hex() == told_id
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    dash, signer, encoded = signatures.rstrip("\n").split(" ")
    signature = base64.b64decode(encoded)
    assert (dash, signer, signature[:4].hex()) == ("\N{EM DASH}", name, told_id)
    Ed25519PublicKey.from_public_bytes(raw[1:]).verify(signature[4:], text.encode())
    return text
