"""Where what the audit log tells is not what our own books say. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from audit.rebuild import Key, Order, Position, Rebuilt
from schemas.base import decimal_text
from schemas.orders import Fill

FIELDS: Final = (
    "status", "settled", "order_id", "client_order_id", "broker_order_id", "predecessors", "quantity",
    "filled_quantity", "request",
)  # fmt: skip
"""Of an order. What it was made as its request holds, once something was sent."""


def orders_off(told: Rebuilt, kept: Mapping[Key, Order]) -> list[str]:
    """Orders that one of the two does not know, or that differ; one line each."""
    found = [f"{key}: only the books have it" for key in kept.keys() - told.orders.keys()]
    found += [f"{key}: only the audit log tells of it" for key in told.orders.keys() - kept.keys()]
    for key in kept.keys() & told.orders.keys():
        ours, theirs = _facts(kept[key]), _facts(told.orders[key])
        wrong = [
            f"{name} is {ours[name]}, audited {theirs[name]}" for name in ours if ours[name] != theirs[name]
        ]
        if wrong:
            found.append(f"{key}: {'; '.join(wrong)}")
    return sorted(found)


def fills_off(told: Rebuilt, kept: Mapping[Key, Order]) -> list[str]:
    """Executions that one of the two does not know, or that differ; one line each."""
    found: list[str] = []
    for key in kept.keys() & told.orders.keys():
        ours, theirs = kept[key].fills, told.orders[key].fills
        found += [
            f"{key}, execution {place}: {_line(ours.get(place))}, audited {_line(theirs.get(place))}"
            for place in sorted(ours.keys() | theirs.keys())
            if ours.get(place) != theirs.get(place)
        ]
    return sorted(found)


def positions_off(told: Rebuilt, kept: Mapping[tuple[str, str], Position]) -> list[str]:
    """Tickers and strategies whose shares or cash differ; one line each."""
    rebuilt = told.positions()
    nothing = Position()
    return [
        f"{ticker} of {strategy}: {_sum(kept.get((ticker, strategy), nothing))}, "
        f"audited {_sum(rebuilt.get((ticker, strategy), nothing))}"
        for ticker, strategy in sorted(kept.keys() | rebuilt.keys())
        if kept.get((ticker, strategy), nothing) != rebuilt.get((ticker, strategy), nothing)
    ]


def _facts(order: Order) -> dict[str, Any]:
    return {name: getattr(order, name) for name in FIELDS}


def _line(fill: Fill | None) -> str:
    if fill is None:
        return "none"
    busted = ", busted" if fill.busted else ""
    name = fill.execution_id or fill.activity_id
    return f"{name} {decimal_text(fill.quantity)} at {decimal_text(fill.price)}{busted}"


def _sum(position: Position) -> str:
    return f"{decimal_text(position.quantity)} shares and ${decimal_text(position.cash)}"
