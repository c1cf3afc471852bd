"""Rules between the fields of one order request; nothing here looks at the account or the market."""

from datetime import datetime, time, timedelta
from decimal import Decimal

from simulation import errors
from simulation.order_request import OrderRequest
from simulation.sessions import at_new_york
from simulation.settings import SymbolSettings
from simulation.wire import NEW_YORK, plain

_OPG_OPEN, _OPG_CLOSE = time(19, 0), time(9, 28)
_CLS_REOPEN, _CLS_BEFORE_CLOSE = time(19, 0), timedelta(minutes=10)
CENT = Decimal("0.01")
_STOPS = ("stop", "stop_limit", "trailing_stop")


def check_fields(request: OrderRequest) -> None:
    """Raises Refusal for prices, windows or classes that do not go together."""
    _check_prices(request)
    _check_fractional(request)
    _check_extended_hours(request)
    if request.order_class:
        _check_advanced(request)
    elif request.take_profit or request.stop_loss:
        raise errors.invalid("take_profit and stop_loss need order_class bracket, oco or oto")
    if request.type in _STOPS and request.time_in_force not in ("day", "gtc"):
        raise errors.unprocessable(f"invalid time_in_force {request.time_in_force} for {request.type} orders")


def check_asset(request: OrderRequest, listed: SymbolSettings) -> None:
    """Raises Refusal if this asset does not trade, or not this way."""
    if listed.status != "active":
        raise errors.invalid(f'asset "{listed.symbol}" is not active')
    if not listed.tradable:
        raise errors.unprocessable(f'asset "{listed.symbol}" is not tradable')
    fractional = request.notional is not None or (request.qty is not None and request.qty % 1)
    if fractional and not listed.fractionable:
        raise errors.forbidden(f'asset "{listed.symbol}" is not fractionable')


def check_window(request: OrderRequest, now: datetime, close: datetime) -> None:
    """Auction orders are taken only in their hours, New York time; ``close`` is the last begun session's."""
    local = now.astimezone(NEW_YORK).time()
    if request.time_in_force == "opg" and _OPG_CLOSE <= local < _OPG_OPEN:
        raise errors.forbidden("opg orders must be submitted after 7:00pm and before 9:28am")
    reopens = at_new_york(close.astimezone(NEW_YORK).date(), _CLS_REOPEN)
    if request.time_in_force == "cls" and close - _CLS_BEFORE_CLOSE <= now < reopens:
        raise errors.forbidden("cls orders must be submitted after 7:00pm and before 3:50pm")


def check_stop_side(request: OrderRequest, market_price: Decimal) -> None:
    """A stop on the wrong side of the market would trigger at once."""
    stop = request.stop_price
    if stop is None:
        return
    if stop <= market_price if request.side == "buy" else stop >= market_price:
        word = "greater" if request.side == "buy" else "less"
        raise errors.unprocessable(
            f"stop price must be {word} than current price",
            market_price=plain(market_price),
            stop_price=plain(stop),
        )


def check_group_prices(request: OrderRequest, market_price: Decimal) -> None:
    """A bracket's or oto's legs must lie on their sides of the entry's price, a cent away at least."""
    if request.order_class not in ("bracket", "oto"):
        return
    base = request.limit_price or market_price
    above, below = request.take_profit, request.stop_loss
    profit, stop = above.limit_price if above else None, below.stop_price if below else None
    high, low = (profit, stop) if request.side == "buy" else (stop, profit)
    names = ("take_profit.limit_price", "stop_loss.stop_price")
    high_name, low_name = names if request.side == "buy" else names[::-1]
    if high is not None and high < base + CENT:
        raise errors.unprocessable(f"{high_name} must be >= base_price + 0.01", base_price=plain(base))
    if low is not None and low > base - CENT:
        raise errors.unprocessable(f"{low_name} must be <= base_price - 0.01", base_price=plain(base))


