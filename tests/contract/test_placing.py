"""C1xx: what becomes of an order that is placed."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from broker.errors import (
    BrokerError,
    DuplicateOrder,
    Forbidden,
    InsufficientFunds,
    InvalidTicker,
    NotFound,
    ValidationRefused,
    WashTrade,
)
from schemas.orders import Action, OrderStatus, TimeInForce
from tests.contract.venue import Venue, nothing, place, reaches, request, state_after

RESTING: dict[str, Any] = {"limit_price": "1.5"}
"""Far below the market: it is taken and waits."""


async def test_c101_accepted_order_comes_back_as_asked(venue: Venue, new_id: str) -> None:
    before = datetime.now(UTC)
    placed = await place(venue, new_id, quantity="7", limit_price="1.23", time_in_force=TimeInForce.GTC)
    assert placed.client_order_id == new_id
    assert placed.broker_order_id
    assert (placed.ticker, placed.side, placed.quantity) == ("AAPL", "buy", 7)
    assert placed.limit_price == Decimal("1.23")
    assert (placed.raw_type, placed.raw_time_in_force, placed.extended_hours) == ("limit", "gtc", False)
    assert placed.filled_quantity == 0
    assert placed.created_at > before - timedelta(days=7), "the venue's clock, which may stand elsewhere"
    state = state_after(request(new_id, quantity="7"), placed)
    assert state.status is OrderStatus.ACKNOWLEDGED


async def test_c102_look_up_by_either_id_gives_the_same_order(venue: Venue, new_id: str) -> None:
    placed = await reaches(venue, await place(venue, new_id, **RESTING), "new")
    assert await venue.reader.get_order_by_client_id(new_id) == placed
    assert await venue.reader.get_order_status(placed.broker_order_id) == placed


async def test_c103_marketable_order_fills_at_the_market(venue: Venue, new_id: str) -> None:
    await venue.quote("MSFT", "415.40", "415.50")
    order = request(new_id, "MSFT", quantity="5", limit_price="416")
    filled = await reaches(venue, await venue.trader.place_order(order, before_send=nothing), "filled")
    assert (filled.filled_quantity, filled.filled_average_price) == (5, Decimal("415.5"))
    (position,) = [p for p in await venue.reader.get_positions() if p.ticker == "MSFT"]
    assert (position.quantity, position.average_entry_price) == (5, Decimal("415.5"))
    fills = await venue.reader.get_fills(filled.created_at - timedelta(seconds=1))
    state = state_after(order, filled, *(f for f in fills if f.broker_order_id == filled.broker_order_id))
    assert (state.status, state.average_price) == (OrderStatus.FILLED, Decimal("415.5"))
    assert not state.flags


async def test_c104_prices_and_quantities_arrive_exactly(venue: Venue) -> None:
    """Cents from $1 up, hundredths of a cent below, whole shares and nine decimals."""
    draw = random.Random(20261123)
    cents = [Decimal(draw.randrange(100, 17_500)).scaleb(-2) for _ in range(30)]
    small = [Decimal(draw.randrange(1, 10_000)).scaleb(-4) for _ in range(20)]
    whole = [Decimal(draw.randrange(1, 100_000)) for _ in range(20)]
    parts = [Decimal(draw.randrange(1, 10**9)).scaleb(-9) for _ in range(20)]
    known = [Decimal(text) for text in ("1.1", "0.0001", "179.99", "0.3", "1.005".replace("005", "01"))]
    for index, price in enumerate([*cents, *small, *known]):
        quantity = [*whole, *parts, Decimal("0.000000001")][index % 41]
        name = f"ti-exact-{index}"
        await place(venue, name, "AAPL", quantity=str(min(quantity, Decimal(900))), limit_price=str(price))
        stored = await venue.reader.get_order_by_client_id(name)
        assert (stored.limit_price, stored.quantity) == (price, min(quantity, Decimal(900)))


async def test_c105_last_check_stops_the_order(venue: Venue, new_id: str) -> None:
    class FenceLost(Exception):
        pass

    def check() -> None:
        raise FenceLost

    with pytest.raises(FenceLost):
        await venue.trader.place_order(request(new_id), before_send=check)
    assert await venue.posts(new_id) == 0
    with pytest.raises(NotFound):
        await venue.reader.get_order_by_client_id(new_id)


@pytest.mark.parametrize("ended", [False, True])
async def test_c106_same_id_again_is_a_duplicate_and_a_look_up_finds_the_first(
    venue: Venue, new_id: str, ended: bool
) -> None:
    first = await place(venue, new_id, **RESTING)
    if ended:
        await venue.trader.cancel_order(first.broker_order_id)
        await reaches(venue, first, "canceled")
    with pytest.raises(DuplicateOrder) as caught:
        await place(venue, new_id, **RESTING)
    assert not caught.value.refusal, "it stands: a repeat is no proof that it was not placed"
    assert await venue.posts(new_id) == 2
    found = await venue.reader.get_order_by_client_id(new_id)
    assert found.broker_order_id == first.broker_order_id


REFUSALS: list[tuple[str, dict[str, Any], type[BrokerError]]] = [
    ("AAPL", {"quantity": "900000", "limit_price": "179"}, InsufficientFunds),
    ("ZZZZ", {}, InvalidTicker),
    ("HALT", {"limit_price": "10"}, InvalidTicker),
    ("AAPL", {"limit_price": "180.123"}, ValidationRefused),
    ("AAPL", {"limit_price": "0.00001"}, ValidationRefused),
    ("AAPL", {"quantity": "0"}, ValidationRefused),
    ("AAPL", {"quantity": "-1"}, ValidationRefused),
    ("AAPL", {"quantity": "0.5", "time_in_force": TimeInForce.GTC}, ValidationRefused),
    ("WHOLE", {"quantity": "0.5", "limit_price": "10"}, ValidationRefused),
    ("AAPL", {"extended_hours": True, "time_in_force": TimeInForce.IOC}, ValidationRefused),
    ("NVDA", {"action": Action.SELL_TO_CLOSE}, ValidationRefused),
    ("NVDA", {"action": Action.BUY_TO_CLOSE}, ValidationRefused),
    ("LONG", {"action": Action.SELL_TO_OPEN, "limit_price": "900"}, Forbidden),
]


@pytest.mark.parametrize(("ticker", "fields", "expected"), REFUSALS)
async def test_c107_refusal_has_its_class_and_proves_that_nothing_was_placed(
    venue: Venue, new_id: str, ticker: str, fields: dict[str, Any], expected: type[BrokerError]
) -> None:
    with pytest.raises(BrokerError) as caught:
        await place(venue, new_id, ticker, **fields)
    assert type(caught.value) is expected
    assert caught.value.refusal
    assert caught.value.request_id
    assert await venue.posts(new_id) == 1
    with pytest.raises(NotFound):
        await venue.reader.get_order_by_client_id(new_id)


async def test_c108_own_order_on_the_other_side_is_a_wash_trade(venue: Venue, new_id: str) -> None:
    await venue.quote("TSLA", "330.00", "330.10")
    await reaches(venue, await place(venue, f"{new_id}-long", "TSLA", limit_price="331"), "filled")
    await place(venue, f"{new_id}-buy", "TSLA", limit_price="320")
    with pytest.raises(WashTrade) as caught:
        await place(venue, new_id, "TSLA", action=Action.SELL_TO_CLOSE, limit_price="319")
    assert caught.value.refusal


async def test_c109_shares_held_by_another_order_are_not_there(venue: Venue, new_id: str) -> None:
    await venue.quote("AMZN", "205.00", "205.10")
    await reaches(venue, await place(venue, f"{new_id}-long", "AMZN", limit_price="206"), "filled")
    exit_fields: dict[str, Any] = {"action": Action.SELL_TO_CLOSE, "limit_price": "300"}
    await place(venue, f"{new_id}-exit", "AMZN", **exit_fields)
    with pytest.raises(Forbidden, match="insufficient qty"):
        await place(venue, new_id, "AMZN", **exit_fields)


async def test_c110_short_position_is_negative(venue: Venue, new_id: str) -> None:
    await venue.quote("GOOGL", "175.00", "175.10")
    short = await place(venue, new_id, "GOOGL", action=Action.SELL_TO_OPEN, quantity="3", limit_price="170")
    await reaches(venue, short, "filled")
    (position,) = [p for p in await venue.reader.get_positions() if p.ticker == "GOOGL"]
    assert (position.quantity, position.side) == (-3, "sell")


async def test_c111_ioc_rest_is_canceled_with_its_fills(venue: Venue, new_id: str) -> None:
    await venue.quote("META", "560.00", "560.10", size=4)
    order = request(new_id, "META", quantity="10", limit_price="561", time_in_force=TimeInForce.IOC)
    ended = await reaches(venue, await venue.trader.place_order(order, before_send=nothing), "canceled")
    state = state_after(order, ended, *await venue.reader.get_fills(ended.created_at - timedelta(seconds=1)))
    assert (state.status, state.filled_quantity, state.leaves_quantity) == (OrderStatus.CANCELED, 4, 0)


async def test_c112_exit_larger_than_the_position_never_opens_a_short(venue: Venue, new_id: str) -> None:
    await venue.quote("IBM", "225.00", "225.10")
    await reaches(
        venue, await place(venue, f"{new_id}-long", "IBM", quantity="2", limit_price="226"), "filled"
    )
    exit_fields: dict[str, Any] = {"action": Action.SELL_TO_CLOSE, "limit_price": "220"}
    with pytest.raises(Forbidden):
        await place(venue, f"{new_id}-a", "IBM", quantity="3", **exit_fields)
    await reaches(venue, await place(venue, f"{new_id}-b", "IBM", quantity="2", **exit_fields), "filled")
    with pytest.raises(ValidationRefused, match="intent"):
        await place(venue, f"{new_id}-c", "IBM", quantity="2", **exit_fields)
