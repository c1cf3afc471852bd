"""Whatever happens, in any order: money and shares are conserved, and replay gives the same book."""

import json
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation.book import Book
from simulation.errors import Refusal
from simulation.events import decode, encode
from simulation.orders import ZERO, Order
from simulation.sessions import Phase
from tests.exchange.floor import Floor

STEPS = ("submit", "quote", "settle", "cancel", "replace", "later")
STEP_WEIGHTS = (16, 16, 16, 8, 8, 3)
CENTS = Decimal("0.01")
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
    lasting = common | {"time_in_force": st.sampled_from(["day", "gtc"])}
    profit = st.fixed_dictionaries({"limit_price": PRICES})
    loss = st.fixed_dictionaries({"stop_price": PRICES}, optional={"limit_price": PRICES})
    group = {"take_profit": profit, "stop_loss": loss}
    entry = lasting | {"type": st.just("limit"), "limit_price": PRICES}
    notional = {
        "type": st.just("market"),
        "qty": st.none(),
        "notional": QUANTITIES,
        "time_in_force": st.just("day"),
    }
    return st.one_of(
        st.fixed_dictionaries(common | {"type": st.just("market")}),
        st.fixed_dictionaries(common | {"type": st.just("limit"), "limit_price": PRICES}),
        st.fixed_dictionaries(lasting | {"type": st.just("stop"), "stop_price": PRICES}),
        st.fixed_dictionaries(
            lasting | {"type": st.just("stop_limit"), "stop_price": PRICES, "limit_price": PRICES}
        ),
        st.fixed_dictionaries(lasting | {"type": st.just("trailing_stop"), "trail_price": st.just("0.5")}),
        st.fixed_dictionaries(entry | group | {"order_class": st.sampled_from(["bracket", "oco"])}),
        st.fixed_dictionaries(entry | {"order_class": st.just("oto"), "stop_loss": loss}),
        st.fixed_dictionaries(common | notional),
    )


REPLACEMENTS = st.fixed_dictionaries(
    {}, optional={"qty": QUANTITIES, "limit_price": PRICES, "stop_price": PRICES}
)
COMMANDS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), order_bodies()),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("replace"), st.tuples(st.integers(0, 30), REPLACEMENTS)),
        st.tuples(st.just("settle"), st.none()),
        st.tuples(st.just("quote"), st.tuples(SYMBOLS, st.integers(9_700, 10_300), st.integers(0, 200))),
    ),
    max_size=60,
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
                case "replace":
                    which, body = argument
                    orders = list(floor.book.orders.values())
                    if orders:
                        floor.replace(orders[which % len(orders)], **body)
                case "settle":
                    floor.settle()
                case "quote":
                    symbol, cents, size = argument
                    bid, ask = Decimal(cents) / 100, Decimal(cents + 4) / 100
                    floor.quote(symbol, str(bid), str(ask), bid_size=size, ask_size=size)
        except Refusal:
            floor.collect()
    return floor


def trade_at_random(seed: int, steps: int) -> Floor:
    """A long session of orders that mostly make sense, so that deep states are reached."""
    rng, floor = Random(seed), Floor()
    for _ in range(steps):
        symbol = rng.choice(["AAPL", "MSFT"])
        orders = [floor.book.orders[order_id] for order_id in floor.book.open_ids]
        try:
            match rng.choices(STEPS, weights=STEP_WEIGHTS)[0]:
                case "submit":
                    floor.submit(symbol, **likely_order(rng, floor.book.position_qty(symbol)))
                case "quote":
                    bid, size = Decimal(rng.randint(9_800, 10_200)) / 100, rng.choice([5, 30, 500])
                    floor.quote(symbol, str(bid), str(bid + CENTS * 3), bid_size=size, ask_size=size)
                case "settle":
                    floor.settle()
                case "cancel" if orders:
                    floor.cancel(rng.choice(orders))
                case "replace" if orders:
                    floor.replace(rng.choice(orders), **likely_change(rng))
                case "later":
                    in_hours = floor.sessions.phase(floor.now) is Phase.REGULAR
                    ahead = floor.now + timedelta(minutes=rng.choice([1, 5, 300]))
                    floor.advance(ahead if in_hours else floor.sessions.next_open(floor.now))
        except Refusal:
            floor.collect()
    return floor


