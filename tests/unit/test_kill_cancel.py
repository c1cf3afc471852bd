"""What a kill asks of the broker, and what it makes of the answers."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from activities.kill_cancel import ONE_BY_ONE_MAX, Canceller, closes_a_position, without_stop
from console import status
from schemas.kill import KillScope, OrderFate
from schemas.orders import BrokerOrder, Side
from storage import fence, placement
from tests.postgres.scripted_broker import ScriptedBroker, held, told


def stop(side: Side, quantity: int, **fields: object) -> BrokerOrder:
    return told("stop", "new", quantity=Decimal(quantity)).model_copy(
        update={"raw_type": "stop", "side": side, **fields}
    )


@pytest.mark.parametrize(
    ("shares", "stops", "left"),
    [
        (10, [stop(Side.SELL, 10)], ()),
        (10, [stop(Side.SELL, 6), stop(Side.SELL, 4)], ()),
        (10, [stop(Side.SELL, 9)], ("AAPL",)),
        (10, [stop(Side.SELL, 20, filled_quantity=Decimal(11))], ("AAPL",)),
        (10, [stop(Side.BUY, 10)], ("AAPL",)),
        (10, [stop(Side.SELL, 10, ticker="MSFT")], ("AAPL",)),
        (10, [stop(Side.SELL, 10, raw_type="limit")], ("AAPL",)),
        (10, [stop(Side.SELL, 10, raw_status="pending_cancel")], ("AAPL",)),
        (-10, [stop(Side.BUY, 10, raw_type="stop_limit")], ()),
        (-10, [], ("AAPL",)),
    ],
)
def test_what_is_held_without_a_stop_for_all_of_it(
    shares: int, stops: list[BrokerOrder], left: tuple[str, ...]
) -> None:
    assert without_stop([held("AAPL", shares)], stops) == left


def test_a_protective_stop_only_closes_what_is_held() -> None:
    long = [held("AAPL", 10)]
    assert closes_a_position(stop(Side.SELL, 10), long)
    assert not closes_a_position(stop(Side.SELL, 11), long), "it would open a short position"
    assert not closes_a_position(stop(Side.BUY, 10), long)
    assert not closes_a_position(stop(Side.SELL, 10, raw_type="limit"), long)
    assert not closes_a_position(stop(Side.SELL, 10, ticker="MSFT"), long)


class Lists(ScriptedBroker):
    """Notes over what time it was asked for all orders."""

    def __init__(self, *orders: BrokerOrder) -> None:
        super().__init__()
        self.orders = {order.client_order_id: order for order in orders}
        self.listed: list[timedelta] = []

    async def get_orders(self, *, after: datetime, until: datetime) -> list[BrokerOrder]:
        self.listed.append(until - after)
        return [each for each in self.orders.values() if after < each.created_at < until]


@pytest.mark.parametrize(("old", "is_long"), [(2, False), (ONE_BY_ONE_MAX + 1, True)])
async def test_what_has_rested_for_weeks_needs_no_list_over_weeks(old: int, is_long: bool) -> None:
    """It takes a request for every 500 orders since, in the minute in which the cancels need them."""
    at = datetime.now(UTC) - timedelta(days=40)
    rested = [
        told(f"old-{number}", "canceled").model_copy(update={"created_at": at}) for number in range(old)
    ]
    broker: Any = Lists(told("new", "filled"), *rested)
    gone = {order.broker_order_id: order for order in broker.orders.values()}
    canceller = Canceller(broker, KillScope.ALL, lambda _: pytest.fail("nothing is kept"))
    found = await canceller.confirm(gone, lambda _: None)
    fates = {order.client_order_id: OrderFate.CANCELED for order in rested} | {"new": OrderFate.FILLED}
    assert found.fates == fates
    assert [span > timedelta(days=2) for span in broker.listed] == [is_long]


def test_what_status_repeats_is_what_it_repeats() -> None:
    assert status.FENCE_KEY == placement.FENCE_KEY
    assert status.UNANSWERED_GRACE_SECONDS == fence.UNANSWERED_GRACE_SECONDS
