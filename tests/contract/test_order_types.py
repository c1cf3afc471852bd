"""C6xx: stops, stop-limits, short sales and covers."""

import random
from decimal import Decimal
from typing import Any

import pytest

from activities.identity import difference
from broker.errors import ValidationRefused, WashTrade
from schemas.orders import Action, BrokerOrder, OrderRequest, OrderStatus, OrderType, TimeInForce
from tests.contract.venue import Venue, nothing, place, reaches, request, state_after

STOP: dict[str, Any] = {"order_type": OrderType.STOP, "limit_price": None}
STOP_LIMIT: dict[str, Any] = {"order_type": OrderType.STOP_LIMIT}


async def send(venue: Venue, order: OrderRequest) -> BrokerOrder:
    return await venue.trader.place_order(order, before_send=nothing)


async def holding(venue: Venue, new_id: str, ticker: str, bid: str, ask: str, *, short: bool = False) -> None:
    """Fix the market and hold ten shares of the ticker, or be short of them."""
    await venue.quote(ticker, bid, ask)
    action, limit = (Action.SELL_TO_OPEN, bid) if short else (Action.BUY_TO_OPEN, ask)
    entry = request(f"{new_id}-entry", ticker, action=action, quantity="10", limit_price=limit)
    await reaches(venue, await send(venue, entry), "filled")


@pytest.mark.parametrize("time_in_force", [TimeInForce.DAY, TimeInForce.GTC])
async def test_c701_stops_come_back_as_asked(venue: Venue, new_id: str, time_in_force: TimeInForce) -> None:
    ticker = f"C701{time_in_force.value}"
    await holding(venue, new_id, ticker, "99.98", "100.02")
    for index, prices in enumerate(
        ({**STOP, "stop_price": "95.01"}, {**STOP_LIMIT, "stop_price": "95.02", "limit_price": "94.5"})
    ):
        fields = {"action": Action.SELL_TO_CLOSE, "time_in_force": time_in_force, **prices}
        order = request(f"{new_id}-{index}", ticker, **fields)
        placed = await reaches(venue, await send(venue, order), "new")
        assert difference(order, placed, placed.created_at) is None
        assert placed == await venue.reader.get_order_by_client_id(order.client_order_id)
        assert state_after(order, placed).status is OrderStatus.ACKNOWLEDGED


@pytest.mark.parametrize(
    ("ticker", "market", "stop", "limit"),
    [
        ("C702LOW", ("9.98", "10.02"), "11.11", "11.56"),
        ("C702EDGE", ("49.00", "49.02"), "50.00", "51.25"),
        ("C702HIGH", ("99.98", "100.02"), "110.01", "112.77"),
    ],
)
async def test_c702_a_buy_stop_gets_the_brokers_limit_and_is_still_ours(
    venue: Venue, new_id: str, ticker: str, market: tuple[str, str], stop: str, limit: str
) -> None:
    await venue.quote(ticker, *market)
    order = request(new_id, ticker, **STOP, stop_price=stop)
    placed = await send(venue, order)
    assert (placed.raw_type, placed.stop_price, placed.limit_price) == (
        "stop_limit", Decimal(stop), Decimal(limit),
    )  # fmt: skip
    assert difference(order, placed, placed.created_at) is None


async def test_c703_a_stop_rests_until_it_is_touched_and_then_takes_the_market(
    venue: Venue, new_id: str
) -> None:
    await holding(venue, new_id, "C703", "99.98", "100.02")
    order = request(new_id, "C703", **STOP, action=Action.SELL_TO_CLOSE, quantity="10", stop_price="99.00")
    await reaches(venue, await send(venue, order), "new")
    await venue.quote("C703", "98.50", "98.54")
    placed = await venue.reader.get_order_by_client_id(new_id)
    filled = await reaches(venue, placed, "filled")
    assert (filled.filled_quantity, filled.filled_average_price) == (10, Decimal("98.5"))


async def test_c704_a_triggered_stop_limit_waits_at_its_limit(venue: Venue, new_id: str) -> None:
    await holding(venue, new_id, "C704", "99.98", "100.02", short=True)
    prices = {"stop_price": "101.00", "limit_price": "101.20"}
    order = request(new_id, "C704", **STOP_LIMIT, action=Action.BUY_TO_CLOSE, quantity="10", **prices)
    placed = await reaches(venue, await send(venue, order), "new")
    await venue.quote("C704", "101.46", "101.50")
    assert (await venue.reader.get_order_status(placed.broker_order_id)).filled_quantity == 0
    await venue.quote("C704", "101.06", "101.10")
    filled = await reaches(venue, placed, "filled")
    assert filled.filled_average_price == Decimal("101.1")
    assert all(position.ticker != "C704" for position in await venue.reader.get_positions())


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("stop below the market", {**STOP, "stop_price": "99"}),
    ("stop-limit below the market", {**STOP_LIMIT, "stop_price": "99", "limit_price": "101"}),
    ("sell stop above", {**STOP, "action": Action.SELL_TO_OPEN, "stop_price": "101"}),
    ("ioc", {**STOP, "stop_price": "101", "time_in_force": TimeInForce.IOC}),
    ("fok", {**STOP_LIMIT, "stop_price": "101", "limit_price": "101", "time_in_force": TimeInForce.FOK}),
    ("sub-penny", {**STOP, "stop_price": "101.001"}),
    ("extended hours", {**STOP, "stop_price": "101", "extended_hours": True}),
]


@pytest.mark.parametrize("fields", [case[1] for case in WRONG], ids=[case[0] for case in WRONG])
async def test_c705_stops_that_cannot_be_are_refused(
    venue: Venue, new_id: str, fields: dict[str, Any]
) -> None:
    await venue.quote("C705", "99.98", "100.02")
    with pytest.raises(ValidationRefused) as caught:
        await place(venue, new_id, "C705", **fields)
    assert caught.value.refusal


async def test_c706_anything_opposite_a_stop_is_a_wash_trade(venue: Venue, new_id: str) -> None:
    await holding(venue, new_id, "C706", "99.98", "100.02")
    await place(venue, f"{new_id}-stop", "C706", **STOP, action=Action.SELL_TO_CLOSE, stop_price="90")
    with pytest.raises(WashTrade):
        await place(venue, new_id, "C706", limit_price="1")


async def test_c707_stop_prices_arrive_exactly(venue: Venue) -> None:
    await venue.quote("C707", "199.98", "200.02")
    draw = random.Random(20261126)
    cents = [Decimal(draw.randrange(100, 17_500)).scaleb(-2) for _ in range(20)]
    small = [Decimal(draw.randrange(2, 10_000)).scaleb(-4) for _ in range(20)]
    for index, price in enumerate([*cents, *small, Decimal("1.1"), Decimal("0.3")]):
        name = f"ti-exact-stop-{index}"
        prices = {"stop_price": str(price), "limit_price": str(price)}
        await place(venue, name, "C707", **STOP_LIMIT, action=Action.SELL_TO_OPEN, **prices)
        stored = await venue.reader.get_order_by_client_id(name)
        assert (stored.stop_price, stored.limit_price) == (price, price)
