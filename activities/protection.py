"""Keeping a stop under what an entry has filled: one look at rows, one decision, what it changes made durable."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from temporalio import activity

from activities.approvals import exit_collar
from activities.legs import fresh_market, tighter
from broker import lifecycle
from market.errors import ClockUnavailableError
from risk.prices import Market
from risk.protection import (
    LENT_TOLD_AFTER,
    UNPROTECTED_AFTER,
    Scene,
    decide,
    exit_price,
    is_left_behind,
    remaining,
    wanted,
)
from schemas import wire
from schemas.alerts import Alert, AlertCode, Severity
from schemas.audit import AuditEntry
from schemas.base import decimal_text, dollars_text
from schemas.orders import Action, OrderView
from schemas.protection import Act, Obstacle, Protection, Protections, ProtectQuestion, ProtectView
from schemas.wire import Leg
from storage import protection as rows
from storage.alerts import clear_alert, raise_alert
from storage.events import append
from storage.limits import lasting_limits
from storage.orders import StoredOrder, lock_keyed, read_order
from storage.risk import read_approval
from storage.transitions import Step, announce, refuse

if TYPE_CHECKING:
    from market.clock import MarketClock
    from market.hours import MarketHours
    from storage.database import Connection, Database

COMPONENT: Final = "Protection"
AFTER_CLOSE_SECONDS: Final = 60.0
CLOCK_RETRY_SECONDS: Final = 10.0


@dataclass(frozen=True)
class _Moment:
    """When a review is made, and how the market stands then."""

    now: datetime
    market_now: datetime | None
    """None: nobody can say."""
    is_open: bool
    next_look_seconds: float
    """Until the next session's open, or a minute after this one's close."""


class ProtectionActivities:
    """Reviews protections. Reaches no broker: placing, looking up and cancelling are the order's own steps."""

    def __init__(self, database: "Database", clock: "MarketClock", hours: "MarketHours") -> None:
        self._database = database
        self._clock = clock
        self._hours = hours

    @activity.defn(name=wire.ACTIVITY_REVIEW_PROTECTION)
    async def review_protection(self, question: ProtectQuestion) -> ProtectView:
        """Measure what is held against what is covered, and say the one thing to do.

        Idempotent: it is judged from rows under lock. It makes, fits and withdraws rows of legs that were never
        sent, notes since when shares lack their stop, and raises or clears the alert of it; a repeat finds all
        that done.
        """
        moment = await self._moment(question.as_of)
        return await self._database.run(
            "protection.reviewed", lambda connection: self._review(connection, question.signal_id, moment)
        )

    @activity.defn(name=wire.ACTIVITY_FIND_PROTECTIONS)
    async def find_protections(self, question: ProtectQuestion) -> Protections:
        """Whose stops a closing signal may need the shares of. Idempotent: it only reads."""
        async with self._database.connection() as connection:
            order = await read_order(connection, question.signal_id)
            found = await rows.open_on_ticker(connection, order.ticker, order.action)
        return Protections(signal_ids=found)

    async def _moment(self, as_of: datetime) -> _Moment:
        try:
            hours = await self._hours.at(as_of)
        except ClockUnavailableError:
            return _Moment(self._clock.instant(as_of), None, False, CLOCK_RETRY_SECONDS)
        if hours.closes_in_seconds is not None:
            pause = hours.closes_in_seconds + AFTER_CLOSE_SECONDS
        else:
            pause = hours.opens_in_seconds or CLOCK_RETRY_SECONDS
        return _Moment(hours.wall_now, hours.market_now, hours.is_open, pause)

    async def _review(self, connection: "Connection", signal_id: str, moment: _Moment) -> ProtectView:
        found = await rows.lock_all(connection, signal_id)
        await rows.write_off(connection, *found, moment.now)
        before = await rows.read_protection(connection, signal_id)
        after = await self._reopened(connection, before, moment.now)
        market = await fresh_market(connection, after.ticker, moment.market_now)
        if moment.is_open and not after.exiting and await self._is_through(connection, after, market):
            after = after.model_copy(update={"exiting": True, "obstacle": None, "retry_at": None})
            told = f"the market is past the stop at {dollars_text(after.stop_price)}: an exit takes its place"
            await _audit(connection, after, "EXITING", told, moment.now)
            await rows.save_cover(connection, after, moment.now)
        lots = await rows.read_lots(connection, after.ticker, after.action)
        holdings = await rows.read_holdings(connection, after.ticker, after.action)
        shares = wanted(signal_id, lots, holdings)
        limit = None
        if market is not None and after.exiting:
            limits = await lasting_limits(connection)
            approved = exit_collar(await read_approval(connection, signal_id))
            collar_pct = tighter(limits.price_collar_pct, approved)
            assert collar_pct is not None, "the limits have one"
            limit = exit_price(market, collar_pct, after.side)
        legs = await self._ready_legs(connection, after, rows.LegTerms(shares.target, limit), moment.now)
        in_the_way: tuple[OrderView, ...] = ()
        if after.obstacle is Obstacle.WASH:
            in_the_way = tuple(
                order.view for order in await rows.read_in_the_way(connection, after.ticker, after.action)
            )
        scene = Scene(
            protection=after,
            target=shares.target,
            legs=tuple(leg.view for leg in legs),
            in_the_way=in_the_way,
            now=moment.now,
            market=market,
            is_open=moment.is_open,
            opens_in_seconds=moment.next_look_seconds,
            beyond=shares.beyond,
        )
        lent_since = min((each.closing_since for each in holdings if each.closing_since), default=None)
        return await self._conclude(connection, decide(scene), before, moment.now, lent_since)

    async def _is_through(
        self, connection: "Connection", protection: Protection, market: Market | None
    ) -> bool:
        """Whether no stop helps any more: the broker says so, or the one that stands is left behind."""
        if protection.obstacle is Obstacle.THROUGH:
            return True
        legs = await rows.read_legs(connection, protection.signal_id)
        return any(leg.broker_order_id and remaining(leg) and is_left_behind(leg, market) for leg in legs)

    async def _reopened(self, connection: "Connection", found: Protection, now: datetime) -> Protection:
        """Late truth may bring shares back to what was closed."""
        if found.closed_at is None or not found.lot:
            return found
        opened = found.model_copy(update={"closed_at": None})
        await rows.save_cover(connection, opened, now)
        await _audit(
            connection, opened, "PROTECTION_REOPENED", f"{_words(found)}: shares want a stop again", now
        )
        return opened

    async def _ready_legs(
        self, connection: "Connection", protection: Protection, terms: rows.LegTerms, now: datetime
    ) -> list[StoredOrder]:
        """The legs, with exactly one row that may be sent where shares want one, of the right size and price."""
        for leg in await rows.read_legs(connection, protection.signal_id):
            if _is_unsent(leg) and not _is_wanted(leg, protection, terms):
                if leg.leg is protection.leg and terms.quantity and not leg.post_count:
                    fitted = await rows.fit_leg(connection, leg, terms, now)
                    if fitted is not None:
                        await _announce(connection, fitted, "LEG_FITTED", now)
                        continue
                    # A POST of it was begun, and proved unsent: its id keeps its content, the next has its own.
                locked = await lock_keyed(connection, leg)
                told = "no longer what is wanted"
                step = Step(now=now, component=COMPONENT, decision="LEG_WITHDRAWN", detail=told)
                await refuse(
                    locked, lifecycle.apply(locked.state, lifecycle.Withdrawn("not needed any more")), step
                )
        legs = await rows.read_legs(connection, protection.signal_id)
        last = max((leg for leg in legs if leg.leg is protection.leg), key=_generation, default=None)
        priced = protection.leg is Leg.STOP or terms.limit_price is not None
        if terms.quantity and priced and (last is None or last.settled):
            generation = 0 if last is None else last.generation + 1
            made = await rows.insert_leg(connection, protection, generation, terms, now)
            await _announce(connection, made, "LEG_MADE", now)
        return await rows.read_legs(connection, protection.signal_id)

    async def _conclude(
        self,
        connection: "Connection",
        view: ProtectView,
        before: Protection,
        now: datetime,
        lent_since: datetime | None,
    ) -> ProtectView:
        """Write since when cover is missing, tell a person or say that it is over, close what is done."""
        found = view.protection
        change: dict[str, object] = {"uncovered_since": None}
        if view.covered < view.target:
            change["uncovered_since"] = found.uncovered_since or now
        elif found.refusals:
            change.update(obstacle=None, obstacle_detail=None, refusals=0, retry_at=None)
        if view.act is Act.CLOSED and found.closed_at is None:
            change["closed_at"] = now
            told = f"{_words(found)}: every share of the entry is closed"
            await _audit(connection, found, "PROTECTION_CLOSED", told, now)
        after = found.model_copy(update=change)
        if after != before:
            await rows.save_cover(connection, after, now)
        await _tell(connection, view.model_copy(update={"protection": after}), now, lent_since)
        await _tell_of_beyond(connection, view, now)
        return view.model_copy(update={"protection": after})


