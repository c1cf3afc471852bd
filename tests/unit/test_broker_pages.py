"""Lists are walked to their end or not at all."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.alpaca import pages
from broker.alpaca.pages import ACTIVITIES_PAGE_SIZE, ORDERS_PAGE_SIZE, all_fills, all_orders
from broker.errors import NetworkError
from schemas.orders import BrokerOrder, Fill, Side

T0 = datetime(2026, 11, 23, 15, 15, tzinfo=UTC)


def order(number: int, submitted: datetime | None) -> BrokerOrder:
    return BrokerOrder(
        broker_order_id=f"order-{number:05d}",
        client_order_id=f"ti-{number}",
        ticker="AAPL",
        side=Side.BUY,
        raw_type="limit",
        raw_time_in_force="day",
        raw_status="new",
        quantity=Decimal(1),
        filled_quantity=Decimal(0),
        created_at=T0,
        submitted_at=submitted,
    )


class Orders:
    """The broker's list: exclusive ``after``, oldest first, 500 a page."""

    def __init__(self, rows: Sequence[BrokerOrder]) -> None:
        self.rows = sorted(rows, key=lambda row: row.submitted_at or T0)
        self.asked = 0

    async def page(self, after: datetime | None) -> Sequence[BrokerOrder]:
        self.asked += 1
        later = [row for row in self.rows if after is None or (row.submitted_at or T0) > after]
        return later[:ORDERS_PAGE_SIZE]


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 999, 1000, 1203])
async def test_every_order_comes_once(count: int) -> None:
    rows = [order(number, T0 + timedelta(milliseconds=5 * number)) for number in range(count)]
    found = await all_orders(Orders(rows).page, None)
    assert [row.broker_order_id for row in found] == [row.broker_order_id for row in rows]


async def test_exactly_a_full_page_asks_once_more() -> None:
    listing = Orders([order(number, T0 + timedelta(seconds=number)) for number in range(500)])
    assert len(await all_orders(listing.page, None)) == 500
    assert listing.asked == 2


@given(st.lists(st.integers(0, 400), min_size=480, max_size=620))
@settings(max_examples=30, deadline=None)
async def test_orders_that_share_a_time_at_a_page_end_are_not_lost(moments: list[int]) -> None:
    rows = [order(number, T0 + timedelta(milliseconds=at)) for number, at in enumerate(moments)]
    found = await all_orders(Orders(rows).page, None)
    assert {row.broker_order_id for row in found} == {row.broker_order_id for row in rows}


async def test_more_orders_of_one_time_than_a_page_holds_raise() -> None:
    rows = [order(number, T0) for number in range(501)]
    with pytest.raises(NetworkError, match="cannot be walked"):
        await all_orders(Orders(rows).page, None)


async def test_full_page_without_times_raises() -> None:
    rows = [order(number, None) for number in range(500)]
    with pytest.raises(NetworkError):
        await all_orders(Orders(rows).page, None)


class Fills:
    """The broker's activity list: after a token, oldest first, 100 a page."""

    def __init__(self, count: int) -> None:
        self.rows = [
            Fill(
                activity_id=f"row-{number:05d}",
                broker_order_id="order-1",
                ticker="AAPL",
                side=Side.BUY,
                quantity=Decimal(1),
                price=Decimal(1),
                cumulative_quantity=Decimal(number + 1),
                executed_at=T0 + timedelta(milliseconds=number),
            )
            for number in range(count)
        ]
        self.asked: list[str | None] = []

    async def page(self, token: str | None) -> Sequence[Fill]:
        self.asked.append(token)
        ids = [row.activity_id for row in self.rows]
        start = 0 if token is None else ids.index(token) + 1
        return self.rows[start : start + ACTIVITIES_PAGE_SIZE]


@pytest.mark.parametrize(("count", "requests"), [(0, 1), (99, 1), (100, 2), (101, 2), (250, 3)])
async def test_every_fill_comes_once(count: int, requests: int) -> None:
    listing = Fills(count)
    assert await all_fills(listing.page) == listing.rows
    assert len(listing.asked) == requests


async def test_list_of_fills_that_goes_in_circles_raises() -> None:
    listing = Fills(100)

    async def same_page(token: str | None) -> Sequence[Fill]:
        del token
        return listing.rows

    with pytest.raises(NetworkError, match="cannot be walked"):
        await all_fills(same_page)


async def test_walk_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGES_MAX", 3)
    with pytest.raises(NetworkError):
        await all_fills(Fills(1000).page)
