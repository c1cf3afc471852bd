"""A store that hangs is one that does not answer: who asks goes on with other work after some seconds."""

import asyncio
from collections.abc import Coroutine
from datetime import datetime
from typing import Any, Final, TypeVar

from audit.store.port import ObjectStore, StoreUnavailable

ANSWER_SECONDS: Final = 10.0

_T = TypeVar("_T")


class BoundedStore:
    """Another store, each call of it within some seconds.

    A thread that waits for a dead mount cannot be ended: as long as one call hangs no other is begun, so that it is
    one thread and not all. What a late call writes is what was asked for.
    """

    def __init__(self, store: ObjectStore, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._store = store
        self._answer_seconds = answer_seconds
        self._hanging: asyncio.Task[Any] | None = None

    @property
    def place(self) -> str:
        """As the port."""
        return self._store.place

    async def put(self, name: str, content: bytes, *, keep_until: datetime | None = None) -> None:
        """As the port. Raises ObjectDiffers, StoreUnavailable: it hangs too."""
        await self._within(self._store.put(name, content, keep_until=keep_until))

    async def get(self, name: str) -> bytes | None:
        """As the port. Raises StoreUnavailable: it hangs too."""
        return await self._within(self._store.get(name))

    async def names(self, prefix: str = "", *, after: str = "") -> list[str]:
        """As the port. Raises StoreUnavailable: it hangs too."""
        return await self._within(self._store.names(prefix, after=after))

    async def _within(self, work: Coroutine[Any, Any, _T]) -> _T:
        if self._hanging is not None and not self._hanging.done():
            work.close()
            raise StoreUnavailable(f"{self.place}: hangs")
        self._hanging = None
        asked = asyncio.ensure_future(work)
        try:
            done, _ = await asyncio.wait([asked], timeout=self._answer_seconds)
        except asyncio.CancelledError:
            asked.cancel()
            raise
        if not done:
            self._hanging = asked
            asked.add_done_callback(_passed_over)
            raise StoreUnavailable(f"{self.place}: does not answer within {self._answer_seconds:.0f} s")
        return asked.result()


def _passed_over(late: asyncio.Task[Any]) -> None:
    """Nobody asks for it any more."""
    if not late.cancelled():
        late.exception()