def _generation(leg: OrderView) -> int:
    return leg.generation


def _is_unsent(leg: StoredOrder) -> bool:
    """Whether it does not stand at the broker, by proof or because it never left."""
    return not leg.status.is_final and not leg.may_stand and leg.broker_order_id is None


def _is_wanted(leg: StoredOrder, protection: Protection, terms: rows.LegTerms) -> bool:
    if leg.leg is not protection.leg:
        return False
    if not terms.quantity:  # Lent to a closing signal: it stays for when they come back.
        return bool(protection.lot)
    return leg.quantity == terms.quantity and (
        leg.leg is Leg.STOP or terms.limit_price is None or leg.limit_price == terms.limit_price
    )


def _words(protection: Protection) -> str:
    side = "long" if protection.action is Action.SELL_TO_CLOSE else "short"
    return f"{side} {protection.ticker} of {protection.strategy}"


async def _announce(connection: "Connection", leg: StoredOrder | None, decision: str, now: datetime) -> None:
    """Tell of a row that was just written, if it was."""
    if leg is None:
        return
    price = leg.limit_price if leg.stop_price is None else leg.stop_price
    at = "" if price is None else f" at {dollars_text(price)}"
    detail = f"{decimal_text(leg.quantity)} {leg.ticker}{at}, not sent yet"
    step = Step(
        now=now, component=COMPONENT, decision=decision, detail=detail, evidence={"terms": _terms(leg)}
    )
    await announce(await lock_keyed(connection, leg), leg, step)


