"""C3xx: what is read is whole, or an error."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from broker.errors import NetworkError, NotFound, Unauthorized
from schemas.orders import BrokerOrder
from tests.contract.venue import Venue, place, reaches, request

RESTING: dict[str, Any] = {"limit_price": "1.5"}
MISSING = "00000000-0000-4000-8000-000000000000"


async def place_many(venue: Venue, prefix: str, count: int, **fields: Any) -> list[BrokerOrder]:
    slots = asyncio.Semaphore(8)

    async def one(number: int) -> BrokerOrder:
        async with slots:
            return await place(venue, f"{prefix}-{number}", **fields)

    return await asyncio.gather(*(one(number) for number in range(count)))


async def test_c301_authenticate_gives_the_account(venue: Venue) -> None:
    account = await venue.trader.authenticate()
    assert account.tradable
    assert account == await venue.reader.get_account()
    assert account.cash > 0
    assert account.currency == "USD"


async def test_c302_wrong_keys_are_unauthorized_everywhere(venue: Venue, new_id: str) -> None:
    async with venue.with_wrong_keys() as stranger:
        asked = [
            stranger.authenticate(),
            stranger.get_account(),
            stranger.get_positions(),
            stranger.get_open_orders(),
            stranger.get_orders(after=datetime(2026, 1, 1, tzinfo=UTC), until=datetime.now(UTC)),
            stranger.get_order_status(MISSING),
            stranger.get_order_by_client_id(new_id),
            stranger.get_fills(datetime(2026, 1, 1, tzinfo=UTC)),
            stranger.get_cash_activities(datetime(2026, 1, 1, tzinfo=UTC)),
            stranger.cancel_order(MISSING),
            stranger.cancel_all(),
            stranger.get_clock(),
            stranger.get_calendar(date(2026, 11, 23), date(2026, 11, 27)),
            stranger.place_order(request(new_id), before_send=lambda: None),
            stranger.stream_trade_updates().__aenter__(),
        ]
        answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unauthorized] * len(asked)
    with pytest.raises(NotFound):
        await venue.reader.get_order_by_client_id(new_id)


async def test_c303_reader_has_no_way_to_place(venue: Venue) -> None:
    assert not hasattr(venue.reader, "place_order")


async def test_c304_clock(venue: Venue) -> None:
    clock = await venue.reader.get_clock()
    assert clock.timestamp.tzinfo is UTC
    assert clock.timestamp < clock.next_close
    assert clock.is_open


async def test_c305_calendar_knows_holidays_early_closes_and_daylight_saving(venue_factory: Any) -> None:
    venue = await venue_factory(session="calendar", start="2026-11-27T13:00:00-05:00", speed=0)
    days = {d.day: d for d in await venue.reader.get_calendar(date(2026, 11, 23), date(2026, 11, 30))}
    assert date(2026, 11, 26) not in days, "Thanksgiving"
    assert days[date(2026, 11, 27)].close == datetime(2026, 11, 27, 18, 0, tzinfo=UTC)
    assert days[date(2026, 11, 23)].open == datetime(2026, 11, 23, 14, 30, tzinfo=UTC)
    (summer,) = await venue.reader.get_calendar(date(2026, 7, 2), date(2026, 7, 3))
    assert summer.day == date(2026, 7, 2), "Independence Day is observed on Friday the 3rd"
    assert summer.open == datetime(2026, 7, 2, 13, 30, tzinfo=UTC)
    clock = await venue.reader.get_clock()
    assert not clock.is_open
    assert clock.timestamp == days[date(2026, 11, 27)].close
    assert clock.next_open == days[date(2026, 11, 30)].open


async def test_c306_unknown_ids_are_not_found(venue: Venue, new_id: str) -> None:
    with pytest.raises(NotFound):
        await venue.reader.get_order_status(MISSING)
    with pytest.raises(NotFound):
        await venue.reader.get_order_by_client_id(new_id)


async def test_c307_more_open_orders_than_a_page_holds(venue_factory: Any) -> None:
    venue = await venue_factory()
    placed = await place_many(venue, "ti-page", 503, **RESTING)
    listed = await venue.reader.get_open_orders()
    assert {order.broker_order_id for order in listed} == {order.broker_order_id for order in placed}
    assert len(listed) == 503
    await venue.spoil("status_500", method="GET", path="/v2/orders", skip=1)
    with pytest.raises(NetworkError):
        await venue.reader.get_open_orders()


async def test_c308_orders_of_a_time_span_of_any_status(venue: Venue, new_id: str) -> None:
    orders = [await place(venue, f"{new_id}-{number}", **RESTING) for number in range(4)]
    await venue.trader.cancel_order(orders[1].broker_order_id)
    await reaches(venue, orders[1], "canceled")
    first, last = orders[0].submitted_at, orders[3].submitted_at
    assert first is not None
    assert last is not None
    between = await venue.reader.get_orders(after=first, until=last)
    assert [order.client_order_id for order in between] == [f"{new_id}-1", f"{new_id}-2"]


async def test_c309_more_fills_than_a_page_holds_each_once_and_in_order(venue_factory: Any) -> None:
    venue = await venue_factory()
    await venue.quote("SPY", "590.00", "590.10", size=100_000)
    start = (await venue.reader.get_clock()).timestamp - timedelta(seconds=1)
    placed = await place_many(venue, "ti-fill", 103, ticker="SPY", limit_price="591")
    for order in placed:
        await reaches(venue, order, "filled")
    fills = await venue.reader.get_fills(start)
    assert {fill.broker_order_id for fill in fills} == {order.broker_order_id for order in placed}
    assert len(fills) == len({fill.activity_id for fill in fills}) == 103
    assert sorted(fills, key=lambda fill: fill.executed_at) == list(fills)
    assert {(fill.price, fill.quantity) for fill in fills} == {(Decimal("590.1"), Decimal(1))}
    assert await venue.reader.get_fills(fills[-1].executed_at) == []
    await venue.spoil("status_504_before_landing", method="GET", path="/v2/account/activities/*", skip=1)
    with pytest.raises(NetworkError):
        await venue.reader.get_fills(start)


async def test_c310_empty_lists_are_empty_and_failed_ones_are_errors(venue_factory: Any) -> None:
    venue = await venue_factory()
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    assert await venue.reader.get_positions() == []
    assert await venue.reader.get_open_orders() == []
    assert await venue.reader.get_fills(long_ago) == []
    assert await venue.reader.get_cash_activities(long_ago) == []
    for path in ("/v2/positions", "/v2/orders", "/v2/account/activities/FILL", "/v2/account/activities"):
        await venue.spoil("drop_after_landing", method="GET", path=path)
    for ask in (
        venue.reader.get_positions(),
        venue.reader.get_open_orders(),
        venue.reader.get_fills(long_ago),
        venue.reader.get_cash_activities(long_ago),
    ):
        with pytest.raises(NetworkError):
            await ask


async def test_c311_cash_without_a_trade_is_walked_page_by_page(venue: Venue) -> None:
    start = (await venue.reader.get_clock()).timestamp - timedelta(seconds=1)
    for number in range(102):
        await venue.move_cash(f"-0.{number:03}1", "FEE")
    await venue.move_cash("4.20", "DIV")
    found = await venue.reader.get_cash_activities(start)
    assert len({each.activity_id for each in found}) == len(found) == 103
    assert (found[-1].activity_type, found[-1].amount) == ("DIV", Decimal("4.2"))
    assert sum(each.amount for each in found[:-1]) == -sum(
        (Decimal(f"0.{number:03}1") for number in range(102)), Decimal(0)
    )
    assert await venue.reader.get_cash_activities(start + timedelta(days=1)) == []
    await venue.spoil("status_504_before_landing", method="GET", path="/v2/account/activities", skip=1)
    with pytest.raises(NetworkError):
        await venue.reader.get_cash_activities(start)
