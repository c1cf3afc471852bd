"""The store outside the database, as the verifier reads it."""

from audit.check.outside import OutsideUnreadable
from audit.store.port import ObjectStore, StoreUnavailable


class StoreOutside:
    """A store's objects; that it does not answer, or refuses, says nothing of the log."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def names(self, prefix: str, *, after: str = "") -> list[str]:
        """As `audit.check.outside.Outside`."""
        try:
            return await self._store.names(prefix, after=after)
        except StoreUnavailable as error:
            raise OutsideUnreadable(f"{self._store.place}: {error}") from error

    async def get(self, name: str) -> bytes | None:
        """As `audit.check.outside.Outside`."""
        try:
            return await self._store.get(name)
        except StoreUnavailable as error:
            raise OutsideUnreadable(f"{self._store.place}: {error}") from error
