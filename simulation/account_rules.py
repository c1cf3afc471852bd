"""Rules that need the account: wash trades, held shares, flips, shorting, buying power."""

from dataclasses import dataclass
from decimal import ROUND_UP, Decimal

from simulation import errors
from simulation.book import Book
from simulation.order_request import QTY_PLACES, OrderRequest
from simulation.orders import ZERO, Order, PositionIntent
from simulation.settings import SymbolSettings
from simulation.valuation import MarketValue

# Short sales reserve at least this much over the market.
SHORT_RESERVE = Decimal("1.03")
_LIMITED = ("limit", "stop_limit")


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the account rules found out about an order they let pass.

    ``reserve_price``: buying power a share takes; ``notional_qty``: shares a notional sale may take.
    """

    position_intent: PositionIntent
    reserve_price: Decimal = ZERO
    notional_qty: Decimal = ZERO


def check_configuration(book: Book, request: OrderRequest) -> None:
    """Raises Refusal if the account's owner switched this kind of order off."""
    if book.configuration.suspend_trade:
        raise errors.forbidden("new orders are rejected by user request")
    fractional = request.notional is not None or (request.qty is not None and request.qty % 1)
    if fractional and not book.configuration.fractional_trading:
        raise errors.forbidden("fractional trading is not enabled for this account")


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
    *,
    buying_power: Decimal,
    price: Decimal,
    replacing: Order | None = None,
) -> Allowed:
    """Raises Refusal if the account cannot carry the order; ``price`` is the market's for its side.

    While ``replacing`` an order, what that order holds counts as free.
    """
    intent = position_intent(book, request)
    if intent in ("sell_to_close", "buy_to_close"):
        if request.order_class in ("bracket", "oto") and replacing is None:
            raise errors.unprocessable(f"{request.order_class} orders must be entry orders")
        wanted = _closing_qty(request, price)
        _check_held(book, request.symbol, wanted, replacing)
        return Allowed(intent, notional_qty=ZERO if request.notional is None else wanted)
    if request.order_class == "oco":
        raise errors.unprocessable("oco orders must be exit orders")
    if intent == "sell_to_open":
        _check_short(book, request, listed)
    elif any(order.position_intent == "sell_to_open" for order in book.open_orders(request.symbol)):
        raise errors.forbidden("cannot open a long buy while a short sell order is open")
    per_share = reserve_price(request, price)
    cost = request.notional if request.qty is None else request.qty * per_share
    available = buying_power + (replacing.reserved if replacing else ZERO)
    if cost is None or cost > available:
        raise errors.insufficient_buying_power(available, cost or ZERO)
    return Allowed(intent, per_share)


def reserve_price(request: OrderRequest, market: Decimal) -> Decimal:
    """Buying power one share of an opening order takes until it is filled."""
    named = request.limit_price or request.stop_price or ZERO
    if request.side == "sell":
        return max(named, market * SHORT_RESERVE)
    return named or market


def _closing_qty(request: OrderRequest, price: Decimal) -> Decimal:
    if request.qty is not None:
        return request.qty
    return ((request.notional or ZERO) / price).quantize(QTY_PLACES, rounding=ROUND_UP)


def _check_held(book: Book, symbol: str, wanted: Decimal, replacing: Order | None) -> None:
    existing = abs(book.position_qty(symbol))
    held = book.held_qty(symbol) - (replacing.claimed_qty if replacing else ZERO)
    if wanted > existing - held:
        raise errors.insufficient_qty(symbol, wanted, existing, held)


def _check_short(book: Book, request: OrderRequest, listed: SymbolSettings) -> None:
    if not book.may_short:
        raise errors.forbidden("account is not allowed to short")
    if not listed.shortable:
        raise errors.unprocessable(f'asset "{listed.symbol}" cannot be sold short')
    if request.qty is None or request.qty % 1:
        raise errors.unprocessable("fractional orders cannot be sold short")
    if any(order.position_intent == "buy_to_open" for order in book.open_orders(request.symbol)):
        raise errors.forbidden("cannot open a short sell while a long buy order is open")


def buying_power(book: Book, value: MarketValue) -> Decimal:
    """What a new opening order may cost: equity × multiplier − gross value − reserved; never negative."""
    if book.margin_multiplier == 1:
        return max(ZERO, book.cash + value.short - book.reserved)
    equity = book.cash + value.net
    return max(ZERO, equity * book.margin_multiplier - value.gross - book.reserved)
