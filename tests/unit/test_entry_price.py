"""The price a position was entered at."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.entry_price import entry
from schemas.orders import Side

BUY, SELL = Side.BUY, Side.SELL
D = Decimal


@pytest.mark.parametrize(
    ("executions", "quantity", "price"),
    [
        ([], D(0), None),
        ([(BUY, D(100), D("77.99"))], D(100), D("77.99")),
        ([(BUY, D(100), D("77.99")), (SELL, D(99), D("77.97"))], D(1), D("77.99")),
        ([(BUY, D(10), D(100)), (BUY, D(30), D(104))], D(40), D(103)),
        ([(BUY, D(10), D(100)), (SELL, D(10), D(120))], D(0), None),
        ([(BUY, D(10), D(100)), (SELL, D(15), D(120))], D(-5), D(120)),
        ([(SELL, D(10), D(50)), (BUY, D(4), D(40))], D(-6), D(50)),
    ],
    ids=["flat", "bought", "mostly sold", "added to", "closed", "turned short", "partly covered"],
)
def test_average_cost(executions: list[tuple[Side, D, D]], quantity: D, price: D | None) -> None:
    found = entry(executions)
    assert found.quantity == quantity
    assert found.price == price


trades = st.tuples(st.sampled_from(Side), st.integers(1, 1000).map(D), st.integers(1, 500).map(D))


@given(st.lists(trades, min_size=1, max_size=20))
def test_it_lies_within_the_prices_paid(executions: list[tuple[Side, D, D]]) -> None:
    found = entry(executions)
    side = BUY if found.quantity > 0 else SELL
    if found.price is not None:
        paid = [price for each, _, price in executions if each is side]
        slack = D("1e-20")
        assert min(paid) - slack <= found.price <= max(paid) + slack