def _terms(leg: StoredOrder) -> dict[str, str]:
    """What it would go out as, in the words of a signal."""
    named = {
        "strategy": leg.strategy,
        "ticker": leg.ticker,
        "action": leg.action.value,
        "order_type": leg.order_type.value,
        "time_in_force": leg.time_in_force.value,
    }
    prices = {"quantity": leg.quantity, "limit_price": leg.limit_price, "stop_price": leg.stop_price}
    return named | {name: decimal_text(price) for name, price in prices.items() if price is not None}


async def _audit(
    connection: "Connection", protection: Protection, decision: str, detail: str, now: datetime
) -> None:
    entry = AuditEntry(
        occurred_at=now,
        correlation_id=protection.signal_id,
        component=COMPONENT,
        actor="system",
        decision=decision,
        input={"detail": detail, "protection": protection.model_dump(mode="json")},
    )
    await append(connection, entry)


async def _tell(
    connection: "Connection", view: ProtectView, now: datetime, lent_since: datetime | None
) -> None:
    """UNPROTECTED: at once where nobody knows what helps or the switch forbids it, else after 10 s.

    Less loud where a closing order that rests keeps the shares: that is what was asked for.
    """
    found, since = view.protection, view.protection.uncovered_since
    stop = f"{_words(found)} have had no stop at {dollars_text(found.stop_price)} since"
    lent = found.lot - view.target - view.beyond
    if since is not None:
        if not (found.is_blocked or found.obstacle is Obstacle.OTHER or now - since >= UNPROTECTED_AFTER):
            return
        severity = Severity.CRITICAL
        text = (
            f"{decimal_text(view.target - view.covered)} shares {stop} {since.isoformat(timespec='seconds')}: "
            f"{found.obstacle_detail or view.why}. It is tried on; until then close them, or place a stop at the "
            "broker by hand"
        )
    elif lent > 0 and lent_since is not None and now - lent_since >= LENT_TOLD_AFTER:
        severity = Severity.HIGH
        text = (
            f"{decimal_text(lent)} shares {stop} {lent_since.isoformat(timespec='seconds')}: a "
            "closing order that has not traded keeps them. Cancel it, and they have their stop again"
        )
    else:
        await clear_alert(connection, AlertCode.UNPROTECTED, found.signal_id, component=COMPONENT, now=now)
        return
    alert = Alert(
        code=AlertCode.UNPROTECTED,
        severity=severity,
        subject=found.signal_id,
        text=text,
        correlation_id=found.signal_id,
    )
    await raise_alert(connection, alert, component=COMPONENT, now=now)


async def _tell_of_beyond(connection: "Connection", view: ProtectView, now: datetime) -> None:
    """UNPROTECTED, beside the other: no stop may be placed for these shares, so a person is told at once."""
    found = view.protection
    subject = f"{found.signal_id}/beyond"
    if not view.beyond:
        await clear_alert(connection, AlertCode.UNPROTECTED, subject, component=COMPONENT, now=now)
        return
    alert = Alert(
        code=AlertCode.UNPROTECTED,
        severity=Severity.CRITICAL,
        subject=subject,
        text=(
            f"{decimal_text(view.beyond)} shares {_words(found)} beyond what was approved have no stop: place one "
            "at the broker, or close them, with a signal or there"
        ),
        correlation_id=found.signal_id,
    )
    await raise_alert(connection, alert, component=COMPONENT, now=now)
