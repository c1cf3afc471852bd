"""Whether the audit log alone tells what happened at the exchange: orders, executions and books, rebuilt from it.

The exchange's word is the truth here too; nothing of our own books is read. Pure functions.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from audit.rebuild import Order, Rebuilt
from schemas.orders import Fill, OrderRequest, OrderStatus
from schemas.reconciliation import CASH
from workers.chaos.judge import CENT, Verdict
from workers.chaos.ledger import ZERO, BrokerOrder, Execution, Ledger
from workers.chaos.ours import Books

ENDS: Final[Mapping[str, OrderStatus]] = {
    "filled": OrderStatus.FILLED,
    "canceled": OrderStatus.CANCELED,
    "expired": OrderStatus.CANCELED,
    "rejected": OrderStatus.REJECTED,
}
TIMES_APART: Final = timedelta(milliseconds=1)
"""The broker's list of executions rounds their time to the millisecond."""


def judge_audit(verdict: Verdict, told: Rebuilt, ledger: Ledger, theirs: Books) -> None:
    """Add the figures of the audit log to a verdict."""
    verdict.figures |= {
        "audit_rows": told.rows,
        "audit_orders": len(told.orders),
        "audit_fills": sum(len(order.counted) for order in told.orders.values()),
    }
    verdict.must_be_none(
        "audit_orders_off", orders_off(told, ledger), "orders that the audit log tells otherwise"
    )
    verdict.must_be_none(
        "audit_fills_off", fills_off(told, ledger), "executions that the audit log tells otherwise"
    )
    verdict.must_be_none(
        "audit_positions_off",
        positions_off(told, ledger, theirs),
        "positions that the audit log tells otherwise",
    )
    verdict.must_be_none("audit_doubts", told.doubts, "contradictions in the audit log")


def orders_off(told: Rebuilt, ledger: Ledger) -> set[str]:
    """Orders of ours at the exchange that the audit log does not tell as they are, and those that it makes up."""
    by_id = told.by_client_id
    found = set()
    for there in ledger.top_orders:
        if not there.ours:
            continue
        order = by_id.get(there.client_order_id)
        why = "not told" if order is None else "; ".join(_differences(order, there))
        if why:
            found.add(f"{there.client_order_id} ({why})")
    known = {order.client_order_id for order in ledger.top_orders}
    for order in told.orders.values():
        if order.client_order_id not in known and (order.broker_order_id or not order.status.is_final):
            found.add(f"{order.key} (not at the exchange, told as {order.status.value})")
    return found


def _differences(order: Order, there: BrokerOrder) -> Iterable[str]:
    if there.order_id not in (order.broker_order_id, *order.predecessors):
        yield f"told as {order.broker_order_id}, it is {there.order_id}"
    expected = ENDS.get(there.status)
    if expected is None:
        expected = OrderStatus.PARTIALLY_FILLED if there.filled else OrderStatus.ACKNOWLEDGED
    if expected is OrderStatus.REJECTED and there.filled:
        expected = OrderStatus.CANCELED
    if order.status is not expected:
        yield f"told as {order.status.value}, it is {there.status}"
    if order.filled_quantity != there.filled:
        yield f"told with {order.filled_quantity} filled, it has {there.filled}"
    if order.history and order.history[-1].status.is_final and not order.settled:
        yield "not told as settled"
    if order.request is None:
        yield "its request is not told"
    else:
        yield from _unlike(OrderRequest.model_validate(order.request), there)


def _unlike(request: OrderRequest, there: BrokerOrder) -> Iterable[str]:
    """Fields in which the exchange made another order than was asked. A buy stop becomes a stop-limit there."""
    pairs: tuple[tuple[str, Any, Any], ...] = (
        ("ticker", request.ticker, there.body["symbol"]),
        ("side", request.side.value, there.body["side"]),
        ("quantity", request.quantity, there.number("qty")),
        ("stop price", request.stop_price, there.number("stop_price")),
        ("time in force", request.time_in_force.value.lower(), there.body["time_in_force"]),
    )
    if request.limit_price is not None:
        pairs += (("limit price", request.limit_price, there.number("limit_price")),)
    return (f"{name} told as {ours}, it is {theirs}" for name, ours, theirs in pairs if ours != theirs)


def fills_off(told: Rebuilt, ledger: Ledger) -> set[str]:
    """Executions that only one of the two has, or that differ in order, shares, price or time."""
    ours = {
        name: (fill, order.client_order_id)
        for order in told.orders.values()
        for fill in order.counted
        for name in (execution_id(fill),)
    }
    theirs = {name: each for name, each in ledger.executions.items() if each.order.ours}
    found = {f"{name} (not told)" for name in theirs.keys() - ours.keys()}
    found |= {f"{name} (not at the exchange)" for name in ours.keys() - theirs.keys()}
    for name in ours.keys() & theirs.keys():
        fill, owner = ours[name]
        if owner != theirs[name].order.client_order_id or not _same(fill, theirs[name]):
            found.add(f"{name} (told as {fill.quantity} at {fill.price} of {owner})")
    busted = {
        execution_id(fill) for order in told.orders.values() for fill in order.fills.values() if fill.busted
    }
    return found | {f"{name} (told as taken back)" for name in busted & theirs.keys()}


def execution_id(fill: Fill) -> str:
    """The exchange's id of it: what the stream names it by, or the second half of what its list does."""
    return fill.execution_id or (fill.activity_id or "").rpartition("::")[2]


def _same(fill: Fill, there: Execution) -> bool:
    return (fill.quantity, fill.price, fill.side.value, fill.ticker) == (
        there.quantity,
        there.price,
        there.order.body["side"],
        there.order.body["symbol"],
    ) and abs(fill.executed_at - there.at) <= TIMES_APART


def positions_off(told: Rebuilt, ledger: Ledger, theirs: Books) -> set[str]:
    """Tickers whose shares are not the exchange's account's or not what its executions come to; and the cash."""
    shares, traded = told.shares(), _traded(ledger)
    held = {ticker: quantity for ticker, quantity in shares.items() if ticker != CASH}
    tickers = held.keys() | theirs.shares.keys()
    found = {each for each in tickers if held.get(each, ZERO) != theirs.shares.get(each, ZERO)}
    # Of the account's own beginning the journal tells: what it has booked of shares is not of executions.
    booked: dict[str, Decimal] = defaultdict(Decimal)
    for entry in told.journal.values():
        booked[entry.ticker] += entry.quantity
    found |= {
        f"{each} (by executions)"
        for each in tickers | traded.keys()
        if held.get(each, ZERO) - booked[each] != traded.get(each, ZERO)
    }
    if abs(told.cash() - theirs.cash) >= CENT:
        found.add(f"cash (told as {told.cash()}, it is {theirs.cash})")
    return found


def _traded(ledger: Ledger) -> dict[str, Decimal]:
    """Net shares by ticker that executions of our orders have moved."""
    found: dict[str, Decimal] = defaultdict(Decimal)
    for each in ledger.executions.values():
        if each.order.ours:
            sign = 1 if each.order.body["side"] == "buy" else -1
            found[each.order.body["symbol"]] += sign * each.quantity
    return found
