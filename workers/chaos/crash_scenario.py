"""What a scenario of the crash sweep is."""

from contextlib import AsyncExitStack
from typing import ClassVar

from schemas.orders import OrderStatus
from storage.orders import StoredOrder
from workers.chaos.crash_play import RESTING, Play


class Scenario:
    """One run: ``prepare``; its point is ordered; ``provoke`` until somebody has died there; ``finish``."""

    covers: ClassVar[tuple[str, ...]] = ()
    """The commits and calls that it passes."""
    again_seconds: ClassVar[float | None] = None
    """Provoke again when nobody has died for so long."""
    at_once: ClassVar[bool] = False
    """All its runs are prepared side by side, as that takes long."""
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
        self._holds = holds
        self.made: list[str] = []
        """What was named by `new_id`: signals, or runs of the reconciliation."""

    async def take_ticker(self) -> None:
        """From now on, one that no other order of these runs has."""
        self.ticker = await self._holds.enter_async_context(self.play.ticker())

    def new_id(self) -> str:
        self.made.append(f"{self.tag}.{len(self.made)}")
        return self.made[-1]

    @property
    def signal_id(self) -> str:
        """The last one made."""
        return self.made[-1]

    async def prepare(self) -> None:
        """What must stand before the point is ordered."""

    async def provoke(self) -> None:
        """Make somebody pass the point."""

    async def finish(self) -> None:
        """Wait for the right end, whoever died.

        Raises:
            WrongEnd: it did not come.
        """

    async def rest(self) -> StoredOrder:
        """Let an order of ours rest at the broker, below the market."""
        signal_id = self.new_id()
        await self.play.submit(
            signal_id, ticker=self.ticker, order_type="LIMIT", limit_price=RESTING, time_in_force="DAY"
        )
        return await self.play.until(
            signal_id, lambda order: order.status is OrderStatus.ACKNOWLEDGED, what="at rest"
        )
