"""Checks of size: one order's notional, quantity, and what it asks of the buying power."""

from risk.arithmetic import text
from risk.candidate import NO_PRICE, Candidate, not_computed, result
from schemas.orders import Side
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


def insufficient_funds(order: Candidate) -> CheckResult:
    """The broker has refused an order of this strategy for want of funds: no further buy on the same numbers.

    Only a snapshot taken after that refusal, with room for the refused order, says that the money is there.
    A cover passes: it is a buy that gives risk back.
    """
    facts, refusal = order.facts, order.facts.funds_refusal
    if refusal is None:
        return result(
            CheckName.INSUFFICIENT_FUNDS, True, "none", "none", "no order was refused for want of funds"
        )
    needed, power = text(refusal.needed), text(facts.buying_power)
    said = (
        f"the broker refused {refusal.client_order_id} at {refusal.refused_at.isoformat()}, ${needed} needed"
    )
    if order.reduces or order.proposal.action.side is not Side.BUY:
        words = f"{said}; not applied: this is no buy that opens"
        return result(CheckName.INSUFFICIENT_FUNDS, True, power, f"≥ {needed}", words)
    if facts.snapshot_at is None or facts.snapshot_at <= refusal.refused_at:
        read = "never" if facts.snapshot_at is None else f"at {facts.snapshot_at.isoformat()}"
        words = f"{said}; the account was last read {read}, not since"
        return result(CheckName.INSUFFICIENT_FUNDS, False, "no later snapshot", f"≥ {needed}", words)
    passed = facts.buying_power >= refusal.needed
    relation = "≥" if passed else "<"
    words = f"{said}; buying power {power} {relation} {needed}, read at {facts.snapshot_at.isoformat()}"
    return result(CheckName.INSUFFICIENT_FUNDS, passed, power, f"≥ {needed}", words)
