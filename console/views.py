"""Orders, decisions and stories as people read them."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from console.common import clean, console, step, table
from schemas.orders import OrderView
from schemas.risk import CheckResult
from schemas.signals import DecisionView, TimelineEntry
from schemas.wire import Leg

PRICE_DECIMALS = Decimal("0.0001")


def money(value: Decimal | None) -> str:
    """US dollars with at least two and at most four decimals; empty where unknown."""
    if value is None:
        return ""
    text = f"{value.quantize(PRICE_DECIMALS):,f}"
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"


def shares(value: Decimal) -> str:
    """A quantity without trailing zeros."""
    return f"{value.normalize():,f}"


def clock(value: datetime | None) -> str:
    """Time of day in UTC, to the millisecond."""
    return "" if value is None else value.strftime("%H:%M:%S.%f")[:-3]


def prices(order: OrderView) -> str:
    """``market``, ``180.50``, ``stop 181.00`` or ``stop 181.00 limit 181.50``."""
    limit = money(order.limit_price)
    if order.stop_price is None:
        return limit or "market"
    stop = f"stop {money(order.stop_price)}"
    return f"{stop} limit {limit}" if limit else stop


def leg_words(order: OrderView) -> str:
    """Empty for an entry; ``stop``, ``exit`` and from the second order on its number: ``stop 2``."""
    if order.leg is Leg.ENTRY:
        return ""
    return f"{order.leg.value} {order.generation + 1}" if order.generation else order.leg.value


def order_row(order: OrderView) -> tuple[str, ...]:
    """One order as a row of ``ORDER_COLUMNS``."""
    state = " ".join((order.status.value, *(flag.value for flag in order.flags)))
    return (
        order.signal_id, leg_words(order), order.strategy, order.action.words, shares(order.quantity), order.ticker,
        prices(order), state, shares(order.filled_quantity),
        money(order.average_price), clean(order.reason), clock(order.updated_at),
    )  # fmt: skip


ORDER_COLUMNS = (
    "signal", "leg", "strategy", "side", "quantity", "ticker", "price", "state", "filled", "average", "reason",
    "updated",
)  # fmt: skip
_NUMBERS = ("quantity", "price", "filled", "average")


def draw_orders(orders: Iterable[OrderView]) -> None:
    """A table of orders."""
    lines = [order_row(order) for order in orders]
    if not lines:
        print("no orders")
        return
    console().print(table(ORDER_COLUMNS, lines, right=_NUMBERS))


def draw_pairs(pairs: Sequence[tuple[str, object]]) -> None:
    """Labels and values, one a line; empty values are left out."""
    for label, value in pairs:
        if value not in (None, ""):
            print(f"{label:<18} {clean(value)}")


def order_pairs(order: OrderView) -> list[tuple[str, object]]:
    """All that a person asks of one order."""
    filled = f"{shares(order.filled_quantity)} of {shares(order.quantity)}"
    average = f" at {money(order.average_price)}" if order.average_price is not None else ""
    return [
        ("signal", order.signal_id),
        ("leg", leg_words(order)),
        ("order", f"{order.action.value} {shares(order.quantity)} {order.ticker} {order.order_type.value} "
         f"{prices(order)} {order.time_in_force.value}"),
        ("strategy", order.strategy),
        ("hard stop loss", money(order.hard_stop_loss)),
        ("state", " ".join((order.status.value, *(flag.value for flag in order.flags)))),
        ("filled", filled + average),
        ("reason", order.reason),
        ("message", order.user_message),
        ("client order id", order.client_order_id),
        ("broker order id", order.broker_order_id),
        ("broker status", order.raw_status),
        ("internal order id", order.internal_order_id),
        ("POSTs", order.post_count),
        ("created", order.created_at.isoformat()),
        ("updated", order.updated_at.isoformat()),
    ]  # fmt: skip


def draw_decision(decision: DecisionView | None) -> None:
    """Each check with its arithmetic."""
    if decision is None:
        print("risk: not decided yet")
        return
    verdict = "approved" if decision.approved else "rejected"
    print(f"risk: {verdict} at {clock(decision.decided_at)}, limits version {decision.limits_version}")
    lines = [
        (check.name.value, _outcome(check), check.value, check.limit, check.formula)
        for check in decision.checks
    ]
    console().print(table(("check", "", "value", "limit", "formula"), lines))


def _outcome(check: CheckResult) -> str:
    if check.passed:
        return "passed"
    return "failed" if check.computed else "not computed"


def draw_timeline(entries: Sequence[TimelineEntry]) -> None:
    """The story, oldest first, with the time each step came after the one before."""
    lines: list[Sequence[Any]] = []
    before: datetime | None = None
    for entry in entries:
        after, before = step(before, entry.at), entry.at
        failed = "; ".join(check.formula for check in entry.checks if not check.passed)
        lines.append((clock(entry.at), after, entry.component, entry.decision, entry.detail or failed))
    console().print(table(("time", "after", "component", "decision", "detail"), lines, right=("after",)))
