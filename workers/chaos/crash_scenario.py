"""What a scenario of the crash sweep is."""

from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from itertools import count
from typing import ClassVar

from schemas.orders import OrderStatus
from storage.orders import OrderNotFound, StoredOrder
from workers.chaos.crash_play import NEIGHBOURS, NOTHING_FRESH, RESTING, Play, WrongEnd

TRIES_MAX = 5


class Scenario:
    """One run: ``prepare``; its point is ordered; ``provoke`` until somebody has died there; ``finish``."""

    covers: ClassVar[tuple[str, ...]] = ()
    """The commits and calls that it passes."""
    again_seconds: ClassVar[float | None] = None
    """Provoke again when nobody has died for so long."""
    at_start: ClassVar[bool] = False
    """Its points are passed by a process that starts: it need not be ready."""
    cannot_wait: ClassVar[bool] = False
    """Its moment comes and goes: it dies beside the others and not in its turn."""
    alone: ClassVar[bool] = False
    """Nothing else goes on meanwhile."""
    together: ClassVar[bool] = False
    """All its points are ordered at once, and one run passes them all."""

    def __init__(self, play: Play, tag: str, points: tuple[str, ...], holds: AsyncExitStack) -> None:
        """``holds`` ends with the run."""
        self.play = play
        self.tag = tag
        self.points = points
        self.ticker = ""
        self._taken: list[str] = []
        self._holds = holds
        self._numbers = count()
        self.made: list[str] = []
        """What was named by `new_id`: signals, or runs of the reconciliation."""

    async def take_ticker(self) -> None:
        """From now on, one that no other order of these runs has."""
        self.ticker = await self._holds.enter_async_context(self.play.tickers.one())
        self._taken.append(self.ticker)

    def leave_tickers(self) -> None:
        """Nobody gets its tickers again: an order of a run that did not end well may go on there."""
        for ticker in self._taken:
            self.play.tickers.leave(ticker)

    def new_id(self) -> str:
        self.made.append(f"{self.tag}.{next(self._numbers)}")
        return self.made[-1]

    @property
    def signal_id(self) -> str:
        """The last one made."""
        return self.made[-1]

    async def prepare(self) -> None:
        """What must stand before the point is ordered."""

    async def hold(self) -> None:
        """What else must stand, while nobody but us makes the victim die."""

    async def provoke(self) -> None:
        """Make somebody pass the point."""

    async def clear(self) -> None:
        """What must not outlive the provoking, however that ends."""

    async def finish(self) -> None:
        """Wait for the right end, whoever died.

        Raises:
            WrongEnd: it did not come.
        """

    async def rest(self, **fields: str) -> StoredOrder:
        """Let an order of ours rest at the broker, below the market."""
        resting = {"order_type": "LIMIT", "limit_price": RESTING} | fields
        return await self.sent(lambda order: order.status is OrderStatus.ACKNOWLEDGED, **resting)

    async def sent(self, stands: Callable[[StoredOrder], bool], **fields: str) -> StoredOrder:
        """Propose until an order stands as wanted: one that comes too late to leave is followed by another.

        Raises:
            WrongEnd: none ever does.
        """
        away: list[str] = []
        for _ in range(TRIES_MAX):
            signal_id = self.new_id()
            await self.play.submit(signal_id, ticker=self.ticker, **fields)
            order = await self.play.until(
                signal_id, lambda order: stands(order) or order.settled, what="at the broker"
            )
            if stands(order):
                # What came too late is made good: the run shows what it was for.
                self.made = [each for each in self.made if each not in away]
                return order
            await self.play.filled(signal_id)
            away.append(signal_id)
        raise WrongEnd(f"{self.tag}: no order came to the broker")

    async def was_turned_away(self, *, wrong: bool) -> bool:
        """Whether one of its signals was refused because nothing fresh was known when its turn came; where the
        run went wrong, also because of what a neighbour had brought about.
        """
        if not wrong:
            return not self.play.refused.isdisjoint(self.made)
        away = False
        for signal_id in self.made:
            with suppress(OrderNotFound):
                order = await self.play.order(signal_id)
                reasons = set((order.reason or "").split(","))
                if order.status is OrderStatus.REJECTED and reasons <= NOTHING_FRESH | NEIGHBOURS:
                    self.play.refused.add(signal_id)
                    away = True
        return away