def likely_order(rng: Random, position: Decimal) -> dict[str, Any]:
    side = rng.choice(["buy", "sell"])
    down = -1 if side == "buy" else 1
    price = {
        offset: str(100 + Decimal(offset * down) / 100) for offset in (-150, -100, -10, 10, 60, 100, 150)
    }
    closes = position and (position > 0) == (side == "sell")
    qty = str(rng.randint(1, int(abs(position)) or 1)) if closes else str(rng.randint(1, 60))
    body: dict[str, Any] = {"side": side, "qty": qty, "time_in_force": rng.choice(["day", "gtc"])}
    legs = {"take_profit": {"limit_price": price[-150]}, "stop_loss": {"stop_price": price[150]}}
    shapes: list[dict[str, Any]] = [
        {"type": "market", "time_in_force": rng.choice(["day", "ioc", "fok"])},
        {"type": "market", "qty": None, "notional": str(rng.randint(50, 3_000)), "time_in_force": "day"},
        {"type": "limit", "limit_price": price[rng.choice([-100, -10, 10, 60])]},
        {"type": "stop", "stop_price": price[-150]},
        {"type": "stop_limit", "stop_price": price[-150], "limit_price": price[-150]},
        {"type": "trailing_stop", rng.choice(["trail_price", "trail_percent"]): "0.4"},
        {"type": "limit", "limit_price": price[rng.choice([-10, 10])], "order_class": "bracket", **legs},
        {"type": "market", "order_class": "bracket", **legs},
        {"type": "market", "order_class": "oto", "stop_loss": legs["stop_loss"]},
        {
            "type": "limit",
            "order_class": "oco",
            "take_profit": {"limit_price": price[100]},
            "stop_loss": {"stop_price": price[-100]},
        },
    ]
    return body | rng.choice(shapes)


def likely_change(rng: Random) -> dict[str, Any]:
    price = str(Decimal(rng.randint(9_850, 10_150)) / 100)
    shapes = [
        {"qty": str(rng.randint(1, 60))},
        {"limit_price": price},
        {"stop_price": price},
        {"trail": "0.7"},
    ]
    return rng.choice(shapes)


def replayed(floor: Floor) -> Book:
    book = Book()
    for item in floor.events:
        book.apply(decode(json.loads(encode(item.event))))
    return book


def check(floor: Floor) -> None:
    """What must hold for every book, whatever was done to it."""
    book = floor.book
    spent = sum((e.qty * e.price * (1 if e.side == "buy" else -1) for e in book.executions), ZERO)
    assert book.cash == Decimal(100_000) - spent
    for symbol in ("AAPL", "MSFT"):
        check_position(book, symbol)
    for order in book.orders.values():
        check_order(book, order)
    assert abs(book.reserved - sum((order.reserved for order in book.orders.values()), ZERO)) < CENTS
    assert list(book.open_ids) == [order.id for order in book.orders.values() if order.is_open]
    assert replayed(floor) == book


def check_position(book: Book, symbol: str) -> None:
    held = ZERO
    for row in book.executions:
        if row.symbol == symbol:
            after = held + (row.qty if row.side == "buy" else -row.qty)
            assert held * after >= 0, "one execution turned the position around"
            held = after
    assert book.position_qty(symbol) == held
    assert book.held_qty(symbol) <= abs(held)


def check_order(book: Book, order: Order) -> None:
    rows = [e for e in book.executions if e.order_id == order.id]
    executed = sum((e.qty for e in rows), ZERO)
    carried = ZERO
    if order.replaces is not None and (book.orders[order.replaces].replaced_by == order.id):
        carried = book.orders[order.replaces].filled_qty
    if order.replaces is None or order.took_over:
        assert order.filled_qty == executed + carried
    else:
        assert not rows, "a replacement traded before it took its place"
    if order.qty is not None:
        assert order.filled_qty <= order.qty
        assert (order.status == "filled") == (order.filled_qty == order.qty)
    else:
        assert order.notional is not None
        assert order.filled_value <= order.notional
    assert [e.cum_qty for e in rows] == sorted({e.cum_qty for e in rows})
    if order.limit_price is not None:
        worst = max if order.side == "buy" else min
        assert all(worst(e.price, order.limit_price) == order.limit_price for e in rows)


@settings(max_examples=100, deadline=None)
@given(COMMANDS)
def test_money_and_shares_are_conserved_and_replay_is_exact(commands: list[tuple[str, Any]]) -> None:
    check(play(commands))


@pytest.mark.parametrize("seed", range(12))
def test_a_long_session_of_every_order_type_keeps_the_books(seed: int) -> None:
    floor = trade_at_random(seed, 400)
    check(floor)
    kinds = {(order.order_class, order.type) for order in floor.book.orders.values() if order.filled_qty}
    assert len(kinds) >= 6, "the session was too tame to show anything"
