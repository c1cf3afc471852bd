"""What protection does next, from rows alone: how many shares want a stop, and the one step towards it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from risk.arithmetic import exact
from risk.prices import Market, buy_stop_limit, collar_edge, worst_tick
from schemas.base import decimal_text
from schemas.kill import KillScope
from schemas.orders import OrderFlag, OrderStatus, OrderView, Side
from schemas.protection import Act, Holding, LegBasis, Lot, Obstacle, Protection, ProtectView
from schemas.wire import Leg

UNPROTECTED_AFTER: Final = timedelta(seconds=10)
"""Shares without their stop for this long wake somebody."""
LENT_TOLD_AFTER: Final = timedelta(minutes=5)
"""Shares that a closing order has kept without a stop for this long are told of."""
CANCEL_REPEAT: Final = timedelta(seconds=20)
"""How long an unconfirmed cancel is waited for before it is asked again."""
EXIT_STALE_AFTER: Final = timedelta(seconds=5)
"""An exit that the market has left behind for this long gets a new price."""
LOOK_UNCOVERED_SECONDS: Final = 2.0
LOOK_CONFIRMATION_SECONDS: Final = 5.0
LOOK_CLEARING_SECONDS: Final = 0.5
LOOK_QUOTE_SECONDS: Final = 1.0
LOOK_SHORT_SECONDS: Final = 15.0
LOOK_LENT_SECONDS: Final = 30.0
"""While a closing signal has some of the shares, or a person has to see to some: their end may go untold."""

ZERO: Final = Decimal(0)


def share_out(lots: Sequence[Lot], holdings: Iterable[Holding]) -> dict[str, Decimal]:
    """How many shares of each lot want a stop, by signal. ``lots`` oldest first.

    Never more than the strategy holds beyond what its closing signals have asked for, nor than the account
    does: the broker nets. What is missing is taken from what no leg may stand for, then from the oldest lots first.
    """
    targets = {lot.signal_id: lot.quantity for lot in lots}
    known = list(holdings)
    for strategy in dict.fromkeys(lot.strategy for lot in lots):
        room = sum((each.held - each.closing for each in known if each.strategy == strategy), ZERO)
        _cut(targets, [lot for lot in lots if lot.strategy == strategy], room)
    _cut(targets, lots, sum((each.held - each.closing for each in known), ZERO))
    return targets


def _cut(targets: dict[str, Decimal], lots: Sequence[Lot], room: Decimal) -> None:
    excess = sum((targets[lot.signal_id] for lot in lots), ZERO) - max(ZERO, room)
    for kept in ({lot.signal_id: lot.quantity - lot.beyond for lot in lots}, dict[str, Decimal]()):
        for lot in lots:
            cut = max(ZERO, min(targets[lot.signal_id] - kept.get(lot.signal_id, ZERO), excess))
            targets[lot.signal_id] -= cut
            excess -= cut


@dataclass(frozen=True, slots=True)
class Wanted:
    """Of one protection's shares that are there and that nobody has asked for."""

    target: Decimal
    """Those that a live leg must stand for."""
    beyond: Decimal
    """Those beyond what was approved, for which none may."""


def wanted(signal_id: str, lots: Sequence[Lot], holdings: Iterable[Holding]) -> Wanted:
    """What one of the lots wants. ``lots`` as for `share_out`; a closed protection has none there."""
    own = next((lot for lot in lots if lot.signal_id == signal_id), None)
    if own is None:
        return Wanted(ZERO, ZERO)
    share = share_out(lots, holdings)[signal_id]
    target = min(share, own.quantity - own.beyond)
    return Wanted(target, share - target)


def exit_price(market: Market, collar_pct: Decimal, side: Side) -> Decimal:
    """The limit of a marketable exit: as far as the collar reaches."""
    with exact():
        return worst_tick(collar_edge(market, collar_pct, side), side)


@dataclass(frozen=True, slots=True)
class Scene:
    """One look at a protection."""

    protection: Protection
    target: Decimal
    legs: tuple[OrderView, ...]
    """What is not settled, and the newest of each leg; by leg and generation."""
    in_the_way: tuple[OrderView, ...]
    """Our own risk-adding orders on the ticker that may still execute."""
    now: datetime
    market: Market | None
    """A fresh quote, if there is one."""
    is_open: bool
    opens_in_seconds: float
    """Until the next session's open."""
    beyond: Decimal = ZERO
    """Shares beside the target that no leg may stand for."""


def remaining(leg: OrderView) -> Decimal:
    """Shares that it may still execute."""
    return ZERO if leg.status.is_final else leg.quantity - leg.filled_quantity


