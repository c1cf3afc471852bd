"""What several tests of the rows start from."""

from collections.abc import AsyncIterator

import pytest

from schemas.reconciliation import Outcome
from storage.database import Database
from tests.postgres.audited import audit_differences
from tests.postgres.books import prepare
from tests.postgres.broker_books import SetBroker, Steps, own_order
from tests.postgres.desk import Desk, at_the_desk


@pytest.fixture
async def desk(database: str) -> AsyncIterator[Desk]:
    """Give one approved order that may be placed."""
    async with at_the_desk(database) as made:
        yield made
        assert await audit_differences(made.database, orders=True) == []


@pytest.fixture
async def rows(database: str) -> AsyncIterator[Database]:
    """Give a database with limits and quotes."""
    opened = await Database.connect(database)
    await prepare(opened)
    yield opened
    assert await audit_differences(opened, orders=False) == []
    await opened.close()


@pytest.fixture
def broker() -> SetBroker:
    """Give an account that holds nothing but cash."""
    return SetBroker()


@pytest.fixture
async def steps(rows: Database, broker: SetBroker) -> Steps:
    """Give the steps on books that were opened with that cash, and an order of ours that rests."""
    found = Steps(rows, broker)
    assert (await found.run()).outcome is Outcome.OPENED
    await own_order(rows)
    broker.open_order("b-own", "ti-own")
    return found
