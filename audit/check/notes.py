"""Signed notes and checkpoints (C2SP signed-note and tlog-checkpoint), read and checked; keys as vkey lines."""

import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from audit.check.tree import HASH_BYTES

NOTE_BYTES_MAX: Final = 64 * 1024
ED25519: Final = b"\x01"
KEY_ID_BYTES: Final = 4
_SIGNATURE_LINE: Final = re.compile(r"— (?P<name>[^\s+]+) (?P<signature>[A-Za-z0-9+/]+=*)")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")


class BadKey(Exception):
    """Not a vkey line of an Ed25519 key."""


class BadNote(Exception):
    """Not a checkpoint that this key has signed; the message says what is wrong with it."""


@dataclass(frozen=True)
class Checkpoint:
    """The first ``size`` rows, as somebody signed for them."""

    origin: str
    size: int
    root: bytes
    note: str = field(repr=False)
    """The signed note, whole."""


@dataclass(frozen=True)
class VerifierKey:
    """What a log's signatures are checked with: ``name+id+key``, as the log's owner hands it out."""

    name: str
    key_id: bytes
    public: bytes

    @classmethod
    def parse(cls, line: str) -> "VerifierKey":
        """Read a vkey line.

        Raises:
            BadKey: it is none, or not of an Ed25519 key.
        """
        parts = line.strip().split("+", 2)
        try:
            name, key_id, encoded = parts[0], bytes.fromhex(parts[1]), b64decode(parts[2], validate=True)
        except (IndexError, ValueError) as error:
            raise BadKey("a key is written as NAME+ID+BASE64, in one line") from error
        if not name or re.search(r"\s", name):
            raise BadKey("a key's name is not empty and has no spaces")
        if encoded[:1] != ED25519 or len(encoded) != 1 + HASH_BYTES:
            raise BadKey("only Ed25519 keys are known here")
        if key_id != sha256(name.encode() + b"\n" + encoded).digest()[:KEY_ID_BYTES]:
            raise BadKey("the key's id is not that of its name and bytes: a part was mistyped or changed")
        return cls(name, key_id, encoded[1:])

    def open(self, note: bytes) -> Checkpoint:
        """Check a signed note and read the checkpoint in it.

        Raises:
            BadNote: the form or the signature is wrong.
        """
        text, signatures = _parted(note)
        signed = [
            signature[KEY_ID_BYTES:]
            for name, signature in signatures
            if name == self.name and signature[:KEY_ID_BYTES] == self.key_id
        ]
        if not signed:
            raise BadNote(f"not signed by {self.name}")
        for signature in signed:
            self._check(text, signature)
        return _checkpoint(text, note)

    def _check(self, text: str, signature: bytes) -> None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except InvalidSignature as error:
            raise BadNote(f"the signature of {self.name} does not fit the text") from error


def _parted(note: bytes) -> tuple[str, list[tuple[str, bytes]]]:
    """The signed text with its last newline, and who signed what."""
    if len(note) > NOTE_BYTES_MAX:
        raise BadNote(f"longer than {NOTE_BYTES_MAX} bytes")
    try:
        whole = note.decode()
    except UnicodeDecodeError as error:
        raise BadNote("not UTF-8") from error
    if _CONTROL.search(whole):
        raise BadNote("it holds control characters")
    text, parted, rest = whole.rpartition("\n\n")
    if not parted or not rest.endswith("\n"):
        raise BadNote("no signed note: text, an empty line, signatures")
    signatures = []
    for line in rest[:-1].split("\n"):
        found = _SIGNATURE_LINE.fullmatch(line)
        if found is None:
            raise BadNote("a line of signatures is none")
        signatures.append((found["name"], _base64(found["signature"])))
    return text + "\n", signatures


def _checkpoint(text: str, note: bytes) -> Checkpoint:
    origin, *rest = text[:-1].split("\n")
    if len(rest) < 2 or not origin or not all(rest):
        raise BadNote("no checkpoint: origin, size and root, one a line")
    if not _SIZE.fullmatch(rest[0]):
        raise BadNote("the size is no number")
    root = _base64(rest[1])
    if len(root) != HASH_BYTES:
        raise BadNote("the root is no SHA-256 hash")
    return Checkpoint(origin, int(rest[0]), root, note.decode())


def _base64(text: str) -> bytes:
    try:
        found = b64decode(text, validate=True)
    except (NotBase64, ValueError) as error:
        raise BadNote("not base64") from error
    if b64encode(found).decode() != text:
        raise BadNote("base64 with bits that mean nothing")
    return found


def hashes_of(lines: bytes) -> list[bytes]:
    """A proof as it is stored: one base64 hash a line.

    Raises:
        BadNote: it is none.
    """
    try:
        found = [_base64(line) for line in lines.decode().splitlines()]
    except UnicodeDecodeError as error:
        raise BadNote("not UTF-8") from error
    if any(len(each) != HASH_BYTES for each in found):
        raise BadNote("a line is no SHA-256 hash")
    return found
