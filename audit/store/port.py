"""Where objects lie outside the database: written once under a name, read again, listed.

One port for both uses: what a sealed log leaves outside (checkpoints, leaves), and cold storage.
"""

import re
from datetime import datetime
from typing import Final, Protocol

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)*")
"""No name leads out of the store or hides in it."""


class StoreUnavailable(Exception):
    """The store does not answer or cannot be used; nothing is known of what was asked. Try again."""


class StoreRefused(StoreUnavailable):
    """It answers and refuses: credentials, bucket or rights are wrong. Only a person can mend that."""


class ObjectDiffers(Exception):
    """Under that name stands something else, and stays. Names are written once, so one of the two writers is not
    ours, or our database is not what it was.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} stands outside the database with another content")


class ObjectStore(Protocol):
    """A store whose objects never change. Every method raises StoreUnavailable, or its kind StoreRefused."""

    @property
    def place(self) -> str:
        """Where it is, for people; no secret is in it."""
        ...

    async def put(self, name: str, content: bytes, *, keep_until: datetime | None = None) -> None:
        """Store an object, whole or not at all; the same content again is harmless.

        ``keep_until``: until then nobody can delete it, where the store can see to that.

        Raises:
            ObjectDiffers: the name is taken by another content.
        """
        ...

    async def get(self, name: str) -> bytes | None:
        """The content first stored under that name, None where there is none."""
        ...

    async def names(self, prefix: str = "", *, after: str = "") -> list[str]:
        """The names that begin with ``prefix`` and sort behind ``after``, in order."""
        ...


def check_name(name: str) -> str:
    """Return ``name`` if an object may be called so.

    Raises:
        ValueError: it may not.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"no name of an object: {name!r}")
    return name


def check_prefix(prefix: str) -> str:
    """Return ``prefix`` if names may begin so.

    Raises:
        ValueError: none does.
    """
    if prefix:
        check_name(prefix.removesuffix("/"))
    return prefix
