"""A leg's try: what it must be to leave without risk's checks, and what becomes of the broker's no."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from activities.funds import refusal_evidence
from activities.gate import refuse_unsent
from broker import lifecycle
from broker.errors import BrokerError, SharesHeld, StopThroughMarket, WashTrade
from risk.clock import is_too_old
from risk.constants import QUOTE_AGE_MAX
from risk.prices import Market, usable
from risk.protection import leg_doubt
from schemas.market import Provider
from schemas.orders import OrderView
from schemas.protection import Obstacle
from schemas.runs import PlaceAnswer
from storage import placement as rows
from storage import protection as protections
from storage.market import read_quote
from storage.transitions import Step, audit, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.told import BrokerCall
    from storage.database import Connection
    from storage.orders import LockedOrder

COMPONENT: Final = "ExecutionAgent"

RETRY_FIRST: Final = timedelta(seconds=1)
RETRY_MAX: Final = timedelta(seconds=30)
"""Between tries of a leg that the broker refuses; twice as long each time."""
SAME_ID: Final = (Obstacle.WASH, Obstacle.HELD)
"""What passes: the same order is sent again, under the same id."""


@dataclass(frozen=True)
class Doubt:
    """Why a leg may not leave. ``refusal``: for good, with this reason."""

    why: str
    refusal: str | None


async def doubt(locked: "LockedOrder", market_now: datetime, collar_pct: Decimal | None) -> Doubt | None:
    """None where rows say that the leg is what was approved and no larger than what is left of its entry.

    ``collar_pct``: the approval's own bound on an exit's price, beside the limits in force; None: it has none.
    """
    basis = await protections.read_leg_basis(locked)
    if basis is None:
        return Doubt("no approved entry with shares", "LEG_NOT_APPROVED")
    basis = basis.model_copy(update={"collar_pct": tighter(basis.collar_pct, collar_pct)})
    market = await fresh_market(locked.connection, basis.ticker, market_now)
    found = leg_doubt(locked.order.view, basis, market)
    return None if found is None else Doubt(found[0], found[0] if found[1] else None)


def tighter(now: Decimal | None, approved: Decimal | None) -> Decimal | None:
    """The collar of an exit: as the limits in force have it, and never wider than was approved."""
    return now if now is None or approved is None else min(now, approved)


async def fresh_market(connection: "Connection", ticker: str, market_now: datetime | None) -> Market | None:
    """The stored quote of the primary if it is fresh and usable, else the secondary's, as before any order."""
    for provider in (Provider.PRIMARY, Provider.SECONDARY):
        quote = await read_quote(connection, ticker, provider)
        if quote is None or market_now is None or is_too_old(quote.quoted_at, market_now, QUOTE_AGE_MAX):
            continue
        if (market := usable(quote)) is not None:
            return market
    return None


async def unapproved(locked: "LockedOrder", reason: str, why: str, now: datetime) -> PlaceAnswer:
    """End a leg that is not what was approved. The next one is made after a pause: it may be the same again."""
    with suppress(
        protections.ProtectionNotFound
    ):  # A leg that somebody made up: there is nothing to protect.
        await _in_the_way(locked, Obstacle.OTHER, f"not what was approved: {why}", now)
    return await refuse_unsent(locked, reason, now, why)


async def _in_the_way(locked: "LockedOrder", obstacle: Obstacle, detail: str, now: datetime) -> None:
    before = await protections.read_protection(locked.connection, locked.order.signal_id)
    pause = min(RETRY_FIRST * 2 ** min(before.refusals, 5), RETRY_MAX)
    await protections.save_obstacle(
        locked.connection, locked.order.signal_id, obstacle, detail, retry_at=now + pause, now=now
    )


async def refused(
    locked: "LockedOrder", error: BrokerError, calls: "Sequence[BrokerCall]", now: datetime
) -> OrderView:
    """Note what stands in the way. What passes leaves the order to be sent again under its id, while POSTs last."""
    order = locked.order
    obstacle = obstacle_of(error)
    detail = f"{error.code}: {error.message}"
    await _in_the_way(locked, obstacle, detail, now)
    evidence = {**refusal_evidence(locked, error, calls), "obstacle": obstacle.value}
    if obstacle in SAME_ID and order.post_count < rows.POSTS_MAX:
        after = await rows.write_absence(locked, lookups=0, since=None, proved=True, now=now)
        step = Step(
            now=now, component=COMPONENT, decision="LEG_REFUSED_FOR_NOW", detail=detail, evidence=evidence
        )
        await audit(locked, after, step)
        return after.view
    step = Step(
        now=now,
        component=COMPONENT,
        decision="REJECTED_BY_BROKER",
        detail=detail,
        evidence=evidence,
        user_message=error.message,
        answers_post=True,
    )
    return (await refuse(locked, lifecycle.apply(locked.state, lifecycle.Refused(error.code)), step)).view


def obstacle_of(error: BrokerError) -> Obstacle:
    """What a refusal asks for."""
    match error:
        case WashTrade():
            return Obstacle.WASH
        case StopThroughMarket():
            return Obstacle.THROUGH
        case SharesHeld():
            return Obstacle.HELD
        case _:
            return Obstacle.OTHER
