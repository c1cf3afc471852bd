"""What must go on beside the workflows: restarts, repeated signals, catch-up, rows that risk reads.

Each job is a loop of its own; one that fails is logged and tried again, and takes no other with it.
"""

import asyncio
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from activities.catch_up import clock_row
from activities.drift_kill import carry_out_kill
from activities.row_alerts import RowAlerts
from activities.starter import OrderStarter
from market.clock import ClockReading
from market.feed import RECONNECT_SECONDS
from risk.readiness import can_be_mended, waits_for
from schemas.mode import Mode
from schemas.wire import Queue
from storage import market as market_rows
from storage import reconciliation as reconciliation_rows
from storage import switches as switch_rows
from storage import watch as watch_rows
from workers.alert_channels import configured
from workers.alert_post import COUNT_SECONDS, LOOK_SECONDS, AlertPost
from workers.audit_check import AGE_SECONDS, CHECK_SECONDS, audit_check
from workers.build_watch import BUILDS_SECONDS, BuildWatch
from workers.clients import retention_of, utc_now
from workers.cover_watch import COVER_SECONDS, CoverWatch
from workers.equity_watch import EquityWatch
from workers.gauges import POLLERS_SECONDS, READ_SECONDS, PollerGauges, RowGauges, queues_of
from workers.live_watch import GRANT_SECONDS, LiveGrantWatch
from workers.loops import for_ever
from workers.parts import OperationsParts
from workers.relay import Relay
from workers.retention_watch import WATCH_SECONDS, RetentionWatch
from workers.singletons import ensure_singletons, start_reconciliation
from workers.stream_watch import StreamWatch
from workers.sweeper import SWEEP_SECONDS, Sweeper
from workers.worries import DOUBTS_SECONDS, WORRY_SECONDS, Worries

if TYPE_CHECKING:
    from events.redis_feed import RedisFeed

RESEND_SECONDS: Final = 5.0
RESEND_GRACE: Final = timedelta(seconds=5)
RESEND_MAX: Final = 1000
TICK_SECONDS: Final = 1.0
FLUSH_SECONDS: Final = 2.0
"""Below the grace, so that what another process has signalled is not signalled again."""
RECONCILE_PAUSE: Final = timedelta(seconds=10)
"""After a reconciliation that came to nothing, while orders wait for one."""
STREAM_WATCH_SECONDS: Final = 2.0
FILLS_WATCH_SECONDS: Final = 10.0
WATCH_SIGNALS_FOR: Final = timedelta(minutes=10)


def _redis_feed(parts: OperationsParts) -> "RedisFeed | None":
    if (address := parts.settings.event_redis) is None:
        return None
    from events.redis_feed import RedisFeed  # Only who publishes there pays for Redis's client.

    return RedisFeed(parts.settings.dsn, address, parts.metrics)


