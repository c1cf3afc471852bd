"""What Temporal keeps of us, encrypted: AES-256-GCM, with keys that only our own processes hold.

Encrypted are the inputs and results of workflows, activities, signals, updates and queries, memos, summaries,
details, headers, and message and stack of failures. In the clear stays what Temporal itself must read: ids, types
and names, times, queues, a failure's type, and the search attributes ``Ticker``, ``Strategy``, ``Side``,
``OrderStatus`` and ``Flags``.

A payload that no known key opens is handed on as it came. A typed step then fails and is tried again until its key
is there; the kill switch, which takes whatever arrives, engages all the same.

A payload that was not encrypted is read as it is: a history of before, and a signal typed at a terminal.
"""

import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.common import HeaderCodecBehavior
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, PayloadCodec

from observability.failures import EncodingFailureConverter, RedactingFailureConverter
from observability.logging import get_logger, register_secret

ENCODING: Final = b"binary/encrypted"
CIPHER: Final = b"AES-256-GCM"
PURPOSE: Final = b"trading-interface/payload/1\n"
"""Stands before the key id in what is authenticated, so that what was encrypted for anything else opens nothing."""
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
KEYS_MAX: Final = 32
"""Kept for reading: a month of histories under keys that are changed every day."""
UNREADABLE_TOLD_MAX: Final = 100
"""Unknown key ids that are told of, once each."""

_LINE: Final = re.compile(rf"(?P<id>[A-Za-z0-9-]{{1,40}}):(?P<key>[0-9a-f]{{{2 * KEY_BYTES}}})")

_log = get_logger(__name__)


class PayloadKeyError(Exception):
    """Payload keys cannot be used; the message names the line and what to do, never a key."""


class UnreadablePayload(Exception):
    """No known key opens this payload; the message names its key's id."""


@dataclass(frozen=True, repr=False)
class PayloadKeys:
    """Key id → key. The first encrypts, all decrypt."""

    by_id: Mapping[str, bytes]

    @classmethod
    def parse(cls, text: str) -> Self:
        """``ID:KEY`` in a line, the key in hexadecimal; that of the first line encrypts.

        Raises:
            PayloadKeyError: a line is none, an id stands there twice, or there is no key, or too many.
        """
        found: dict[str, bytes] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip():
                continue
            match = _LINE.fullmatch(line.strip())
            if match is None:
                raise PayloadKeyError(
                    f"TRADING_PAYLOAD_KEYS, line {number}: not ID:KEY with {2 * KEY_BYTES} hexadecimal digits"
                )
            if match["id"] in found:
                raise PayloadKeyError(f"TRADING_PAYLOAD_KEYS, line {number}: a second key {match['id']}")
            found[match["id"]] = bytes.fromhex(match["key"])
        if not 0 < len(found) <= KEYS_MAX:
            raise PayloadKeyError(
                f"TRADING_PAYLOAD_KEYS: {len(found)} keys, from 1 to {KEYS_MAX} are possible"
            )
        return cls(found)

    @classmethod
    def generate(cls, now: datetime) -> Self:
        """One new key, named by its day."""
        return cls({f"{now:%Y-%m-%d}-{secrets.token_hex(3)}": secrets.token_bytes(KEY_BYTES)})

    @property
    def newest(self) -> str:
        """The id of the key that encrypts."""
        return next(iter(self.by_id))

    @property
    def text(self) -> str:
        """As it is parsed: a secret."""
        return "".join(f"{name}:{key.hex()}\n" for name, key in self.by_id.items())

    def __repr__(self) -> str:
        return f"PayloadKeys({', '.join(self.by_id)})"


class KeyRing:
    """The keys of this process, which may change while it runs."""

    def __init__(self, keys: PayloadKeys) -> None:
        self.use(keys)

    def use(self, keys: PayloadKeys) -> None:
        """From now on these."""
        for key in keys.by_id.values():
            register_secret(key.hex())
        self._ciphers = {name: AESGCM(key) for name, key in keys.by_id.items()}
        self._newest = keys.newest

    @property
    def ids(self) -> tuple[str, ...]:
        """Known key ids, that of the encrypting key first."""
        return tuple(self._ciphers)

    def seal(self, payload: Payload) -> Payload:
        """Encrypt under the newest key."""
        name, nonce = self._newest, os.urandom(NONCE_BYTES)
        sealed = self._ciphers[name].encrypt(nonce, payload.SerializeToString(), _authenticated(name))
        return Payload(
            metadata={
                "encoding": ENCODING,
                "encryption-cipher": CIPHER,
                "encryption-key-id": name.encode(),
            },
            data=nonce + sealed,
        )

    def open(self, payload: Payload) -> Payload:
        """Decrypt; what is not encrypted is returned as it is.

        Raises:
            UnreadablePayload: under no known key, changed, or cut.
        """
        if not is_sealed(payload):
            return payload
        name = key_id_of(payload)
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise UnreadablePayload(f"encrypted under the key {name!r}, which is not known here")
        nonce, sealed = payload.data[:NONCE_BYTES], payload.data[NONCE_BYTES:]
        try:
            return Payload.FromString(cipher.decrypt(nonce, sealed, _authenticated(name)))
        except (InvalidTag, ValueError, DecodeError):
            raise UnreadablePayload(f"the key {name!r} does not open it: it was changed or cut") from None

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self.ids)})"


def is_sealed(payload: Payload) -> bool:
    """Whether it says that it is encrypted."""
    return bool(payload.metadata.get("encoding") == ENCODING)


def key_id_of(payload: Payload) -> str:
    """The id of the key it says it was encrypted under."""
    return payload.metadata.get("encryption-key-id", b"").decode("utf-8", "replace")[:40]


def _authenticated(name: str) -> bytes:
    return PURPOSE + name.encode()


class SealingCodec(PayloadCodec):
    """Encrypts what leaves for Temporal, decrypts what comes from it. Runs outside the workflow sandbox."""

    def __init__(self, ring: KeyRing, *, writes: bool = True) -> None:
        """Without ``writes`` it only reads: what was encrypted before stays readable, what is new is plain."""
        self._ring = ring
        self._writes = writes
        self._told: set[str] = set()

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """One encrypted payload for each."""
        return [self._ring.seal(each) for each in payloads] if self._writes else list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """One readable payload for each; what no key opens as it came."""
        return [self._opened(each) for each in payloads]

    def _opened(self, payload: Payload) -> Payload:
        try:
            return self._ring.open(payload)
        except UnreadablePayload as error:
            name = key_id_of(payload)
            if name not in self._told and len(self._told) < UNREADABLE_TOLD_MAX:
                self._told.add(name)
                _log.error("a payload from Temporal cannot be read", reason=str(error), known=self._ring.ids)
            return payload


def data_converter(ring: KeyRing | None, *, writes: bool = True) -> DataConverter:
    """The converter of every client of ours. None: payloads are plain, and what is encrypted is not read."""
    if ring is None:
        return replace(pydantic_data_converter, failure_converter_class=RedactingFailureConverter)
    return replace(
        pydantic_data_converter,
        payload_codec=SealingCodec(ring, writes=writes),
        failure_converter_class=EncodingFailureConverter if writes else RedactingFailureConverter,
    )


def header_behavior(ring: KeyRing | None) -> HeaderCodecBehavior:
    """Headers (the trace) go the way of payloads; plain ones are read as they are."""
    return HeaderCodecBehavior.NO_CODEC if ring is None else HeaderCodecBehavior.CODEC
