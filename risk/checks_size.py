"""Checks of size and price: one order's notional, quantity, price, and the shares it sells."""

from risk.arithmetic import text
from risk.candidate import Candidate, result
from risk.prices import collar_edge
from schemas.orders import OrderType, Side
from schemas.risk import CheckName, CheckResult

NO_PRICE = "no worst price: the quote is unusable or the limit price missing"
NOT_FOR_CLOSES = "not applied to a close: it can only lower this"


def order_notional(order: Candidate) -> CheckResult:
    """Quantity × worst price, of opens only: a position that has grown past the limit stays closable."""
    limit, notional = order.facts.limits.max_order_notional, order.notional
    if order.worst_price is None or notional is None:
        return result(CheckName.ORDER_NOTIONAL, order.reduces, "unknown", text(limit), NO_PRICE)
    passed = order.reduces or notional <= limit
    return result(
        CheckName.ORDER_NOTIONAL,
        passed,
        text(notional),
        text(limit),
        NOT_FOR_CLOSES
        if order.reduces
        else f"{text(order.proposal.quantity)} × {text(order.worst_price)} = {text(notional)} "
        f"{'≤' if passed else '>'} {text(limit)}",
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


def price_collar(order: Candidate) -> CheckResult:
    """The price may reach at most collar % of mid beyond the far side of the quote.

    Only the aggressive side is bounded: a buy far below the market or a sell far above it risks nothing.
    """
    proposal, collar = order.proposal, order.facts.limits.price_collar_pct
    value = "none" if order.worst_price is None else text(order.worst_price)
    is_market = proposal.order_type is OrderType.MARKET
    fault = _price_fault(order)
    if fault is not None or order.market is None or order.worst_price is None:
        return result(CheckName.PRICE_COLLAR, False, value, "unknown", fault or NO_PRICE)
    side, market = proposal.action.side, order.market
    edge = collar_edge(market, collar, side)
    is_buy = side is Side.BUY
    # A sell's collar may reach below zero; the smallest tick is then inside it.
    passed = order.worst_price <= edge if is_buy else order.worst_price >= edge
    relation = ("≤" if passed else ">") if is_buy else ("≥" if passed else "<")
    far = f"ask {text(market.ask)} +" if is_buy else f"bid {text(market.bid)} −"
    return result(
        CheckName.PRICE_COLLAR,
        passed,
        value,
        text(edge),
        f"{'worst price' if is_market else 'limit price'} {value} {relation} "
        f"{far} {text(collar)} % of mid {text(market.mid)} = {text(edge)}",
    )


def _price_fault(order: Candidate) -> str | None:
    price = order.proposal.limit_price
    if order.proposal.order_type is OrderType.MARKET:
        return None if price is None else f"a MARKET order carries no limit price, this one has {price}"
    if price is None:
        return "a LIMIT order needs a limit price"
    return None if price > 0 else f"{price} is not a price"


def buying_power(order: Candidate) -> CheckResult:
    """Quantity × worst price, of opens only: a close brings money."""
    limit, notional = order.facts.buying_power, order.notional
    if order.reduces:
        return result(CheckName.BUYING_POWER, True, "0", text(limit), NOT_FOR_CLOSES)
    if notional is None:
        return result(CheckName.BUYING_POWER, False, "unknown", text(limit), NO_PRICE)
    passed = notional <= limit
    return result(
        CheckName.BUYING_POWER,
        passed,
        text(notional),
        text(limit),
        f"order {text(notional)} {'≤' if passed else '>'} buying power {text(limit)}",
    )


def sell_more_than_held(order: Candidate) -> CheckResult:
    """A close may sell what the account holds of the ticker, less what working sells may already take."""
    proposal = order.proposal
    if not order.reduces:
        return result(
            CheckName.SELL_MORE_THAN_HELD, True, "0", "0", f"not applied to {proposal.action.value}"
        )
    free, held = order.book.closable, order.book.ticker.held
    passed = proposal.quantity <= free
    return result(
        CheckName.SELL_MORE_THAN_HELD,
        passed,
        text(proposal.quantity),
        text(free),
        f"{text(proposal.quantity)} {'≤' if passed else '>'} held {text(held)} "
        f"− working sells {text(held - free)} = {text(free)}",
    )
