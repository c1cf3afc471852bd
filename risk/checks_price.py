"""Checks of an order's prices: how far they may reach, and where a stop may lie."""

from decimal import Decimal

from risk.arithmetic import text
from risk.candidate import NO_PRICE, Candidate, not_computed, result
from risk.prices import buy_stop_limit, collar_edge, is_on_tick, stop_edge
from schemas.orders import Action, OrderType, Side
from schemas.risk import CheckName, CheckResult


def price_collar(order: Candidate) -> CheckResult:
    """The price may reach at most collar % of mid beyond the far side of the quote.

    Only the aggressive side is bounded: a buy far below the market or a sell far above it risks nothing.
    A stop order works once the market has come to its stop, so its limit is measured from there; a STOP has
    none, and this tells what is reserved for it instead.
    """
    value = "none" if order.worst_price is None else text(order.worst_price)
    fault = _price_fault(order)
    if fault is not None:
        return result(CheckName.PRICE_COLLAR, False, value, "unknown", fault)
    if order.worst_price is None:
        return not_computed(CheckName.PRICE_COLLAR, False, value, "unknown", NO_PRICE)
    if order.proposal.order_type is OrderType.STOP:
        return _reserved_for_stop(order, value)
    anchor = _stop_anchor(order) if order.proposal.order_type.has_stop else _quote_anchor(order)
    if anchor is None:
        return not_computed(CheckName.PRICE_COLLAR, False, value, "unknown", NO_PRICE)
    edge, words = anchor
    is_buy = order.proposal.action.side is Side.BUY
    # A sell's collar may reach below zero; the smallest tick is then inside it.
    passed = order.worst_price <= edge if is_buy else order.worst_price >= edge
    relation = ("≤" if passed else ">") if is_buy else ("≥" if passed else "<")
    name = "worst price" if order.proposal.order_type is OrderType.MARKET else "limit price"
    return result(
        CheckName.PRICE_COLLAR, passed, value, text(edge), f"{name} {value} {relation} {words} = {text(edge)}"
    )


def _quote_anchor(order: Candidate) -> tuple[Decimal, str] | None:
    """The collar's edge from the far side of the quote, and how it came about."""
    market, collar = order.market, order.facts.limits.price_collar_pct
    if market is None:
        return None
    side = order.proposal.action.side
    far = f"ask {text(market.ask)} +" if side is Side.BUY else f"bid {text(market.bid)} −"
    return collar_edge(market, collar, side), f"{far} {text(collar)} % of mid {text(market.mid)}"


def _stop_anchor(order: Candidate) -> tuple[Decimal, str] | None:
    """The collar's edge from the stop price, and how it came about."""
    stop, collar = order.proposal.stop_price, order.facts.limits.price_collar_pct
    if stop is None:
        return None
    side = order.proposal.action.side
    sign = "+" if side is Side.BUY else "−"
    return stop_edge(stop, collar, side), f"stop {text(stop)} {sign} {text(collar)} % of it"


def _reserved_for_stop(order: Candidate, value: str) -> CheckResult:
    anchor, stop = _stop_anchor(order), order.proposal.stop_price
    assert anchor is not None, "a STOP without a stop price is a fault"
    assert stop is not None, "asked just now"
    edge, words = anchor
    told = f"no limit to check; worst price {value}: {words} = {text(edge)}"
    if order.proposal.action.side is Side.BUY:
        told += f", or the broker's own limit for a buy stop {text(buy_stop_limit(stop))} if that is higher"
    return result(CheckName.PRICE_COLLAR, True, value, value, told)


def _price_fault(order: Candidate) -> str | None:
    proposal, kind = order.proposal, order.proposal.order_type
    for name, price, wanted in (
        ("limit", proposal.limit_price, kind.has_limit),
        ("stop", proposal.stop_price, kind.has_stop),
    ):
        if wanted and price is None:
            return f"a {kind.value} order needs a {name} price"
        if not wanted and price is not None:
            return f"a {kind.value} order carries no {name} price, this one has {price}"
        if price is not None and price <= 0:
            return f"{price} is not a price"
    return None


def stop_side(order: Candidate) -> CheckResult:
    """A stop lies beyond the market: above the ask for a buy, below the bid for a sell.

    One on the wrong side would trigger at once; the broker refuses it.
    """
    stop, market = order.proposal.stop_price, order.market
    if stop is None:
        return result(CheckName.STOP_SIDE, True, "no stop", "none", "not applied to an order without a stop")
    is_buy = order.proposal.action.side is Side.BUY
    if market is None:
        limit = "> ask" if is_buy else "< bid"
        return not_computed(
            CheckName.STOP_SIDE, False, text(stop), limit, "no usable quote to place the stop by"
        )
    if is_buy:
        passed, touch = stop > market.ask, f"ask {text(market.ask)}"
        relation, limit = ">" if passed else "≤", f"> {touch}"
    else:
        passed, touch = stop < market.bid, f"bid {text(market.bid)}"
        relation, limit = "<" if passed else "≥", f"< {touch}"
    told = f"{order.proposal.action.side.value} stop {text(stop)} {relation} {touch}"
    return result(CheckName.STOP_SIDE, passed, text(stop), limit, told)


def hard_stop_loss(order: Candidate) -> CheckResult:
    """The protective stop lies on the losing side of the entry, on a tick, and for whole shares.

    Below every price that a long may be entered at or sold at now, above every one of a short: a stop on the
    other side would sell at once what was just bought.
    """
    stop, action = order.proposal.hard_stop_loss, order.proposal.action
    if stop is None:
        return result(CheckName.HARD_STOP_LOSS, True, "none", "none", "no hard stop loss asked for")
    fault = _hard_stop_fault(order, stop)
    if fault is not None:
        return result(CheckName.HARD_STOP_LOSS, False, text(stop), "a legal stop of an entry", fault)
    bounds = _entry_prices(order)
    if bounds is None:
        return not_computed(
            CheckName.HARD_STOP_LOSS, False, text(stop), "beyond the entry", "no usable quote to place it by"
        )
    is_long = action is Action.BUY_TO_OPEN
    edge = min(bounds) if is_long else max(bounds)
    passed = stop < edge if is_long else stop > edge
    relation = ("<" if passed else "≥") if is_long else (">" if passed else "≤")
    wanted = f"{'<' if is_long else '>'} {text(edge)}"
    which = "lowest" if is_long else "highest"
    told = f"hard stop loss {text(stop)} {relation} {text(edge)}, the {which} entry price"
    return result(CheckName.HARD_STOP_LOSS, passed, text(stop), wanted, told)


def _hard_stop_fault(order: Candidate, stop: Decimal) -> str | None:
    if not order.proposal.action.opens:
        return f"{order.proposal.action.value} closes a position: there is nothing to protect"
    if stop <= 0 or not is_on_tick(stop):
        return f"{text(stop)} is not a price that an exchange takes"
    if order.proposal.quantity != order.proposal.quantity.to_integral_value():
        return f"{text(order.proposal.quantity)} are not whole shares: a resting stop takes no others"
    return None


def _entry_prices(order: Candidate) -> list[Decimal] | None:
    """Prices that the entry may be made at; a stop order's are its own, any other's also the market's."""
    proposal, market = order.proposal, order.market
    named = [price for price in (proposal.limit_price, proposal.stop_price) if price is not None]
    if proposal.order_type.has_stop:
        return named or None
    if market is None:
        return None
    return [*named, market.bid if proposal.action is Action.BUY_TO_OPEN else market.ask]