def _check_prices(request: OrderRequest) -> None:
    kind, limit, stop = request.type, request.limit_price, request.stop_price
    trailing = request.trail_price is not None or request.trail_percent is not None
    if kind in ("limit", "stop_limit") and limit is None and request.order_class != "oco":
        raise errors.invalid(f"{kind.replace('_', ' ')} orders require a limit price")
    if kind in ("stop", "stop_limit") and stop is None:
        raise errors.invalid(f"{kind.replace('_', ' ')} orders require a stop price")
    if kind not in ("limit", "stop_limit") and limit is not None:
        raise errors.invalid(f"{kind.replace('_', ' ')} orders must not have a limit price")
    if kind not in ("stop", "stop_limit") and stop is not None:
        raise errors.invalid(f"{kind.replace('_', ' ')} orders must not have a stop price")
    if trailing != (kind == "trailing_stop"):
        raise errors.invalid(
            "trailing_stop orders require one of trail_price or trail_percent"
            if kind == "trailing_stop"
            else "trail_price and trail_percent are for trailing_stop orders only"
        )
    if request.trail_price is not None and request.trail_percent is not None:
        raise errors.invalid("only one of trail_price or trail_percent is accepted")
    for name, value in (("trail_price", request.trail_price), ("trail_percent", request.trail_percent)):
        if value is not None and value <= 0:
            raise errors.invalid(f"{name} must be > 0")


def _check_fractional(request: OrderRequest) -> None:
    if request.notional is not None:
        if request.type != "market" or request.time_in_force != "day":
            raise errors.unprocessable("notional orders must be DAY market orders")
    elif request.qty is None or not request.qty % 1:
        return
    if request.time_in_force != "day":
        raise errors.unprocessable("fractional orders must be DAY orders")
    if request.order_class:
        raise errors.unprocessable("fractional orders must be simple orders")
    if request.type == "trailing_stop":
        raise errors.unprocessable("fractional orders must be market, limit, stop or stop_limit orders")


def _check_extended_hours(request: OrderRequest) -> None:
    if not request.extended_hours:
        return
    if request.type != "limit" or request.time_in_force not in ("day", "gtc"):
        raise errors.unprocessable("extended hours order must be DAY or GTC limit orders")
    if request.order_class:
        raise errors.unprocessable("extended hours order must be simple orders")


def _check_advanced(request: OrderRequest) -> None:
    kind, profit, loss = request.order_class, request.take_profit, request.stop_loss
    if request.time_in_force not in ("day", "gtc"):
        raise errors.unprocessable(f"{kind} orders must be DAY or GTC orders")
    if request.type in _STOPS:
        raise errors.unprocessable(f"{kind} orders must be market or limit orders")
    if kind == "oco" and request.type != "limit":
        raise errors.unprocessable("oco orders must be limit orders")
    if kind in ("bracket", "oco") and (profit is None or profit.limit_price is None):
        raise errors.unprocessable(f"{kind} orders require take_profit.limit_price")
    if kind in ("bracket", "oco") and (loss is None or loss.stop_price is None):
        raise errors.unprocessable(f"{kind} orders require stop_loss.stop_price")
    if kind == "oto" and (profit is None) == (loss is None):
        raise errors.unprocessable("oto orders require either take_profit or stop_loss")
    if profit is not None and profit.limit_price is None:
        raise errors.unprocessable("take_profit requires limit_price")
    if loss is not None and loss.stop_price is None:
        raise errors.unprocessable("stop_loss requires stop_price")
    if profit and loss and profit.limit_price is not None and loss.stop_price is not None:
        _check_sides(request, profit.limit_price, loss.stop_price)


def _check_sides(request: OrderRequest, profit: Decimal, stop: Decimal) -> None:
    # An oco is the exit itself, a bracket's legs are opposite to its side.
    exits_by_selling = (request.side == "sell") == (request.order_class == "oco")
    if exits_by_selling and profit <= stop:
        raise errors.unprocessable("take_profit.limit_price must be > stop_loss.stop_price")
    if not exits_by_selling and profit >= stop:
        raise errors.unprocessable("take_profit.limit_price must be < stop_loss.stop_price")
