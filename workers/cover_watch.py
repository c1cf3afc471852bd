"""Held shares without their stop, seen from rows: told and looked at again, even where no review is made."""

from typing import Final

from activities.notifier import OrderNotifier
from risk.protection import UNPROTECTED_AFTER, wanted
from schemas.alerts import Alert, AlertCode, Severity
from schemas.base import decimal_text, dollars_text
from schemas.orders import Action
from schemas.protection import Protection
from storage import protection as protections
from storage.alerts import raise_alert
from storage.cover import OutOfCover, out_of_cover
from storage.database import Connection, Database
from workers.clients import utc_now

COVER_SECONDS: Final = 5.0
COMPONENT: Final = "Operations"


class CoverWatch:
    """Two of them at once do no harm. Whoever reviews the protection next clears the alert once it is covered."""

    def __init__(self, database: Database, notifier: OrderNotifier) -> None:
        self._database = database
        self._notifier = notifier

    async def watch_cover(self) -> None:
        """Alert of shares that have had no stop for a while, and wake protections that have not noticed.

        Lost signals are made up for here: a protection sleeps for hours while it believes all is covered.
        """
        before = utc_now() - UNPROTECTED_AFTER
        async with self._database.connection() as connection:
            found = await out_of_cover(connection, before=before)
        for each in found:
            async with self._database.transaction("alerts.uncovered_told") as connection:
                # Under its lock, so that no review covers the shares between this look and the alert.
                await protections.lock_protection(connection, each.signal_id)
                again = await out_of_cover(connection, before=before, signal_id=each.signal_id)
                is_off = bool(again) and await _judge(connection, again[0])
            if is_off and not each.is_seen:
                await self._notifier.look_again(each.signal_id, "its shares and its legs differ")


async def _judge(connection: Connection, seen: OutOfCover) -> bool:
    """Whether cover is not what it should be; tells of too little.

    Shares lent to a closing signal want none. Those beyond what was approved can have none: a review tells of them.
    """
    protection = await protections.read_protection(connection, seen.signal_id)
    lots = await protections.read_lots(connection, protection.ticker, protection.action)
    holdings = await protections.read_holdings(connection, protection.ticker, protection.action)
    target = wanted(seen.signal_id, lots, holdings).target
    if seen.covered < target and not seen.is_told:
        alert = _alert(protection, seen, decimal_text(target - seen.covered))
        await raise_alert(connection, alert, component=COMPONENT, now=utc_now())
    return target != seen.covered


def _alert(protection: Protection, seen: OutOfCover, bare: str) -> Alert:
    side = "long" if protection.action is Action.SELL_TO_CLOSE else "short"
    why = protection.obstacle_detail or "no stop has been placed"
    return Alert(
        code=AlertCode.UNPROTECTED,
        severity=Severity.CRITICAL,
        subject=seen.signal_id,
        text=(
            f"{bare} shares {side} {protection.ticker} of {protection.strategy} have had no stop at "
            f"{dollars_text(protection.stop_price)} since {seen.since.isoformat(timespec='seconds')}: {why}. Close "
            "them, or place a stop at the broker by hand, and see that the execution process runs"
        ),
        correlation_id=seen.signal_id,
    )
