"""What several tests of the rows start from."""

from collections.abc import AsyncIterator

import pytest

from tests.postgres.desk import Desk, at_the_desk


@pytest.fixture
async def desk(database: str) -> AsyncIterator[Desk]:
    """Give one approved order that may be placed."""
    async with at_the_desk(database) as made:
        yield made
