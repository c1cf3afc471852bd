"""A leg that was proved unsent gets the size and price of now; one that may stand at the broker is left alone."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from temporalio.exceptions import ApplicationError

from broker.errors import NothingSent, RateLimited, UnknownOutcome
from schemas.orders import OrderStatus
from schemas.protection import Act, ProtectView
from schemas.runs import OrderQuestion
from schemas.wire import Leg
from storage.orders import StoredOrder, read_order
from tests.postgres.test_protection_rows import Floor, floor, protected

__all__ = ["floor"]

D = Decimal
FOUR_ARE_SOLD = "update positions set quantity = 6"
LIMITED = RateLimited("too many requests", retry_after_seconds=1)


async def legs(floor: Floor, leg: Leg = Leg.STOP) -> list[StoredOrder]:
    """Every order of a leg, oldest first."""
    async with floor.database.connection() as connection:
        newest = await read_order(connection, "s1", leg)
        return [
            await read_order(connection, "s1", leg, generation) for generation in range(newest.generation + 1)
        ]


async def not_sent(floor: Floor, view: ProtectView, error: Exception) -> None:
    """One try that comes back with proof that nothing was placed."""
    floor.broker.answer = error  # type: ignore[assignment]
    with pytest.raises(ApplicationError):
        await floor.place(view)
    floor.broker.answer = None
    (leg,) = await legs(floor)
    assert (leg.status, leg.post_count, leg.may_stand) == (OrderStatus.SUBMITTED, 0, False)


@pytest.mark.parametrize("error", [LIMITED, NothingSent("connection refused")])
async def test_a_stop_that_was_never_sent_follows_the_shares_by_a_next_order(
    floor: Floor, error: Exception
) -> None:
    await not_sent(floor, await protected(floor), error)
    await floor.set(FOUR_ARE_SOLD)
    view = await floor.review()
    former, following = await legs(floor)
    assert (former.status, former.quantity, former.settled) == (OrderStatus.CANCELED, D(10), True)
    assert (view.act, [each.generation for each in view.orders]) == (Act.PLACE, [1])
    assert (following.status, following.quantity) == (OrderStatus.CREATED, D(6))
    await floor.place(view)
    sent = floor.broker.requests[-1]
    assert (sent.quantity, sent.client_order_id) == (D(6), (await legs(floor))[1].client_order_id)
    assert sent.client_order_id != former.client_order_id, "one id, one content"
    view = await floor.review()
    assert (view.act, view.covered) == (Act.WAIT, D(6))


async def test_an_exit_that_was_never_sent_follows_the_quote(floor: Floor) -> None:
    await protected(floor)
    await floor.set("update protections set exiting = true")
    view = await floor.review()
    floor.broker.answer = LIMITED
    question = OrderQuestion(signal_id="s1", as_of=datetime.now(UTC), leg=Leg.EXIT, generation=0)
    with pytest.raises(ApplicationError):
        await floor.placement.place_order(question)
    floor.broker.answer = None
    await floor.quoted("89.98", "90.02")
    view = await floor.review()
    assert (view.act, view.orders[0].generation, view.orders[0].limit_price) == (Act.PLACE, 1, D("88.18"))
    assert [leg.status for leg in await legs(floor, Leg.EXIT)] == [OrderStatus.CANCELED, OrderStatus.CREATED]


async def test_a_stop_whose_fate_nobody_knows_is_never_withdrawn(floor: Floor) -> None:
    view = await protected(floor)
    floor.broker.answer = UnknownOutcome("no answer")
    await floor.place(view)
    await floor.set(FOUR_ARE_SOLD)
    assert (await floor.review()).act is Act.RESOLVE
    (leg,) = await legs(floor)
    assert (leg.status, leg.quantity, leg.may_stand) == (OrderStatus.SUBMITTED, D(10), True)


async def test_a_stop_on_its_way_is_not_withdrawn_until_it_is_proved_unsent(floor: Floor) -> None:
    view = await protected(floor)
    real, on_its_way, answered = floor.broker.place_order, asyncio.Event(), asyncio.Event()

    async def slowly(*args: object, **kwargs: object) -> object:
        on_its_way.set()
        await answered.wait()
        return await real(*args, **kwargs)  # type: ignore[arg-type]

    floor.broker.place_order = slowly  # type: ignore[assignment, method-assign]
    floor.broker.answer = LIMITED
    trying = asyncio.create_task(floor.place(view))
    await on_its_way.wait()
    await floor.set(FOUR_ARE_SOLD)
    assert (await floor.review()).act is Act.RESOLVE
    assert [leg.status for leg in await legs(floor)] == [OrderStatus.SUBMITTED]
    answered.set()
    with pytest.raises(ApplicationError):
        await trying
    view = await floor.review()
    assert (view.act, view.orders[0].generation, view.orders[0].quantity) == (Act.PLACE, 1, D(6))