def is_left_behind(leg: OrderView, market: Market | None) -> bool:
    """Whether a stop that stands can buy nothing any more: the market went past the limit that the broker gives it.

    Both sides must say so: a wide quote alone is no market.
    """
    if market is None or leg.leg is not Leg.STOP or leg.action.side is not Side.BUY or leg.stop_price is None:
        return False
    return market.ask > buy_stop_limit(leg.stop_price) and market.bid >= leg.stop_price


def newest(scene: Scene, leg: Leg) -> OrderView | None:
    """The last generation of a leg."""
    return max(
        (each for each in scene.legs if each.leg is leg), key=lambda each: each.generation, default=None
    )


def decide(scene: Scene) -> ProtectView:
    """The one thing to do now. Pure: the same scene gives the same step."""
    last = newest(scene, scene.protection.leg)
    live = [leg for leg in scene.legs if leg.broker_order_id is not None and not leg.status.is_final]
    unknown = [
        leg for leg in scene.legs if leg.may_stand and leg.broker_order_id is None and not leg.status.is_final
    ]
    ended = [leg for leg in scene.legs if leg.status.is_final and not leg.settled]
    surplus = [leg for leg in live if leg is not last or not _fits(scene, leg)]
    # What the broker calls filled is on its way, though its executions have not been told.
    untold = sum(
        (leg.quantity - leg.filled_quantity for leg in ended if leg.status is OrderStatus.FILLED), ZERO
    )
    # One is no cover that the broker denies: it is not replaced either until it is proved gone.
    covering = [leg for leg in live if not _is_denied(leg) and not is_left_behind(leg, scene.market)]
    covered = min(scene.target, untold + sum((remaining(leg) for leg in covering), ZERO))
    view = ProtectView(
        protection=scene.protection,
        target=scene.target,
        covered=covered,
        beyond=scene.beyond,
        act=Act.WAIT,
        leg=last,
    )
    if unknown:
        return _do(view, Act.RESOLVE, unknown[:1], "what became of the POST")
    if ended:
        return _do(view, Act.SETTLE, ended[:1], "the broker's last word on a leg")
    if surplus:
        return _cancel(scene, view, surplus)
    if last is not None and last in live and _is_denied(last):
        return _wait(view, "proof of what became of a leg that the broker denies", LOOK_CONFIRMATION_SECONDS)
    if last in live or not scene.target:
        return _rest(scene, view)
    return _towards_cover(scene, view, last)


def _is_denied(leg: OrderView) -> bool:
    """Whether nobody knows whether an order that the broker had shown still stands there."""
    return OrderFlag.OUTCOME_UNKNOWN in leg.flags


def _fits(scene: Scene, leg: OrderView) -> bool:
    """Whether a live order of the leg stands for exactly the shares it should, at a price that can still trade."""
    if remaining(leg) != scene.target:
        return False
    if leg.leg is not Leg.EXIT or scene.market is None or leg.limit_price is None:
        return True
    is_sell = scene.protection.side is Side.SELL
    reaches = leg.limit_price <= scene.market.bid if is_sell else leg.limit_price >= scene.market.ask
    return reaches or scene.now - leg.updated_at < EXIT_STALE_AFTER


def is_asked(order: OrderView, now: datetime) -> bool:
    """Whether its cancel was asked a moment ago and may still be confirmed."""
    flags = {OrderFlag.CANCEL_REQUESTED, OrderFlag.PENDING_CANCEL}
    return not flags.isdisjoint(order.flags) and now - order.updated_at < CANCEL_REPEAT


def _cancel(scene: Scene, view: ProtectView, surplus: Sequence[OrderView]) -> ProtectView:
    due = [leg for leg in surplus if not is_asked(leg, scene.now)]
    if due:
        return _do(view, Act.CANCEL, due, "cancel what does not fit the shares held")
    return _wait(
        view, "the broker's confirmation that the former leg is cancelled", LOOK_CONFIRMATION_SECONDS
    )


def _rest(scene: Scene, view: ProtectView) -> ProtectView:
    lot = scene.protection.lot
    if not lot and all(leg.settled for leg in scene.legs):
        return _do(view, Act.CLOSED, (), "nothing: every share is closed")
    if scene.target + scene.beyond < lot:
        return _wait(view, "a closing signal that has asked for the shares", LOOK_LENT_SECONDS)
    if scene.is_open and scene.target and scene.protection.exiting:
        if scene.market is None:
            return _refresh(view, "the exit, by a fresh quote", LOOK_CONFIRMATION_SECONDS)
        return _wait(view, "the exit", LOOK_CONFIRMATION_SECONDS)
    pause = max(1.0, scene.opens_in_seconds)
    if scene.is_open and scene.protection.side is Side.BUY and scene.target:
        # A stop that buys is a limit at the broker: only the quote shows that the market has jumped past it.
        pause = min(pause, LOOK_SHORT_SECONDS)
    if scene.beyond:
        why = f"a person: {decimal_text(scene.beyond)} shares beyond what was approved have no stop"
        return _wait(view, why, min(pause, LOOK_LENT_SECONDS))
    return _wait(view, "the stop, or the next session's open", pause)


