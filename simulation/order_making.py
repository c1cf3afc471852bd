"""Turning an allowed request into orders: the order itself and the legs of an advanced one."""

from datetime import datetime, time, timedelta
from decimal import ROUND_CEILING, Decimal

from simulation.account_rules import Allowed
from simulation.ids import Ids
from simulation.order_request import Leg, OrderRequest
from simulation.orders import Order, OrderType, PositionIntent, TimeInForce, opposite
from simulation.sessions import Sessions, at_new_york
from simulation.stops import trailed_stop
from simulation.wire import NEW_YORK

GTC_LIFETIME = timedelta(days=90)
GTC_EXPIRY_TIME = time(16, 15)
# A buy stop goes to the venue as a stop-limit this far above its stop (protocol page, section 4).
BUY_STOP_COLLAR_BELOW_50 = Decimal("1.04")
BUY_STOP_COLLAR = Decimal("1.025")
FIFTY_DOLLARS = Decimal(50)


def buy_stop_limit(stop: Decimal) -> Decimal:
    """The limit the broker gives a buy stop."""
    collar = BUY_STOP_COLLAR_BELOW_50 if stop < FIFTY_DOLLARS else BUY_STOP_COLLAR
    grid = Decimal("0.01") if stop >= 1 else Decimal("0.0001")
    return (stop * collar).quantize(grid, rounding=ROUND_CEILING)


def expires_at(sessions: Sessions, tif: TimeInForce, now: datetime, *, extended: bool) -> datetime:
    """The end of the order's session, or for GTC the afternoon ninety days on."""
    if tif == "gtc":
        return at_new_york((now + GTC_LIFETIME).astimezone(NEW_YORK).date(), GTC_EXPIRY_TIME)
    session = sessions.order_session(now, extended=extended)
    return session.post_close if extended else session.close


def make_order(
    request: OrderRequest,
    allowed: Allowed,
    *,
    symbol: str,
    market_price: Decimal,
    ids: Ids,
    sessions: Sessions,
    now: datetime,
    works_now: bool,
) -> Order:
    """The order of a request; an oco's order is its take-profit limit."""
    order_type, limit, stop, hwm = request.type, request.limit_price, request.stop_price, None
    if order_type == "stop" and request.side == "buy" and stop is not None:
        order_type, limit = "stop_limit", buy_stop_limit(stop)
    if order_type == "trailing_stop":
        hwm = market_price
        stop = trailed_stop(request.side, hwm, request.trail_price, request.trail_percent)
    if request.order_class == "oco" and request.take_profit is not None:
        limit = request.take_profit.limit_price
    return Order(
        id=ids.uuid(),
        client_order_id=request.client_order_id or ids.uuid(),
        symbol=symbol,
        side=request.side,
        type=order_type,
        time_in_force=request.time_in_force,
        position_intent=allowed.position_intent,
        status="pending_new" if works_now else "accepted",
        created_at=now,
        submitted_at=now,
        updated_at=now,
        expires_at=expires_at(sessions, request.time_in_force, now, extended=request.extended_hours),
        reserve_price=allowed.reserve_price,
        notional_qty=allowed.notional_qty,
        qty=request.qty,
        notional=request.notional,
        limit_price=limit,
        stop_price=stop,
        trail_price=request.trail_price,
        trail_percent=request.trail_percent,
        hwm=hwm,
        extended_hours=request.extended_hours,
        order_class=request.order_class,
    )


def make_legs(parent: Order, request: OrderRequest, ids: Ids) -> list[Order]:
    """The legs of an advanced order, held: take-profit first, then stop-loss; an oco has the latter only."""
    side = parent.side if request.order_class == "oco" else opposite(parent.side)
    intent: PositionIntent = "sell_to_close" if side == "sell" else "buy_to_close"
    legs: list[tuple[OrderType, Leg]] = []
    if request.take_profit is not None and request.order_class != "oco":
        legs.append(("limit", request.take_profit))
    if request.stop_loss is not None:
        legs.append(("stop_limit" if request.stop_loss.limit_price else "stop", request.stop_loss))
    return [
        Order(
            id=ids.uuid(),
            client_order_id=ids.uuid(),
            symbol=parent.symbol,
            side=side,
            type=order_type,
            time_in_force=parent.time_in_force,
            position_intent=intent,
            status="held",
            created_at=parent.created_at,
            submitted_at=parent.submitted_at,
            updated_at=parent.updated_at,
            expires_at=parent.expires_at,
            qty=parent.qty,
            limit_price=leg.limit_price,
            stop_price=leg.stop_price,
            order_class=parent.order_class,
            parent_id=parent.id,
        )
        for order_type, leg in legs
    ]
