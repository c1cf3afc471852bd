"""Following the demonstration's signals by their rows, until each has ended."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from storage.orders import LIST_MAX, StoredOrder, list_orders
from storage.risk import StoredDecision, read_decision
from storage.signals import read_signal

if TYPE_CHECKING:
    import asyncpg

POLL_SECONDS: Final = 0.2


@dataclass(frozen=True)
class Line:
    """One signal as it stands: a line of the live table."""

    signal_id: str
    received_at: datetime
    order: StoredOrder
    decision: StoredDecision | None

    @property
    def risk(self) -> str:
        """What risk said."""
        if self.decision is None:
            return ""
        return "approved" if self.decision.approved else "rejected"

    @property
    def pre_trade(self) -> str:
        """What the last checks before the broker said."""
        if self.decision is None or not self.decision.approved:
            return ""
        if self.order.post_count:
            return "passed"
        return "refused" if self.order.status.is_final else ""

    @property
    def ended(self) -> bool:
        """Nothing more will happen."""
        return self.order.status.is_final and self.order.settled

    def elapsed_seconds(self, now: datetime) -> float:
        """From acceptance to the end, or to ``now``."""
        return ((self.order.updated_at if self.ended else now) - self.received_at).total_seconds()


class Follower:
    """Reads the rows of some signals again and again, cheaply."""

    def __init__(self, connection: "asyncpg.Connection[Any]") -> None:
        self._connection = connection
        self._ids: list[str] = []
        self._received: dict[str, datetime] = {}
        self._decisions: dict[str, StoredDecision] = {}

    def add(self, signal_ids: Sequence[str]) -> None:
        """Follow these too; the gateway has accepted them."""
        self._ids += signal_ids

    async def lines(self) -> list[Line]:
        """Every followed signal as it stands now."""
        found = await list_orders(self._connection, limit=LIST_MAX)
        orders = {order.signal_id: order for order in found}
        return [await self._line(signal_id, orders[signal_id]) for signal_id in self._ids]

    async def until(
        self, done: Callable[[list[Line]], bool], *, seconds_max: float, show: Callable[[list[Line]], None]
    ) -> list[Line]:
        """Show the lines as they change until ``done`` or the time is over; the last ones are returned."""
        deadline = time.monotonic() + seconds_max
        while True:
            lines = await self.lines()
            show(lines)
            if done(lines) or time.monotonic() > deadline:
                return lines
            await asyncio.sleep(POLL_SECONDS)

    async def _line(self, signal_id: str, order: StoredOrder) -> Line:
        if signal_id not in self._received:
            self._received[signal_id] = (await read_signal(self._connection, signal_id)).received_at
        if signal_id not in self._decisions and (
            decision := await read_decision(self._connection, signal_id)
        ):
            self._decisions[signal_id] = decision
        return Line(signal_id, self._received[signal_id], order, self._decisions.get(signal_id))
