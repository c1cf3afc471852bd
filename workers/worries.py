"""What a person must hear of when it has lasted, and what ends by itself: loops over rows, beside the workflows."""

from typing import Final

from storage import doubts, funds
from storage.database import Database
from workers.clients import utc_now

WORRY_SECONDS: Final = 5.0
DOUBTS_SECONDS: Final = 10.0
"""Between two look-ups of an order that the broker had shown and now denies."""
COMPONENT: Final = "Operations"


class Worries:
    """Two of them at once do no harm: an alert is one row, and what is over is over."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tell_of_unknowns(self) -> None:
        """Alert of each order whose fate nobody has known for a minute, until it is known."""
        now = utc_now()
        async with self._database.connection() as connection:
            late, over = await doubts.untold(connection)
        for order in late:
            async with self._database.transaction("alerts.unknown_told") as connection:
                await doubts.tell(connection, order, component=COMPONENT, now=now)
        for client_order_id in over:
            async with self._database.transaction("alerts.unknown_over") as connection:
                await doubts.untell(connection, client_order_id, component=COMPONENT, now=now)

    async def cover_funds(self) -> None:
        """Let a strategy buy again once a later account snapshot has what its refused order needed."""
        async with self._database.connection() as connection:
            strategies = await funds.covered_now(connection)
        for strategy in strategies:
            async with self._database.transaction("funds.covered") as connection:
                await funds.cover(connection, strategy, component=COMPONENT, now=utc_now())
