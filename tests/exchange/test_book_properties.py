"""Whatever happens, in any order: money and shares are conserved, and replay gives the same book."""

import json
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from simulation.book import Book
from simulation.errors import Refusal
from simulation.events import decode, encode
from simulation.orders import ZERO
from tests.exchange.floor import Floor

PRICES = st.integers(9_700, 10_300).map(lambda cents: str(Decimal(cents) / 100))
QUANTITIES = st.integers(1, 400).map(str)
SYMBOLS = st.sampled_from(["AAPL", "MSFT"])


def order_bodies() -> st.SearchStrategy[dict[str, Any]]:
    common = {
        "symbol": SYMBOLS,
        "side": st.sampled_from(["buy", "sell"]),
        "qty": QUANTITIES,
        "time_in_force": st.sampled_from(["day", "gtc", "ioc", "fok"]),
    }
    market = st.fixed_dictionaries(common | {"type": st.just("market")})
    limit = st.fixed_dictionaries(common | {"type": st.just("limit"), "limit_price": PRICES})
    return market | limit


COMMANDS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), order_bodies()),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("settle"), st.none()),
        st.tuples(st.just("quote"), st.tuples(SYMBOLS, st.integers(9_700, 10_300), st.integers(0, 200))),
    ),
    max_size=40,
)


def play(commands: list[tuple[str, Any]]) -> Floor:
    floor = Floor()
    for name, argument in commands:
        try:
            match name:
                case "submit":
                    floor.submit(**argument)
                case "cancel":
                    orders = list(floor.book.orders.values())
                    if orders:
                        floor.cancel(orders[argument % len(orders)])
                case "settle":
                    floor.settle()
                case "quote":
                    symbol, cents, size = argument
                    bid, ask = Decimal(cents) / 100, Decimal(cents + 4) / 100
                    floor.quote(symbol, str(bid), str(ask), bid_size=size, ask_size=size)
        except Refusal:
            floor.collect()
    return floor


def replayed(floor: Floor) -> Book:
    book = Book()
    for item in floor.events:
        book.apply(decode(json.loads(encode(item.event))))
    return book


@settings(max_examples=150, deadline=None)
@given(COMMANDS)
def test_money_and_shares_are_conserved_and_replay_is_exact(commands: list[tuple[str, Any]]) -> None:
    floor = play(commands)
    book = floor.book
    spent = sum((e.qty * e.price * (1 if e.side == "buy" else -1) for e in book.executions), ZERO)
    assert book.cash == Decimal(100_000) - spent
    for symbol in ("AAPL", "MSFT"):
        rows = [e for e in book.executions if e.symbol == symbol]
        assert book.position_qty(symbol) == sum((e.qty if e.side == "buy" else -e.qty for e in rows), ZERO)
        assert book.held_qty(symbol) <= abs(book.position_qty(symbol))
    for order in book.orders.values():
        rows = [e for e in book.executions if e.order_id == order.id]
        assert order.qty is not None
        assert order.filled_qty == sum((e.qty for e in rows), ZERO) <= order.qty
        assert order.filled_value == sum((e.qty * e.price for e in rows), ZERO)
        assert (order.status == "filled") == (order.filled_qty == order.qty)
        assert [e.cum_qty for e in rows] == sorted({e.cum_qty for e in rows})
        if order.limit_price is not None:
            worst = max if order.side == "buy" else min
            assert all(worst(e.price, order.limit_price) == order.limit_price for e in rows)
    assert book.reserved == sum((order.reserved for order in book.orders.values()), ZERO)
    assert replayed(floor) == book


@settings(max_examples=60, deadline=None)
@given(COMMANDS)
def test_positions_never_change_sign_through_one_order(commands: list[tuple[str, Any]]) -> None:
    floor = play(commands)
    held: dict[str, Decimal] = {}
    for row in floor.book.executions:
        before = held.get(row.symbol, ZERO)
        after = before + (row.qty if row.side == "buy" else -row.qty)
        assert before * after >= 0
        held[row.symbol] = after
