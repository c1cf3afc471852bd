"""What goes on beside the update stream in every operations process, whoever holds it: catch-up and its alerts."""

import time
from datetime import datetime, timedelta
from typing import Final

from activities.catch_up import CatchUp
from observability.logging import get_logger
from observability.metrics import Metrics
from schemas.alerts import Alert, AlertCode, Severity
from schemas.base import decimal_text
from storage import reconciliation as reconciliation_rows
from storage import switches as switch_rows
from storage import wake, watch
from storage.alerts import clear_alert, raise_alert
from storage.database import Database
from storage.orders import StoredOrder
from storage.switches import StreamRow
from workers.clients import utc_now

CATCH_UP_SECONDS: Final = 50.0
"""Risk wants an account snapshot of the last 60 s; a signal that finds an older one waits for a fresh one."""
CATCH_UP_WITHOUT_STREAM_SECONDS: Final = 5.0
WAKE_PAUSE: Final = timedelta(seconds=5)
"""Between two catch-ups for pushes: however many come, 12 a minute of the 30 reads that there are."""
TRY_AGAIN_SECONDS: Final = 5.0
"""After a catch-up that failed."""
HOLDER_CATCHES_UP_MAX: Final = timedelta(seconds=5)
"""After a connection its holder catches up at once, so that the others need not."""
ORDERS_LISTED_MAX: Final = timedelta(seconds=360)
"""The reconciliation compares all open orders every 5 minutes; where it does not, the catch-up does."""
STREAM_SEEN_MAX: Final = timedelta(seconds=4)
"""Two pings. A stream not seen for longer counts as not held: an execution is then at most 10 s late."""
STREAM_DOWN_AFTER: Final = timedelta(seconds=60)
ALERT_REPEAT: Final = timedelta(seconds=60)
FILLS_MISSING_AFTER: Final = timedelta(seconds=60)
FILLS_MISSING_MAX: Final = 100
COMPONENT: Final = "BrokerWatcher"
STREAM: Final = "trade-updates"

_log = get_logger(__name__)


class StreamWatch:
    """Reads the stream's row and acts where nobody holds it. Two of them at once do the work of one."""

    def __init__(self, database: Database, catch_up: CatchUp, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics
        self._catch_up = catch_up
        self._began_at = utc_now()
        self._tried_at = float("-inf")
        self._raised_at: dict[str, datetime] = {}

    async def catch_up(self) -> None:
        """Every 50 s; every 5 s while nobody holds the stream; all open orders where nobody else compares them.

        What was missed before a connection of the stream is for a pass that began after it: where its holder has
        made none, it is made here.
        """
        now = utc_now()
        async with self._database.connection() as connection:
            stream = await switch_rows.read_stream(connection)
            books = await reconciliation_rows.read_readiness(connection)
        held = stream.last_seen_at is not None and now - stream.last_seen_at <= STREAM_SEEN_MAX
        pause = CATCH_UP_SECONDS if held else CATCH_UP_WITHOUT_STREAM_SECONDS
        since = stream.connected_at
        if since is not None and now - since < HOLDER_CATCHES_UP_MAX:
            since = None
        done = _latest(stream.last_catch_up_at, since=since)
        if done is not None and timedelta(0) <= now - done < timedelta(seconds=pause):
            return
        if self._catch_up.is_running or time.monotonic() - self._tried_at < TRY_AGAIN_SECONDS:
            return
        self._tried_at = time.monotonic()
        listed = _latest(stream.orders_listed_at, books.read_at, since=since)
        await self._catch_up.run(orders=listed is None or now - listed > ORDERS_LISTED_MAX)

    async def answer_wakes(self) -> None:
        """Catch up for what the broker has pushed: once for all pushes so far, and not again for a while.

        Of all operations processes one does. A pass that fails, or dies, is made again after that while.
        """
        now = utc_now()
        before = now - WAKE_PAUSE
        async with self._database.connection() as connection:
            if not await wake.wake_waits(connection, tried_before=before, now=now):
                return
        async with self._database.transaction("catch_up.wake_claimed") as connection:
            number = await wake.claim_wake(connection, tried_before=before, now=now)
        if number is None:
            return
        await self._catch_up.run(orders=False)
        async with self._database.transaction("catch_up.wake_answered") as connection:
            await wake.answer_wake(connection, number)

    async def watch_stream(self) -> None:
        """Raise UPDATE_STREAM_DOWN when the stream was not held for a minute; clear it when it is again."""
        now = utc_now()
        async with self._database.connection() as connection:
            stream = await switch_rows.read_stream(connection)
        silent = now - max(stream.last_seen_at or self._began_at, self._began_at)
        self._metrics.set_stream_mute(silent.total_seconds())
        if silent > STREAM_DOWN_AFTER:
            await self._raise(_stream_down(stream, silent), now)
        elif stream.last_seen_at is not None and now - stream.last_seen_at <= STREAM_SEEN_MAX:
            self._raised_at.pop(STREAM, None)
            async with self._database.transaction("stream.held") as connection:
                await clear_alert(
                    connection, AlertCode.UPDATE_STREAM_DOWN, STREAM, component=COMPONENT, now=now
                )

    async def watch_fills(self) -> None:
        """Raise FILLS_MISSING for an order whose executions have not added up for a minute; clear what is over."""
        now = utc_now()
        async with self._database.connection() as connection:
            missing = await watch.fills_missing(
                connection, since_before=now - FILLS_MISSING_AFTER, limit=FILLS_MISSING_MAX
            )
            found = await watch.fills_found(connection)
        for order in missing:
            await self._raise(_fills_missing(order), now)
        for subject in found:
            self._raised_at.pop(subject, None)
            async with self._database.transaction("fills.found") as connection:
                await clear_alert(connection, AlertCode.FILLS_MISSING, subject, component=COMPONENT, now=now)

    async def _raise(self, alert: Alert, now: datetime) -> None:
        raised = self._raised_at.get(alert.subject)
        if raised is not None and now - raised < ALERT_REPEAT:
            return
        async with self._database.transaction("stream.alerts") as connection:
            await raise_alert(connection, alert, component=COMPONENT, now=now)
        self._raised_at[alert.subject] = now


def _latest(*times: datetime | None, since: datetime | None) -> datetime | None:
    """The latest of those there are that are not before ``since``."""
    return max((at for at in times if at is not None and (since is None or at >= since)), default=None)


def _stream_down(stream: StreamRow, silent: timedelta) -> Alert:
    since = stream.last_seen_at.isoformat() if stream.last_seen_at else "the start"
    return Alert(
        code=AlertCode.UPDATE_STREAM_DOWN,
        severity=Severity.HIGH,
        subject=STREAM,
        text=(
            f"nobody has held the broker's update stream for {silent.total_seconds():.0f} s (since {since}): "
            "fills are read every 5 s instead, and new orders wait. Is another client connected with these keys? "
            "Does the broker answer? See the logs of `operations`"
        ),
        correlation_id=STREAM,
    )


def _fills_missing(order: StoredOrder) -> Alert:
    return Alert(
        code=AlertCode.FILLS_MISSING,
        severity=Severity.HIGH,
        subject=order.client_order_id or order.signal_id,
        text=(
            f"the broker counts {decimal_text(order.broker_filled_quantity)} of {decimal_text(order.quantity)} "
            f"{order.ticker} filled, executions of {decimal_text(order.filled_quantity)} have come: the order is "
            "not settled until they agree. Compare the broker's list of executions; `trading reconcile` adopts "
            "what is missing"
        ),
        correlation_id=order.signal_id,
    )
