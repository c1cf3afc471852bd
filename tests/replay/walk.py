"""What each path of a recording is walked with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from temporalio.client import Client, WorkflowHandle

from market.calendar import TradingCalendar
from schemas.orders import TimeInForce
from schemas.wire import Queue
from tests.workflow.book import proposal
from tests.workflow.protected import ProtectedBroker
from tests.workflow.running import (
    Order,
    outcome,
    start,
    workers,
)
from tests.workflow.scripted import TUESDAY_NOON, ScriptedBroker

COMPACT: Final = "compact"
ISOLATED: Final = "isolated"

AnyHandle = WorkflowHandle[Any, Any]


@dataclass(frozen=True)
class Walk:
    """What a path is walked with."""

    client: Client
    calendar: TradingCalendar
    path: str
    topology: str

    @property
    def name(self) -> str:
        return f"{self.path}-{self.topology}"

    def queue(self, role: Queue) -> str:
        """Where a workflow of that role runs."""
        return (Queue.TRADING if self.topology == COMPACT else role).value

    def broker(self, market_start: datetime = TUESDAY_NOON) -> ScriptedBroker:
        """The broker of this walk's one order."""
        proposed = proposal(self.name, time_in_force=TimeInForce.GTC)
        return ScriptedBroker(proposed, self.calendar, market_start=market_start)

    def protected(self, **fields: Any) -> ProtectedBroker:
        """The broker of an entry with a hard stop loss."""
        proposed = proposal(self.name, time_in_force=TimeInForce.GTC, **fields)
        return ProtectedBroker(proposed, self.calendar)

    @asynccontextmanager
    async def order(self, broker: ScriptedBroker) -> AsyncIterator[Order]:
        """Run the order, which has come to its end when the block has."""
        queue = self.queue(Queue.ORDERS)
        async with workers(self.client, broker, queue):
            order = await start(self.client, broker, queue)
            yield order
            await outcome(order)
