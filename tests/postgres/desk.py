"""An approved order that may be placed on a scripted broker, and the steps that place, look up and end it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from activities.order_end import OrderEndActivities
from activities.placement import PlacementActivities
from activities.resolution import ResolutionActivities
from activities.risk import RiskActivities
from observability.metrics import Metrics
from schemas.runs import OrderQuestion, RiskQuestion
from storage import placement as rows
from storage.database import Database
from storage.orders import read_order
from storage.switches import bind_installation
from tests.postgres.books import market_clock, prepare, propose, reconciled
from tests.postgres.scripted_broker import NoLimit, ScriptedBroker
from tests.servers.approvals import KEYS, SIGNER

SIGNAL = "s1"


def question() -> OrderQuestion:
    return OrderQuestion(signal_id=SIGNAL, as_of=datetime.now(UTC))


@dataclass
class Desk:
    """An approved order that may be placed, and the steps that do it."""

    database: Database
    broker: ScriptedBroker
    budget: NoLimit
    placement: PlacementActivities
    resolution: ResolutionActivities
    end: OrderEndActivities

    async def place(self) -> Any:
        """One try, right after the pre-trade checks."""
        async with self.database.transaction("test") as connection:
            await rows.write_pre_trade(connection, await read_order(connection, SIGNAL), datetime.now(UTC))
        return await self.placement.place_order(question())

    async def unanswered(self) -> tuple[str, ...]:
        async with self.database.connection() as connection:
            return await rows.unanswered_posts(connection, grace_seconds=5)


@asynccontextmanager
async def at_the_desk(database: str) -> AsyncIterator[Desk]:
    opened = await Database.connect(database, fences=True)
    await prepare(opened)
    await reconciled(opened)
    async with opened.transaction("test") as connection:
        installation = await bind_installation(connection, account="A1", mode="paper", now=datetime.now(UTC))
    await propose(opened, SIGNAL)
    broker: Any = ScriptedBroker()
    budget = NoLimit()
    async with market_clock() as clock:
        risk = RiskActivities(opened, clock, Metrics(), now=lambda: datetime.now(UTC), signer=SIGNER)
        await risk.assess_risk(RiskQuestion(signal_id=SIGNAL, as_of=datetime.now(UTC)))
        yield Desk(
            opened,
            broker,
            budget,
            PlacementActivities(opened, broker, clock, installation, Metrics(), budget, KEYS),
            ResolutionActivities(opened, broker, clock),
            OrderEndActivities(opened, broker, clock),
        )
    await opened.close()
