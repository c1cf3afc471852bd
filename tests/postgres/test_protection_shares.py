"""Legs and closing orders share what is held: never are the same shares sold twice, whoever comes first."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from schemas.protection import Act
from schemas.runs import OrderQuestion, PlaceAnswer, PlaceKind
from schemas.wire import Leg
from storage.orders import lock_order
from storage.protection import read_leg_basis
from tests.postgres.test_protection_rows import Floor, floor, protected

__all__ = ["floor"]

D = Decimal
CLOSE: dict[str, Any] = {"action": "SELL_TO_CLOSE", "quantity": D(10), "limit_price": D(99)}


async def again(floor: Floor, signal_id: str) -> PlaceAnswer:
    """One more try of an entry that is approved."""
    return await floor.placement.place_order(OrderQuestion(signal_id=signal_id, as_of=datetime.now(UTC)))


async def test_a_leg_does_not_leave_with_shares_that_a_closing_order_has(floor: Floor) -> None:
    view = await protected(floor)
    assert view.act is Act.PLACE
    assert (await floor.entry("s2", **CLOSE)).kind is PlaceKind.PLACED
    assert (await floor.place(view)).kind is PlaceKind.RECHECK
    assert len(floor.broker.posts) == 2, "entry and close"
    assert (await floor.review()).target == D(0)


async def test_a_closing_order_waits_for_an_intent_that_is_about_to_be_stored(floor: Floor) -> None:
    """Both have looked before either has written: the lots' lock lets one of them see the other."""
    await protected(floor)
    async with floor.database.transaction("test") as connection:
        locked = await lock_order(connection, "s1", Leg.STOP)
        assert await read_leg_basis(locked) is not None
        closing = asyncio.create_task(floor.entry("s2", **CLOSE))
        await until_it_waits(floor)
        await connection.execute(
            "update orders set status = 'SUBMITTED', post_count = 1, client_order_id = 'c', request = '{}',"
            " first_post_at = now(), posting_deadline = now() where leg = 'stop'"
        )
    with pytest.raises(ApplicationError) as waits:
        await closing
    assert waits.value.type == "SHARES_HELD"
    assert len(floor.broker.posts) == 1, "the entry alone"


async def until_it_waits(floor: Floor) -> None:
    """Until a session of this database waits for another's lock."""
    async with asyncio.timeout(10), floor.database.connection() as connection:
        while not await connection.fetchval(
            "select exists (select from pg_stat_activity where wait_event_type = 'Lock'"
            " and datname = current_database())"
        ):
            await asyncio.sleep(0.01)
