"""Rules that need the account: wash trades, held shares, flips, shorting, buying power."""

from dataclasses import dataclass
from decimal import Decimal

from simulation import errors
from simulation.book import Book, Marks
from simulation.order_request import OrderRequest
from simulation.orders import ZERO, Order, PositionIntent
from simulation.settings import SymbolSettings

# Short sales reserve at least this much over the market.
SHORT_RESERVE = Decimal("1.03")
_LIMITED = ("limit", "stop_limit")


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the account rules found out about an order they let pass."""

    position_intent: PositionIntent
    reserve_price: Decimal


def check_wash_trade(book: Book, request: OrderRequest) -> None:
    """Refuse an order that could trade against one of the account's own open orders.

    Advanced classes and trailing stops are exempt.
    """
    if request.order_class or request.type == "trailing_stop":
        return
    for order in book.open_orders(request.symbol):
        if order.side == request.side or order.type == "trailing_stop" or order.status == "held":
            continue
        if order.type not in _LIMITED or request.type not in _LIMITED:
            kind = "market/stop" if order.type not in _LIMITED else "limit"
            raise errors.wash_trade(kind, order.id)
        if _crosses(order, request):
            raise errors.wash_trade("limit", order.id)


def _crosses(order: Order, request: OrderRequest) -> bool:
    if order.limit_price is None or request.limit_price is None:
        return True
    if request.side == "buy":
        return request.limit_price >= order.limit_price
    return order.limit_price >= request.limit_price


def position_intent(book: Book, request: OrderRequest) -> PositionIntent:
    """What the order does to the position now: flips are impossible, so one word covers all of it."""
    position = book.position_qty(request.symbol)
    if request.side == "buy":
        inferred: PositionIntent = "buy_to_close" if position < 0 else "buy_to_open"
    else:
        inferred = "sell_to_close" if position > 0 else "sell_to_open"
    if request.position_intent not in (None, inferred):
        raise errors.unprocessable(
            f"position intent mismatch, inferred: {inferred}, specified: {request.position_intent}"
        )
    return inferred


def check_account(
    book: Book,
    request: OrderRequest,
    listed: SymbolSettings,
    marks: Marks,
    *,
    price: Decimal,
    shorting_enabled: bool,
    replacing: Order | None = None,
) -> Allowed:
    """Raises Refusal if the account cannot carry the order; ``price`` is the market's for its side.

    While ``replacing`` an order, what that order holds counts as free.
    """
    intent = position_intent(book, request)
    if intent in ("sell_to_close", "buy_to_close"):
        _check_held(book, request, price, replacing)
        return Allowed(intent, ZERO)
    if intent == "sell_to_open":
        _check_short(book, request, listed, shorting_enabled=shorting_enabled)
    elif any(order.position_intent == "sell_to_open" for order in book.open_orders(request.symbol)):
        raise errors.forbidden("cannot open a long buy while a short sell order is open")
    reserve_price = _reserve_price(request, price)
    cost = request.notional if request.qty is None else request.qty * reserve_price
    freed = replacing.reserved if replacing else ZERO
    available = book.buying_power(marks) + freed
    if cost is None or cost > available:
        raise errors.insufficient_buying_power(available, cost or ZERO)
    return Allowed(intent, reserve_price)


def _reserve_price(request: OrderRequest, market: Decimal) -> Decimal:
    named = request.limit_price or request.stop_price or ZERO
    if request.side == "sell":
        return max(named, market * SHORT_RESERVE)
    return named or market


def _check_held(book: Book, request: OrderRequest, price: Decimal, replacing: Order | None) -> None:
    existing = abs(book.position_qty(request.symbol))
    held = book.held_qty(request.symbol) - (replacing.leaves_qty if replacing else ZERO)
    if request.qty is not None:
        wanted = request.qty
    else:
        wanted = (request.notional or ZERO) / price if price else existing + 1
    if wanted > existing - held:
        raise errors.insufficient_qty(request.symbol, wanted, existing, held)


def _check_short(
    book: Book, request: OrderRequest, listed: SymbolSettings, *, shorting_enabled: bool
) -> None:
    if not shorting_enabled:
        raise errors.forbidden("account is not allowed to short")
    if not listed.shortable:
        raise errors.unprocessable(f'asset "{listed.symbol}" cannot be sold short')
    if request.qty is None or request.qty % 1:
        raise errors.unprocessable("fractional orders cannot be sold short")
    if any(order.position_intent == "buy_to_open" for order in book.open_orders(request.symbol)):
        raise errors.forbidden("cannot open a short sell while a long buy order is open")
