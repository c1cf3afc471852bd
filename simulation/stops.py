"""When stops trigger and how trailing stops follow the market. Pure."""

from decimal import ROUND_HALF_EVEN, Decimal

from simulation.events import OrderChanges
from simulation.orders import Order, Side
from simulation.quotes import Quote

PRICE_GRID = Decimal("0.01")
PERCENT = Decimal(100)


def is_triggered(order: Order, quote: Quote) -> bool:
    """Whether the quote touches a stop: the ask for buys, the bid for sells."""
    if order.stop_price is None:
        return True
    if order.side == "buy":
        return bool(quote.ask) and quote.ask >= order.stop_price
    return bool(quote.bid) and quote.bid <= order.stop_price


def trailed_stop(
    side: Side, hwm: Decimal, trail_price: Decimal | None, trail_percent: Decimal | None
) -> Decimal:
    """The stop that far behind the best price seen: below it for sells, above it for buys."""
    distance = trail_price if trail_price is not None else hwm * (trail_percent or Decimal(0)) / PERCENT
    stop = hwm - distance if side == "sell" else hwm + distance
    return max(PRICE_GRID, stop.quantize(PRICE_GRID, rounding=ROUND_HALF_EVEN))


def trail(order: Order, quote: Quote) -> OrderChanges | None:
    """How a trailing stop moves with this quote, None if it stays."""
    if order.type != "trailing_stop" or order.triggered or order.hwm is None:
        return None
    touch = quote.bid if order.side == "sell" else quote.ask
    if not touch:
        return None
    better = touch > order.hwm if order.side == "sell" else touch < order.hwm
    if not better:
        return None
    return {
        "hwm": touch,
        "stop_price": trailed_stop(order.side, touch, order.trail_price, order.trail_percent),
    }
