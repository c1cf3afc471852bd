"""C5xx: the update stream, and that it and the lists tell one story."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from broker.errors import NetworkError
from schemas.broker import TradeEvent
from schemas.orders import CancelAnswer, OrderStatus
from tests.contract.venue import (
    PATIENCE_SECONDS,
    Venue,
    nothing,
    place,
    reaches,
    request,
    state_after,
    updates_until,
)

ENDS = {TradeEvent.FILL, TradeEvent.CANCELED, TradeEvent.REJECTED}


def ended(update: Any) -> bool:
    return update.event in ENDS


async def test_c501_filled_order_in_the_order_of_events(venue: Venue, new_id: str) -> None:
    await venue.quote("MSFT", "415.40", "415.50")
    order = request(new_id, "MSFT", quantity="5", limit_price="416")
    async with venue.reader.stream_trade_updates() as stream:
        placed = await venue.trader.place_order(order, before_send=nothing)
        heard = await updates_until(stream, new_id, ended)
    assert [update.raw_event for update in heard] == ["pending_new", "new", "fill"]
    ids = [update.event_id or "" for update in heard]
    assert ids == sorted(set(ids))
    fill = heard[-1].fill
    assert fill is not None
    assert (fill.quantity, fill.cumulative_quantity, fill.broker_order_id) == (5, 5, placed.broker_order_id)
    assert state_after(order, *heard).status is OrderStatus.FILLED


async def test_c502_stream_and_lists_end_in_one_state(venue: Venue, new_id: str) -> None:
    """Part-filled twice, then cancelled: by stream alone, by lists alone, by both, each with repeats."""
    order = request(new_id, "NVDA", quantity="10", limit_price="140.10")
    async with venue.reader.stream_trade_updates() as stream:
        await venue.quote("NVDA", "140.00", "140.10", size=3)
        placed = await venue.trader.place_order(order, before_send=nothing)
        heard = await updates_until(stream, new_id, lambda update: update.fill is not None)
        await venue.quote("NVDA", "140.00", "140.09", size=2)
        heard += await updates_until(stream, new_id, lambda update: update.fill is not None)
        assert await venue.trader.cancel_order(placed.broker_order_id) is CancelAnswer.REQUESTED
        heard += await updates_until(stream, new_id, ended)
    last = await reaches(venue, placed, "canceled")
    listed = await venue.reader.get_fills(placed.created_at - timedelta(seconds=1))
    rows = [fill for fill in listed if fill.broker_order_id == placed.broker_order_id]
    by_stream = state_after(order, *heard)
    by_lists = state_after(order, placed, last, *rows)
    by_both = state_after(order, *heard, *rows, last, *heard[:3])
    for state in (by_stream, by_lists, by_both):
        assert (state.status, state.filled_quantity, state.flags) == (OrderStatus.CANCELED, 5, frozenset())
        assert state.average_price == by_stream.average_price
    assert len(by_both.fills) == 2
    assert all(fill.execution_id and fill.activity_id for fill in by_both.fills)


async def test_c503_ping_while_listening(venue: Venue) -> None:
    async with venue.reader.stream_trade_updates() as stream:
        await stream.ping(PATIENCE_SECONDS)


async def test_c504_venue_that_dies_breaks_the_stream_and_a_catch_up_finds_the_rest(
    venue_factory: Any, new_id: str
) -> None:
    venue = await venue_factory()
    await venue.quote("SPY", "590.00", "590.10", size=100_000)
    order = request(new_id, "SPY", quantity="2", limit_price="591")
    async with venue.reader.stream_trade_updates() as stream:
        await venue.exchange.kill()
        with pytest.raises(NetworkError):
            await updates_until(stream, new_id, ended)
        with pytest.raises(NetworkError):
            await stream.ping(1)
    with pytest.raises(NetworkError):
        await venue.reader.stream_trade_updates().__aenter__()
    await venue.exchange.start()
    await venue.quote("SPY", "590.00", "590.10", size=100_000)
    placed = await venue.trader.place_order(order, before_send=nothing)
    last = await reaches(venue, placed, "filled")
    async with venue.reader.stream_trade_updates() as stream:
        rows = await venue.reader.get_fills(placed.created_at - timedelta(seconds=1))
        await stream.ping(PATIENCE_SECONDS)
    assert state_after(order, last, *rows).status is OrderStatus.FILLED


async def test_c505_two_listeners_hear_the_same(venue: Venue, new_id: str) -> None:
    async with (
        venue.reader.stream_trade_updates() as one,
        venue.trader.stream_trade_updates() as other,
    ):
        placed = await place(venue, new_id, limit_price="1.5")
        await venue.trader.cancel_order(placed.broker_order_id)
        heard = await asyncio.gather(updates_until(one, new_id, ended), updates_until(other, new_id, ended))
    assert heard[0] == heard[1]
