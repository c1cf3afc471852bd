"""C2xx: requests whose answer is lost, late or useless. Each is made exactly once; nothing repeats it."""

import asyncio
from typing import Any

import pytest

from broker.errors import (
    DuplicateOrder,
    NetworkError,
    NotFound,
    NothingSent,
    RateLimited,
    UnknownOutcome,
)
from schemas.orders import CancelAnswer
from tests.contract.venue import Venue, place

POST: dict[str, Any] = {"method": "POST", "path": "/v2/orders"}
RESTING: dict[str, Any] = {"limit_price": "1.5"}


@pytest.mark.parametrize(
    ("action", "landed"),
    [
        ("status_504_after_landing", True),
        ("drop_after_landing", True),
        ("hang_after_landing", True),
        ("status_504_before_landing", False),
        ("drop_before_landing", False),
        ("status_500", False),
    ],
)
async def test_c201_lost_answer_is_an_unknown_outcome_and_one_post(
    venue: Venue, new_id: str, action: str, landed: bool
) -> None:
    await venue.spoil(action, **POST)
    with venue.short_limits(), pytest.raises(UnknownOutcome) as caught:
        await place(venue, new_id, **RESTING)
    assert not caught.value.retryable
    assert not caught.value.refusal
    assert await venue.posts(new_id) == 1
    if landed:
        found = await venue.reader.get_order_by_client_id(new_id)
        assert found.client_order_id == new_id
        with pytest.raises(DuplicateOrder):
            await place(venue, new_id, **RESTING)
    else:
        with pytest.raises(NotFound):
            await venue.reader.get_order_by_client_id(new_id)
        assert (await place(venue, new_id, **RESTING)).client_order_id == new_id
    assert await venue.posts(new_id) == 2


async def test_c202_rate_limit_is_told_and_not_repeated(venue: Venue, new_id: str) -> None:
    await venue.spoil("status_429", **POST)
    with pytest.raises(RateLimited) as caught:
        await place(venue, new_id, **RESTING)
    assert caught.value.retryable
    assert await venue.posts(new_id) == 1
    with pytest.raises(NotFound):
        await venue.reader.get_order_by_client_id(new_id)


async def test_c203_rate_limit_of_the_account_says_how_long(venue_factory: Any, new_id: str) -> None:
    venue = await venue_factory(requests_per_minute=3)
    answers = await asyncio.gather(*(venue.reader.get_clock() for _ in range(6)), return_exceptions=True)
    limited = [answer for answer in answers if isinstance(answer, RateLimited)]
    assert len(limited) >= 3
    assert all(0 <= (error.retry_after_seconds or -1) <= 60 for error in limited)
    with pytest.raises(RateLimited):
        await place(venue, new_id)


async def test_c204_slow_answer_in_time_is_an_answer(venue: Venue, new_id: str) -> None:
    await venue.spoil("latency_ms", latency_ms=300, **POST)
    assert (await place(venue, new_id, **RESTING)).client_order_id == new_id
    assert await venue.posts(new_id) == 1


@pytest.mark.parametrize("action", ["status_504_before_landing", "drop_after_landing", "status_500"])
async def test_c205_failed_look_up_proves_nothing(venue: Venue, new_id: str, action: str) -> None:
    await venue.spoil(action, method="GET", path="/v2/orders:by_client_order_id")
    with pytest.raises(NetworkError) as caught:
        await venue.reader.get_order_by_client_id(new_id)
    assert not isinstance(caught.value, NothingSent)
    with pytest.raises(NotFound):
        await venue.reader.get_order_by_client_id(new_id)


@pytest.mark.parametrize("action", ["status_504_after_landing", "drop_after_landing", "hang_after_landing"])
async def test_c206_lost_answer_to_a_cancel_is_an_unknown_outcome(
    venue: Venue, new_id: str, action: str
) -> None:
    placed = await place(venue, new_id, **RESTING)
    route = "DELETE /v2/orders/{order_id}"
    before = await venue.requests(route)
    await venue.spoil(action, method="DELETE", path="/v2/orders/*")
    with venue.short_limits():
        assert await venue.trader.cancel_order(placed.broker_order_id) is CancelAnswer.UNKNOWN_OUTCOME
    assert await venue.requests(route) == before + 1


async def test_c207_venue_that_is_down_gets_nothing(venue_factory: Any, new_id: str) -> None:
    venue = await venue_factory()
    await place(venue, new_id, **RESTING)
    await venue.exchange.kill()
    with pytest.raises(NothingSent) as caught:
        await place(venue, f"{new_id}-b")
    assert caught.value.retryable
    with pytest.raises(NothingSent):
        await venue.reader.get_account()
    await venue.exchange.start()
    assert (await venue.reader.get_order_by_client_id(new_id)).client_order_id == new_id
    assert await venue.posts(f"{new_id}-b") == 0
