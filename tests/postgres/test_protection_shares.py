"""Legs and closing orders share what is held: never are the same shares sold twice, whoever comes first."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities.evidence import take_in
from schemas.orders import BrokerOrder, OrderView, Side
from schemas.protection import Act
from schemas.runs import OrderQuestion, PlaceAnswer, PlaceKind, RiskQuestion
from schemas.wire import Leg
from storage.orders import lock_order, read_order
from storage.placement import write_pre_trade
from storage.protection import read_leg_basis
from tests.postgres.books import propose
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


async def waiting_for_the_stop(floor: Floor) -> OrderView:
    """Ten held under a live stop, and an approved sale of the ten that wants it gone."""
    await floor.place(await protected(floor))
    with pytest.raises(ApplicationError) as waits:
        await floor.entry("s2", **CLOSE)
    assert waits.value.type == "SHARES_HELD"
    return await floor.stop()


async def test_a_sale_of_what_the_stop_has_sold_meanwhile_is_refused(floor: Floor) -> None:
    stop = await waiting_for_the_stop(floor)
    await floor.filled(stop, 10, price="95")
    answer = await again(floor, "s2")
    assert (answer.kind, answer.order.reason) == (PlaceKind.ENDED, "SELL_MORE_THAN_HELD")
    assert len(floor.broker.posts) == 2, "entry and stop"


async def test_a_sale_waits_for_executions_that_the_stop_has_made_and_nobody_has_told(floor: Floor) -> None:
    stop = await waiting_for_the_stop(floor)
    assert stop.broker_order_id is not None
    filled = BrokerOrder(
        broker_order_id=stop.broker_order_id, client_order_id=stop.client_order_id or "", ticker="AAPL",
        side=Side.SELL, raw_type="stop", raw_time_in_force="gtc", raw_status="filled", quantity=D(10),
        filled_quantity=D(10), stop_price=D(95), created_at=datetime.now(UTC),
    )  # fmt: skip
    await take_in(floor.database, filled, now=datetime.now(UTC), source="look-up after the cancel")
    with pytest.raises(ApplicationError) as waits:
        await again(floor, "s2")
    assert waits.value.type == "SHARES_HELD"
    await floor.filled(stop, 10, price="95")
    assert (await again(floor, "s2")).kind is PlaceKind.ENDED
    assert len(floor.broker.posts) == 2, "entry and stop"


async def test_a_short_position_is_nothing_to_sell(floor: Floor) -> None:
    """What was long at the approval may be short at the try."""
    await floor.filled((await floor.entry("p1")).order, 10)
    await propose(floor.database, "s2", **CLOSE)
    await floor.risk.assess_risk(RiskQuestion(signal_id="s2", as_of=datetime.now(UTC)))
    await floor.set("update positions set quantity = -10")
    async with floor.database.transaction("test") as connection:
        await write_pre_trade(connection, await read_order(connection, "s2"), datetime.now(UTC))
    assert (await again(floor, "s2")).order.reason == "SELL_MORE_THAN_HELD"


async def test_shares_that_a_resting_sale_keeps_without_a_stop_are_told_of(floor: Floor) -> None:
    await protected(floor)
    assert (await floor.entry("s2", **{**CLOSE, "quantity": D(4)})).kind is PlaceKind.PLACED
    await floor.place(await floor.review())
    await floor.review()
    assert await floor.unprotected() == []
    await floor.set("update orders set created_at = created_at - interval '6 minutes' where signal_id = 's2'")
    await floor.review()
    (text,) = await floor.unprotected()
    assert text.startswith("4 shares long AAPL of momentum have had no stop at 95.00 since")
    await floor.filled((await read_entry(floor, "s2")), 4)
    await floor.review()
    assert await floor.unprotected() == []


async def read_entry(floor: Floor, signal_id: str) -> OrderView:
    async with floor.database.connection() as connection:
        return (await read_order(connection, signal_id)).view
