"""C4xx: a cancel is a request; its outcome is told by the order."""

from typing import Any

from schemas.orders import CancelAnswer, OrderStatus
from tests.contract.venue import Venue, place, reaches, request, state_after

RESTING: dict[str, Any] = {"limit_price": "1.5"}


async def test_c401_open_order(venue: Venue, new_id: str) -> None:
    placed = await place(venue, new_id, **RESTING)
    assert await venue.trader.cancel_order(placed.broker_order_id) is CancelAnswer.REQUESTED
    ended = await reaches(venue, placed, "canceled")
    assert state_after(request(new_id), ended).status is OrderStatus.CANCELED


async def test_c402_filled_order_is_too_late(venue: Venue, new_id: str) -> None:
    await venue.quote("MSFT", "415.40", "415.50")
    filled = await reaches(venue, await place(venue, new_id, "MSFT", limit_price="416"), "filled")
    assert await venue.trader.cancel_order(filled.broker_order_id) is CancelAnswer.TOO_LATE


async def test_c403_unknown_order(venue: Venue) -> None:
    missing = "00000000-0000-4000-8000-000000000000"
    assert await venue.reader.cancel_order(missing) is CancelAnswer.UNKNOWN_ORDER


async def test_c404_cancel_again_while_it_is_pending(venue_factory: Any, new_id: str) -> None:
    venue = await venue_factory(cancel_latency_ms=300)
    placed = await reaches(venue, await place(venue, new_id, **RESTING), "new")
    answers = [await venue.trader.cancel_order(placed.broker_order_id) for _ in range(2)]
    assert answers == [CancelAnswer.REQUESTED] * 2
    state = state_after(request(new_id), await reaches(venue, placed, "canceled"))
    assert not state.flags


async def test_c405_cancel_all_answers_for_each_order(venue: Venue, new_id: str) -> None:
    placed = [await place(venue, f"{new_id}-{number}", **RESTING) for number in range(3)]
    answers = await venue.reader.cancel_all()
    assert answers == {order.broker_order_id: CancelAnswer.REQUESTED for order in placed}
    for order in placed:
        await reaches(venue, order, "canceled")
    assert await venue.reader.cancel_all() == {}


async def test_c406_part_filled_order_keeps_its_fills(venue: Venue, new_id: str) -> None:
    await venue.quote("NVDA", "140.00", "140.10", size=4)
    placed = await place(venue, new_id, "NVDA", quantity="10", limit_price="140.10")
    part = await reaches(venue, placed, "partially_filled")
    assert part.filled_quantity == 4
    await venue.trader.cancel_order(placed.broker_order_id)
    ended = await reaches(venue, placed, "canceled")
    assert ended.filled_quantity == 4
