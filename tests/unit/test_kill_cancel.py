"""Which positions a kill leaves without a stop, and which stops it may keep, by the broker's word alone."""

from decimal import Decimal

import pytest

from activities.kill_cancel import closes_a_position, without_stop
from console import status
from schemas.orders import BrokerOrder, Side
from storage import fence, placement
from tests.postgres.scripted_broker import held, told


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


def test_what_status_repeats_is_what_it_repeats() -> None:
    assert status.FENCE_KEY == placement.FENCE_KEY
    assert status.UNANSWERED_GRACE_SECONDS == fence.UNANSWERED_GRACE_SECONDS