def _towards_cover(scene: Scene, view: ProtectView, last: OrderView | None) -> ProtectView:
    protection = scene.protection
    if protection.is_blocked:
        return _wait(view, "the release of the kill switch", LOOK_UNCOVERED_SECONDS)
    if protection.obstacle is Obstacle.THROUGH and not scene.is_open:
        # The broker would refuse each next one the same; the exit goes once it is open.
        pause = min(max(1.0, scene.opens_in_seconds), LOOK_LENT_SECONDS)
        return _wait(view, "the open, to exit: the market is past the stop", pause)
    if protection.retry_at is not None and protection.retry_at > scene.now:
        pause = (protection.retry_at - scene.now).total_seconds()
        why = f"the next try: {protection.obstacle_detail or 'the broker refused the last one'}"
        return _wait(view, why, min(pause, LOOK_UNCOVERED_SECONDS))
    if protection.obstacle is Obstacle.WASH and scene.in_the_way:
        due = [order for order in scene.in_the_way if not is_asked(order, scene.now)]
        if due:
            return _do(view, Act.CLEAR, due, "cancel our own orders on the other side")
        return _wait(view, "the end of our own orders on the other side", LOOK_CLEARING_SECONDS)
    if protection.exiting and not scene.is_open:
        return _wait(view, "the open, to exit", min(max(1.0, scene.opens_in_seconds), LOOK_LENT_SECONDS))
    if protection.exiting and scene.market is None:
        return _refresh(view, "a fresh quote, to exit by", LOOK_QUOTE_SECONDS)
    assert last is not None, "the review has made the row"
    return _do(view, Act.PLACE, (last,), f"place {last.leg.value} {last.generation}")


def _do(view: ProtectView, act: Act, orders: Sequence[OrderView], why: str) -> ProtectView:
    return view.model_copy(update={"act": act, "orders": tuple(orders), "why": why})


def _wait(view: ProtectView, why: str, seconds: float) -> ProtectView:
    return view.model_copy(update={"why": why, "look_again_seconds": seconds})


def _refresh(view: ProtectView, why: str, seconds: float) -> ProtectView:
    """Ask for a quote; the stream that should bring them may be quiet or broken."""
    return _wait(_do(view, Act.REFRESH, (), why), why, seconds)


def leg_doubt(leg: OrderView, basis: LegBasis, market: Market | None) -> tuple[str, bool] | None:
    """Why a leg may not leave, and whether that is for good; None where it is exactly what was approved.

    It is exempt from expiry, epoch, hours, ticker block and limits because all of this holds.
    """
    if basis.hard_stop_loss is None or leg.action.opens or leg.action.side is basis.action.side:
        return "LEG_NOT_APPROVED", True
    if leg.ticker != basis.ticker or leg.strategy != basis.strategy:
        return "LEG_NOT_APPROVED", True
    if leg.leg is Leg.STOP and (leg.stop_price != basis.hard_stop_loss or leg.limit_price is not None):
        return "LEG_NOT_APPROVED", True
    if leg.leg is Leg.EXIT and (leg.limit_price is None or leg.stop_price is not None):
        return "LEG_NOT_APPROVED", True
    if basis.kill_engaged and basis.kill_scope is KillScope.ALL:
        return "KILL_SWITCH", False
    free = min(basis.filled - basis.exited - basis.given_up, basis.share) - basis.standing
    if leg.quantity > free:
        return (
            f"{leg.quantity} shares, {free} are left of the entry and not asked for by a closing signal",
            False,
        )
    if leg.leg is Leg.EXIT and not _inside_collar(leg, basis, market):
        return "the exit's limit is not inside the collar of a fresh quote", False
    return None


def _inside_collar(leg: OrderView, basis: LegBasis, market: Market | None) -> bool:
    if market is None or basis.collar_pct is None or leg.limit_price is None:
        return False
    with exact():
        edge = collar_edge(market, basis.collar_pct, leg.action.side)
    return leg.limit_price <= edge if leg.action.side is Side.BUY else leg.limit_price >= edge
