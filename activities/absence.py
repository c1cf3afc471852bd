"""What counts a look-up that found nothing: a broker that answers otherwise. No request for it is spent twice."""

import asyncio
import time
from typing import TYPE_CHECKING, Final
from uuid import UUID

from broker.errors import BrokerError

if TYPE_CHECKING:
    from broker.port import BrokerReader

KEPT_SECONDS: Final = 60.0
"""How old a look-up may be when it is counted. The account's share refills within a few seconds."""


class Answering:
    """Whether the broker answers otherwise: asked once for all whose look-ups found nothing before."""

    def __init__(self, broker: "BrokerReader") -> None:
        self._broker = broker
        self._answered_at_seconds = float("-inf")
        """When that was asked which was answered last. Monotonic."""
        self._asked_at_seconds = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def since(self, moment: float) -> None:
        """Return once the broker has answered what was asked after ``moment``, in monotonic seconds.

        Raises:
            BrokerError: it has not.
        """
        while self._answered_at_seconds < moment:
            if self._asking is None:
                self._asked_at_seconds = time.monotonic()
                self._asking = asyncio.create_task(self._ask(self._asked_at_seconds), name="account asked")
            is_ours = self._asked_at_seconds >= moment
            try:
                await asyncio.shield(self._asking)
            except BrokerError:
                if is_ours:
                    raise

    async def _ask(self, asked_at_seconds: float) -> None:
        try:
            await self._broker.get_account()
            self._answered_at_seconds = asked_at_seconds
        finally:
            self._asking = None


class NotFoundYet:
    """Look-ups of this process that found nothing and were not counted, for want of a request for the rest."""

    def __init__(self) -> None:
        self._at: dict[tuple[UUID, int], float] = {}
        """By order and number of its POSTs. Monotonic."""

    def put(self, order: UUID, posts: int) -> float:
        """It was not found just now. Returns when, in monotonic seconds."""
        now = time.monotonic()
        self._at = {each: at for each, at in self._at.items() if now - at <= KEPT_SECONDS}
        self._at[order, posts] = now
        return now

    def get(self, order: UUID, posts: int) -> float | None:
        """When it was not found, if that is not counted yet and not too long ago."""
        at = self._at.get((order, posts))
        return at if at is not None and time.monotonic() - at <= KEPT_SECONDS else None

    def drop(self, order: UUID, posts: int) -> None:
        """It is counted: the next one must be asked anew."""
        self._at.pop((order, posts), None)
