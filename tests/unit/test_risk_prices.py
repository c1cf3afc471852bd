"""Ticks and roundings by hand."""

from decimal import Decimal

import pytest

from risk.prices import is_on_tick, tick, worst_tick
from schemas.orders import Side
from tests.unit.risk_builders import D


@pytest.mark.parametrize(
    ("price", "step"),
    [("0.0001", "0.0001"), ("0.9999", "0.0001"), ("1", "0.01"), ("1.0001", "0.01"), ("500000", "0.01")],
)
def test_the_tick_changes_at_one_dollar(price: str, step: str) -> None:
    assert tick(D(price)) == D(step)


@pytest.mark.parametrize(
    ("price", "on_tick"),
    [
        ("180.50", True),
        ("180.5", True),
        ("180.501", False),
        ("0.9999", True),
        ("0.99999", False),
        ("1.0001", False),
    ],
)
def test_sub_penny_prices_are_off_the_grid(price: str, on_tick: bool) -> None:
    assert is_on_tick(D(price)) is on_tick


@pytest.mark.parametrize(
    ("edge", "buy", "sell"),
    [
        ("101.01505", "101.01", "101.02"),
        ("101.01", "101.01", "101.01"),
        ("1.00005", "1.00", "1.01"),
        ("0.99995", "0.9999", "1.0000"),
        ("0.00005", "0", "0.0001"),
        ("-3", None, "0.0001"),
    ],
)
def test_buys_round_down_and_sells_up(edge: str, buy: str | None, sell: str) -> None:
    if buy is not None:
        assert worst_tick(D(edge), Side.BUY) == Decimal(buy)
    assert worst_tick(D(edge), Side.SELL) == Decimal(sell)
