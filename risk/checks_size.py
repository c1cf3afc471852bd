"""Checks of size: one order's notional, quantity, and what it asks of the buying power."""

from risk.arithmetic import text
from risk.candidate import NO_PRICE, Candidate, not_computed, result
from schemas.risk import CheckName, CheckResult

NOT_FOR_CLOSES = "not applied to a close: it can only lower this"


def order_notional(order: Candidate) -> CheckResult:
    """Quantity × reserve price, of opens only: a position that has grown past the limit stays closable."""
    limit, notional = order.facts.limits.max_order_notional, order.notional
    if order.reserve_price is None or notional is None:
        return not_computed(CheckName.ORDER_NOTIONAL, order.reduces, "unknown", text(limit), NO_PRICE)
    passed = order.reduces or notional <= limit
    return result(
        CheckName.ORDER_NOTIONAL,
        passed,
        text(notional),
        text(limit),
        NOT_FOR_CLOSES
        if order.reduces
        else f"{text(order.proposal.quantity)} × {text(order.reserve_price)}{order.reserve_words} "
        f"= {text(notional)} {'≤' if passed else '>'} {text(limit)}",
    )


def order_quantity(order: Candidate) -> CheckResult:
    """Shares in one order; holds for closes too, which can be sent in parts."""
    quantity, limit = order.proposal.quantity, order.facts.limits.max_order_quantity
    passed = 0 < quantity <= limit
    relation = "≤" if quantity <= limit else ">"
    return result(
        CheckName.ORDER_QUANTITY,
        passed,
        text(quantity),
        text(limit),
        f"{text(quantity)} {relation} {text(limit)}" if quantity > 0 else f"{text(quantity)} is no quantity",
    )


def buying_power(order: Candidate) -> CheckResult:
    """Quantity × reserve price, of opens only: the broker reserves nothing for a close."""
    limit, notional = order.facts.buying_power, order.notional
    if order.reduces:
        return result(CheckName.BUYING_POWER, True, "0", text(limit), NOT_FOR_CLOSES)
    if notional is None:
        return not_computed(CheckName.BUYING_POWER, False, "unknown", text(limit), NO_PRICE)
    passed = notional <= limit
    return result(
        CheckName.BUYING_POWER,
        passed,
        text(notional),
        text(limit),
        f"order {text(notional)}{order.reserve_words} {'≤' if passed else '>'} buying power {text(limit)}",
    )
