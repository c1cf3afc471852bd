"""Price-time matching of the account's orders against one quote. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

from simulation.order_request import QTY_PLACES
from simulation.orders import ZERO, Order, Side
from simulation.quotes import Quote


@dataclass(frozen=True, slots=True)
class Fill:
    order: Order
    qty: Decimal
    price: Decimal
    complete: bool


@dataclass(slots=True)
class Displayed:
    """Shares of one quote not yet taken by this account; None: sizes are not looked at."""

    version: int
    bid: Decimal | None
    ask: Decimal | None

    @classmethod
    def of(cls, quote: Quote, *, limited: bool) -> "Displayed":
        if not limited:
            return cls(quote.version, None, None)
        return cls(quote.version, Decimal(quote.bid_size), Decimal(quote.ask_size))

    def available(self, side: Side) -> Decimal | None:
        return self.ask if side == "buy" else self.bid

    def take(self, side: Side, qty: Decimal) -> None:
        if side == "buy" and self.ask is not None:
            self.ask -= qty
        elif side == "sell" and self.bid is not None:
            self.bid -= qty


def execution_price(order: Order, quote: Quote) -> Decimal | None:
    """The touch an order would trade at now, None if it would not.

    An order never trades through the quote: a limit better than the touch gets the touch.
    """
    touch = quote.ask if order.side == "buy" else quote.bid
    if not touch:
        return None
    if order.limit_price is None:
        return touch
    reaches = touch <= order.limit_price if order.side == "buy" else touch >= order.limit_price
    return touch if reaches else None


def by_priority(orders: Iterable[Order]) -> list[Order]:
    """Market orders first, then the better limit, then the earlier submission."""

    def key(order: Order) -> tuple[int, Decimal, object]:
        if order.limit_price is None:
            return (0, ZERO, order.submitted_at)
        return (1, -order.limit_price if order.side == "buy" else order.limit_price, order.submitted_at)

    return sorted(orders, key=key)


def match(orders: Iterable[Order], quote: Quote, displayed: Displayed) -> Iterator[Fill]:
    """Executions of these orders against the quote, best priority first; takes from ``displayed``."""
    for order in by_priority(orders):
        price = execution_price(order, quote)
        if price is None:
            continue
        leaves = order.leaves_qty if order.notional is None else _shares_for(order, price)
        available = displayed.available(order.side)
        qty = leaves if available is None else min(leaves, available)
        if qty <= 0 or (order.time_in_force == "fok" and qty < leaves):
            continue
        displayed.take(order.side, qty)
        yield Fill(order, qty, price, complete=qty == leaves)


def _shares_for(order: Order, price: Decimal) -> Decimal:
    """What is left of a notional order's money, in shares with at most nine decimals."""
    left = (order.notional or ZERO) - order.filled_value
    shares = (left / price).quantize(QTY_PLACES, rounding=ROUND_DOWN)
    return shares if order.opens else min(shares, order.claimed_qty)
