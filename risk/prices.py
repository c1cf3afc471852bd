"""Prices: ticks, mids, what is wrong with a quote, and how far a price may reach."""

import decimal
from dataclasses import dataclass
from decimal import Decimal

from risk.arithmetic import HALF, HUNDREDTH, rounded, text
from risk.constants import (
    BUY_STOP_AT_OR_ABOVE,
    BUY_STOP_BELOW,
    BUY_STOP_THRESHOLD,
    TICK_AT_OR_ABOVE,
    TICK_BELOW,
    TICK_THRESHOLD,
)
from schemas.market import Quote
from schemas.orders import Side


@dataclass(frozen=True, slots=True)
class Market:
    """A quote whose two sides were found usable. US dollars a share."""

    bid: Decimal
    ask: Decimal

    @property
    def mid(self) -> Decimal:
        """Exact inside ``risk.arithmetic.exact``."""
        return (self.bid + self.ask) * HALF


def quote_defect(quote: Quote | None) -> str | None:
    """What makes the quote unusable, in words, or None. Locked (bid = ask) is usable, crossed is not."""
    if quote is None:
        return "no quote"
    for side, price in (("bid", quote.bid), ("ask", quote.ask)):
        if price is None:
            return f"no {side}"
        if price <= 0:
            return f"{side} {text(price)} is not a price"
    if quote.bid is not None and quote.ask is not None and quote.bid > quote.ask:
        return f"crossed: bid {text(quote.bid)} > ask {text(quote.ask)}"
    return None


def usable(quote: Quote | None) -> Market | None:
    """The two sides, or None where ``quote_defect`` finds fault."""
    if quote is None or quote_defect(quote) or quote.bid is None or quote.ask is None:
        return None
    return Market(bid=quote.bid, ask=quote.ask)


def tick(price: Decimal) -> Decimal:
    """The price step that holds at ``price`` (Reg NMS Rule 612)."""
    return TICK_AT_OR_ABOVE if price >= TICK_THRESHOLD else TICK_BELOW


def is_on_tick(price: Decimal) -> bool:
    """Whether an exchange takes this price; others are refused as sub-penny."""
    return rounded(price, tick(price), decimal.ROUND_FLOOR) == price


def collar_edge(market: Market, collar_pct: Decimal, side: Side) -> Decimal:
    """The worst price a side may reach: ask + collar % of mid for a buy, bid − collar % of mid for a sell."""
    reach = collar_pct * HUNDREDTH * market.mid
    return market.ask + reach if side is Side.BUY else market.bid - reach


def stop_edge(stop: Decimal, collar_pct: Decimal, side: Side) -> Decimal:
    """The worst price of an order that began to work at its stop: the stop ± collar % of it."""
    reach = collar_pct * HUNDREDTH * stop
    return stop + reach if side is Side.BUY else stop - reach


def buy_stop_limit(stop: Decimal) -> Decimal:
    """The limit that the broker gives a buy STOP, rounded up: how it rounds is documented nowhere."""
    factor = BUY_STOP_BELOW if stop < BUY_STOP_THRESHOLD else BUY_STOP_AT_OR_ABOVE
    limit = stop * factor
    return rounded(limit, tick(limit), decimal.ROUND_CEILING)


def worst_tick(edge: Decimal, side: Side) -> Decimal:
    """The last price on the grid that is not beyond ``edge``: buys round down, sells up.

    A sell never goes below the smallest tick; a buy whose edge lies below it comes out as 0, no price.
    """
    if side is Side.SELL:
        edge = max(edge, TICK_BELOW)
        return rounded(edge, tick(edge), decimal.ROUND_CEILING)
    return rounded(edge, tick(edge), decimal.ROUND_FLOOR)
