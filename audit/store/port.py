"""Where objects lie outside the database: written once under a name, read again, listed.

One port for both uses: what a sealed log leaves outside (checkpoints, leaves), and cold storage.
"""

import re
from datetime import datetime
from typing import Final, Protocol

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)*")
"""No name leads out of the store or hides in it."""


class StoreError(Exception):
    """The store did not do what was asked. Nothing that it held before is changed."""


class StoreUnavailable(StoreError):
    """It does not answer, or not now: ask again. A put may have been done all the same."""


class StoreRefused(StoreError):
    """It answers and refuses: credentials, bucket or rights are wrong. Only a person can mend that."""


class ObjectDiffers(StoreError):
    """Something else stands under that name already; it stays."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}: something else stands under that name already")


class ObjectStore(Protocol):
    """A store whose objects never change. Every method raises StoreUnavailable or StoreRefused."""

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

    async def names(self, prefix: str = "") -> list[str]:
        """The names that begin so, in order."""
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
