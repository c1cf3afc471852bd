"""What proofs of absence cost: no look-up is paid for twice, and one look at the account serves all."""

import asyncio
from datetime import UTC, datetime

import pytest
from temporalio.exceptions import ApplicationError

from activities import resolution
from activities.resolution import ResolutionActivities
from broker.budget import NoToken, Share
from broker.errors import BrokerError, NetworkError
from schemas.broker import Account
from schemas.orders import BrokerOrder
from schemas.runs import OrderQuestion, ResolveKind
from tests.postgres.books import market_clock, propose
from tests.postgres.desk import Desk
from tests.postgres.scripted_broker import ScriptedBroker, told
from tests.postgres.test_placement_rows import absence_counts_at_once

__all__ = ["absence_counts_at_once"]

pytestmark = pytest.mark.usefixtures("absence_counts_at_once")

MANY = 10


class Counted(ScriptedBroker):
    """Counts what it is asked; the account answers once ``open`` is set, with ``failure`` where there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.lookups = 0
        self.accounts = 0
        self.failure: BrokerError | None = None
        self.open = asyncio.Event()
        self.open.set()

    async def get_order_by_client_id(self, client_order_id: str) -> BrokerOrder:
        self.lookups += 1
        return await super().get_order_by_client_id(client_order_id)

    async def get_account(self) -> Account:
        self.accounts += 1
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        return await super().get_account()


async def lost(made: Desk, count: int) -> None:
    """That many orders whose POST was never answered."""
    for number in range(count):
        await propose(made.database, f"lost-{number}")
    async with made.database.transaction("test") as connection:
        await connection.execute(
            "update orders set status = 'SUBMITTED', client_order_id = 'c-' || signal_id, post_count = 1,"
            " post_open = true, first_post_at = clock_timestamp(), posting_deadline = clock_timestamp()"
            " where signal_id like 'lost-%'"
        )


async def counted(made: Desk) -> int:
    async with made.database.connection() as connection:
        total: int = await connection.fetchval("select sum(absent_lookups) from orders")
    return total


async def asked(resolver: ResolutionActivities, number: int) -> ResolveKind | str:
    """What one look-up comes to, or the type of its failure."""
    try:
        question = OrderQuestion(signal_id=f"lost-{number}", as_of=datetime.now(UTC))
        return (await resolver.resolve_order(question)).kind
    except ApplicationError as again:
        return again.type or ""


async def test_a_look_up_counts_once_the_account_can_be_asked_and_is_not_paid_for_again(desk: Desk) -> None:
    await lost(desk, 1)
    broker = Counted()
    async with market_clock() as clock:
        resolver = ResolutionActivities(desk.database, broker, clock)  # type: ignore[arg-type]
        broker.failure = NoToken(Share.READS, 6)
        for _ in range(3):
            assert await asked(resolver, 0) == NoToken.code
        assert (broker.lookups, await counted(desk)) == (1, 0)
        broker.failure = None
        for lookups in range(1, resolution.ABSENCE_LOOKUPS):
            assert await asked(resolver, 0) is ResolveKind.UNKNOWN
            assert (broker.lookups, await counted(desk)) == (lookups, lookups), "each counts once"
        broker.orders["c-lost-0"] = told("c-lost-0", "new")
        assert await asked(resolver, 0) is ResolveKind.FOUND


async def test_one_look_at_the_account_serves_all_that_were_told_of_nothing_before(desk: Desk) -> None:
    """How: the account answers, or fails, only when all look-ups have; nobody asks a broker that hangs in turn."""
    await lost(desk, MANY)
    broker = Counted()
    async with market_clock() as clock:
        resolver = ResolutionActivities(desk.database, broker, clock)  # type: ignore[arg-type]
        for failure, expected in (
            (NetworkError("no answer"), NetworkError.code),
            (None, ResolveKind.UNKNOWN),
        ):
            broker.open.clear()
            broker.failure, broker.accounts = failure, 0
            asking = [asyncio.create_task(asked(resolver, number)) for number in range(MANY)]
            async with asyncio.timeout(20):
                while len(resolver._not_found._at) < MANY:
                    await asyncio.sleep(0.01)
            broker.open.set()
            assert await asyncio.gather(*asking) == [expected] * MANY
            assert broker.accounts < MANY / 2, (
                "the one under way when most came, and the next for who came late"
            )
        assert (broker.lookups, await counted(desk)) == (MANY, MANY)
