"""The last question before an order goes to the live brokerage, asked inside the fence for each try."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from activities.failures import try_again
from schemas.clock import ClockHealth
from schemas.live import LiveSeen, LiveSetup
from schemas.wire import Leg
from storage.live import read_seen
from storage.placement import IntentRefused

if TYPE_CHECKING:
    from broker.permit import LivePermit
    from security.live import LiveDecision
    from storage.database import Connection
    from storage.orders import LockedOrder

NOT_PERMITTED: Final = "LIVE_NOT_PERMITTED"
LEG_RETRY: Final = timedelta(seconds=5)
"""A stop is wanted as long as shares are held: it leaves as soon as it may."""
MESSAGE: Final = "Not placed: live trading is not permitted now."

Decide = Callable[[LiveSetup, LiveSeen, datetime], "LiveDecision"]
ReadClock = Callable[["Connection"], Awaitable[ClockHealth]]


class LiveGuard:
    """What a process that places at the live brokerage was started with, and how it is judged."""

    def __init__(self, setup: LiveSetup, decide: Decide, read_clock: ReadClock) -> None:
        self._setup = setup
        self._decide = decide
        self._read_clock = read_clock

    async def ask(self, connection: "Connection", now: datetime, *, reduces: bool = False) -> "LiveDecision":
        """Read what may have changed since the start, and decide. ``now``: our wall clock.

        ``reduces``: for an order that can only reduce, which no clock holds up.
        """
        seen = await read_seen(connection, await self._read_clock(connection), reduces=reduces)
        return self._decide(self._setup, seen, now)

    async def permit(self, locked: "LockedOrder", now: datetime) -> "LivePermit":
        """Leave for the one order that the caller is about to send.

        Raises:
            IntentRefused: an entry may not leave, which ends it.
            ApplicationError: type LIVE_NOT_PERMITTED, of a leg, which waits; nothing was sent.
        """
        is_leg = locked.order.leg is not Leg.ENTRY
        decision = await self.ask(locked.connection, now, reduces=is_leg)
        if decision.permit is not None:
            return decision.permit
        if is_leg:
            raise try_again(NOT_PERMITTED, decision.text, LEG_RETRY)
        raise IntentRefused(NOT_PERMITTED, decision.text, user_message=MESSAGE)
