"""Which order at the broker is the one we sent, rewritten or not, and which is somebody else's."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from activities.identity import difference
from schemas.orders import Action, BrokerOrder, OrderRequest, OrderType
from tests.unit.broker_server import order_request

D = Decimal
AT = datetime(2026, 11, 23, 15, 15, tzinfo=UTC)


def sent(order_type: OrderType, **fields: Any) -> OrderRequest:
    return order_request(order_type=order_type, **fields)


def stop(action: Action = Action.BUY_TO_OPEN, price: str = "181") -> OrderRequest:
    return sent(OrderType.STOP, action=action, limit_price=None, stop_price=D(price))


STOP_LIMIT = sent(OrderType.STOP_LIMIT, stop_price=D("181.00"), limit_price=D("181.50"))


def found(order: OrderRequest, **changes: Any) -> BrokerOrder:
    """The order as the broker would tell it."""
    told = BrokerOrder(
        broker_order_id="b-1", client_order_id=order.client_order_id, ticker=order.ticker, side=order.side,
        raw_type=order.sent_type, raw_time_in_force="day", raw_status="new", quantity=order.quantity,
        filled_quantity=D(0), limit_price=order.limit_price, stop_price=order.stop_price, created_at=AT,
    )  # fmt: skip
    return told.model_copy(update=changes)


def rewritten(order: OrderRequest, limit: str, **changes: Any) -> BrokerOrder:
    return found(order, **{"raw_type": "stop_limit", "limit_price": D(limit), **changes})


@pytest.mark.parametrize(
    ("order", "told"),
    [
        (sent(OrderType.MARKET), found(sent(OrderType.LIMIT))),
        (STOP_LIMIT, found(STOP_LIMIT, limit_price=D("181.5"), stop_price=D(181))),
        (stop(), found(stop())),
        (stop(Action.SELL_TO_CLOSE), found(stop(Action.SELL_TO_CLOSE))),
        (stop(price="181"), rewritten(stop(price="181"), "185.53")),
        (stop(price="181"), rewritten(stop(price="181"), "185.52")),
        (stop(price="50"), rewritten(stop(price="50"), "51.25")),
        (stop(price="49.99"), rewritten(stop(price="49.99"), "51.99")),
        (stop(price="0.5"), rewritten(stop(price="0.5"), "0.52")),
    ],
)
def test_is_ours(order: OrderRequest, told: BrokerOrder) -> None:
    assert difference(order, told, AT) is None


@pytest.mark.parametrize(
    ("order", "told", "word"),
    [
        (stop(), rewritten(stop(), "185.51"), "type"),
        (stop(), rewritten(stop(), "185.55"), "type"),
        (stop(price="49.99"), rewritten(stop(price="49.99"), "51.24"), "type"),
        (stop(), rewritten(stop(), "185.53", stop_price=D("181.01")), "stop price"),
        (stop(), rewritten(stop(), "185.53", stop_price=None), "stop price"),
        (stop(), found(stop(), raw_type="market"), "type"),
        (stop(), found(stop(), limit_price=D(190)), "limit price"),
        (stop(Action.SELL_TO_CLOSE), rewritten(stop(Action.SELL_TO_CLOSE), "185.53"), "type"),
        (STOP_LIMIT, found(STOP_LIMIT, limit_price=D("181.51")), "limit price"),
        (STOP_LIMIT, found(STOP_LIMIT, stop_price=D("181.01")), "stop price"),
        (STOP_LIMIT, found(STOP_LIMIT, raw_type="limit"), "type"),
        (sent(OrderType.LIMIT), found(sent(OrderType.LIMIT), stop_price=D(1)), "stop price"),
        (
            stop(),
            found(stop(), created_at=AT - timedelta(seconds=5, microseconds=1)),
            "before our first POST",
        ),
    ],
)
def test_is_somebody_elses(order: OrderRequest, told: BrokerOrder, word: str) -> None:
    assert word in (difference(order, told, AT) or "")