class Housekeeping:
    """The loops of the operations role."""

    def __init__(self, parts: OperationsParts, starter: OrderStarter, *, operations_queue: Queue) -> None:
        self._parts = parts
        self._operations_queue = operations_queue
        self._sweeper = Sweeper(parts.database, parts.client, starter, parts.notifier)
        self._stream = StreamWatch(parts.database, parts.catch_up, parts.metrics)
        self._relay = Relay(parts.settings.dsn, parts.metrics)
        self._feed = _redis_feed(parts)
        self._worries = Worries(parts.database)
        self._cover = CoverWatch(parts.database, parts.notifier)
        self._equity = EquityWatch(parts, operations_queue=operations_queue)
        self._row_alerts = RowAlerts(parts.database, now=utc_now)
        self._post = AlertPost(
            parts.database, configured(parts.settings, parts.installation), parts.metrics, now=utc_now
        )
        self._audit_check = audit_check(parts)
        self._retention = RetentionWatch(
            parts.database, parts.metrics, retention_of(parts.settings), now=utc_now
        )
        self._gauges = RowGauges(parts.database, parts.metrics)
        self._pollers = PollerGauges(parts.client, parts.metrics, queues_of(operations_queue))
        # In one process there is one build, and no other that could take over.
        isolated = operations_queue is Queue.OPERATIONS
        watch = BuildWatch(parts.database, parts.client, starter, parts.hours)
        self._builds = watch if isolated else None
        self._clock_stored: ClockReading | None = None
        live = parts.installation.mode == Mode.LIVE
        self._grants = LiveGrantWatch(parts.database, now=utc_now) if live else None

    async def run(self) -> None:
        """Run every loop until cancelled."""
        async with asyncio.TaskGroup() as loops:
            for feed in self._parts.feeds:
                loops.create_task(
                    for_ever(feed.run, RECONNECT_SECONDS), name=f"quote feed {feed.provider.value}"
                )
            for job, seconds in (
                (self.number_events, TICK_SECONDS),
                (self._audit_check.check, CHECK_SECONDS),
                (self._audit_check.tell_age, AGE_SECONDS),
                (self._retention.watch_retention, WATCH_SECONDS),
                *(((self.publish_events, TICK_SECONDS),) if self._feed is not None else ()),
                *(((self._builds.watch_builds, BUILDS_SECONDS),) if self._builds is not None else ()),
                *(((self._grants.watch_live_grant, GRANT_SECONDS),) if self._grants is not None else ()),
                (self._sweeper.sweep, SWEEP_SECONDS),
                (self._sweeper.sweep_protections, SWEEP_SECONDS),
                (self._parts.notifier.flush, FLUSH_SECONDS),
                (self.resend, RESEND_SECONDS),
                (self._stream.catch_up, TICK_SECONDS),
                (self._stream.watch_stream, STREAM_WATCH_SECONDS),
                (self._stream.watch_fills, FILLS_WATCH_SECONDS),
                (self.keep_market_rows, TICK_SECONDS),
                (self.keep_market_clock, TICK_SECONDS),
                (self.keep_singletons, SWEEP_SECONDS),
                (self._worries.tell_of_unknowns, WORRY_SECONDS),
                (self._worries.cover_funds, WORRY_SECONDS),
                (self._cover.watch_cover, COVER_SECONDS),
                (self._equity.watch_equity, TICK_SECONDS),
                (self._equity.carry_out_kills, TICK_SECONDS),
                (self._parts.catch_up.pursue_doubts, DOUBTS_SECONDS),
                (self.reconcile_when_due, TICK_SECONDS),
                (self._row_alerts.keep_drift, TICK_SECONDS),
                (self._stream.answer_wakes, TICK_SECONDS),
                (self._post.keep, COUNT_SECONDS),
                (self._gauges.read_gauges, READ_SECONDS),
                (self._pollers.count_pollers, POLLERS_SECONDS),
                *((courier.deliver, LOOK_SECONDS) for courier in self._post.couriers),
            ):
                loops.create_task(for_ever(job, seconds), name=job.__name__)

    async def number_events(self) -> None:
        """Give committed events their positions, or wait to take over from the relay that does."""
        await self._relay.run()

    async def publish_events(self) -> None:
        """Bring numbered events to Redis, or wait to take over."""
        assert self._feed is not None, "started only where events go to Redis"
        await self._feed.run()

    async def keep_singletons(self) -> None:
        """Kill switch and update stream run again after a Terminate or a failure."""
        await ensure_singletons(self._parts.client, operations_queue=self._operations_queue)

    async def resend(self) -> None:
        """Signal again what a workflow may not have heard."""
        async with self._parts.database.connection() as connection:
            changed = await watch_rows.unsignalled(
                connection, changed_before=utc_now() - RESEND_GRACE, limit=RESEND_MAX
            )
        for order in changed:
            await self._parts.notifier.notify(order)

    async def keep_market_clock(self) -> None:
        """Store each new reading of the broker's clock: a process without broker keys tells market time by it."""
        reading = self._parts.clock.reading()
        if reading is not self._clock_stored:
            async with self._parts.database.transaction("market.clock") as connection:
                await market_rows.save_clock_reading(connection, clock_row(reading, self._parts.clock.speed))
            self._clock_stored = reading

    async def reconcile_when_due(self) -> None:
        """At start-up, after a gap in the update stream, and whenever else placing waits for it."""
        now = utc_now()
        async with self._parts.database.connection() as connection:
            books = await reconciliation_rows.read_readiness(connection)
            kills = await reconciliation_rows.kills_due(connection)
            last = await reconciliation_rows.list_runs(connection, 1)
        for run_id in kills:
            await self._parts.database.run(
                "reconciliation.kill_due", partial(carry_out_kill, run_id=run_id, now=now)
            )
        if books.finished_at is not None:
            self._parts.metrics.set_reconciliation_age((now - books.finished_at).total_seconds())
        in_vain = bool(last) and not last[0].outcome.is_good and now - last[0].finished_at < RECONCILE_PAUSE
        if can_be_mended(books, now) and not in_vain:
            await start_reconciliation(
                self._parts.client,
                operations_queue=self._operations_queue,
                trigger=f"due: {waits_for(books, now)}",
            )

    async def keep_market_rows(self) -> None:
        """Store each watched ticker's newest quote, at most once a second, and the gauges."""
        parts = self._parts
        async with parts.database.connection() as connection:
            watched = await market_rows.watched_tickers(
                connection, signals_since=utc_now() - WATCH_SIGNALS_FOR
            )
            open_orders = await watch_rows.count_unsettled(connection)
            state = await switch_rows.read_state(connection)
            unknown = await switch_rows.unknown_orders(connection)
        quotes = [quote for feed in parts.feeds for quote in feed.take_changed()]
        if quotes:
            async with parts.database.transaction("market.quotes") as connection:
                await market_rows.save_quotes(connection, quotes)
            # The clock's row is what risk tells market time by.
            await parts.clock.ensure_not_behind(max(quote.quoted_at for quote in quotes))
        for feed in parts.feeds:
            feed.watch(watched)
        parts.metrics.set_open_orders(open_orders)
        parts.metrics.set_kill_switch(engaged=state.engaged)
        parts.metrics.set_unknown_outcomes(len(unknown))
