"""Which key pairs the exchange takes. Others may be added and revoked while it runs; the ledger keeps no secret."""

import hashlib
import hmac
from collections.abc import Callable
from typing import Any

from pydantic import SecretStr

ACCEPT = "accept_key"
REVOKE = "revoke_key"
Revoked = Callable[[str], None]


def digest(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


class AcceptedKeys:
    """The pair the exchange was started with, and those that its control routes added."""

    def __init__(self, key: SecretStr, secret: SecretStr) -> None:
        self._own = (key.get_secret_value(), digest(secret.get_secret_value()))
        self._digests = dict([self._own])
        self._listeners: list[Revoked] = []

    def is_authentic(self, key: str, secret: str) -> bool:
        """Whether the trading and data doors take this pair now."""
        return _same(self._digests.get(key, ""), secret)

    def is_owner(self, key: str, secret: str) -> bool:
        """Whether this is the pair it was started with: its control routes take that even when it is revoked."""
        return key == self._own[0] and _same(self._own[1], secret)

    def on_revoked(self, listener: Revoked) -> None:
        self._listeners.append(listener)

    def accept(self, key: str, secret_digest: str) -> None:
        self._digests[key] = secret_digest

    def revoke(self, key: str) -> None:
        """Take it no more, and end the connections that were opened with it. Raises KeyError: never accepted."""
        del self._digests[key]
        for listener in self._listeners:
            listener(key)

    def replay(self, record: dict[str, Any]) -> None:
        """Do again what a control record tells of, after a restart."""
        if record["control"] == ACCEPT:
            self.accept(record["key"], record["secret_sha256"])
        else:
            self._digests.pop(record["key"], None)


def _same(kept: str, secret: str) -> bool:
    return hmac.compare_digest(kept, digest(secret))
