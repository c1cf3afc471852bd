"""The broker's keys as one process holds them: replaced while it runs, by everyone who uses them at once.

A request in flight keeps the client, and so the keys, it began with; the next one takes the new.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import SecretStr

Listener = Callable[[], None]


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Key id and secret, which belong together. ``repr`` shows neither."""

    key_id: SecretStr
    secret_key: SecretStr


class BrokerKeys:
    """One for all clients and streams of a process."""

    def __init__(self, pair: KeyPair) -> None:
        self._current: KeyPair = pair
        self._replaced: list[Listener] = []
        self._refused: list[Listener] = []

    @property
    def current(self) -> KeyPair:
        """What a new request or connection is to be made with. Any thread may ask."""
        return self._current

    def replace(self, pair: KeyPair) -> None:
        """Use ``pair`` from now on; who holds a connection opened with the old one is told."""
        self._current = pair
        for listener in tuple(self._replaced):
            listener()

    def on_replaced(self, listener: Listener) -> None:
        """Call it after each ``replace``, in the same thread."""
        self._replaced.append(listener)

    def forget(self, listener: Listener) -> None:
        """Call it no more."""
        self._replaced.remove(listener)

    def on_refused(self, listener: Listener) -> None:
        """Call it, in any thread, when the broker does not accept the keys that are current."""
        self._refused.append(listener)

    def tell_refused(self, pair: KeyPair) -> bool:
        """The broker did not accept ``pair``. False: of keys that are replaced meanwhile that is no news."""
        if pair is not self._current:
            return False
        for listener in tuple(self._refused):
            listener()
        return True
