"""Tells people of alerts: what is queued beside the alerts' rows is sent, tried again, and at last given up.

Any number of operations processes may run it: a message is claimed by one for a while. At least once: whoever
dies after the receiver took it and before that is noted has it sent again. That doubles a message in Slack and
nothing at PagerDuty. What is given up raises no alert of its own: it is a row, a metric and a line of status.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from observability.logging import get_logger
from observability.metrics import Metrics
from schemas.alerts import Channel, Delivery, DeliveryState
from storage import deliveries as rows
from storage.alerts import end_silence, over_silences
from storage.database import Database
from workers.alert_channels import TOTAL_SECONDS, AlertChannel, Outcome

LOOK_SECONDS: Final = 1.0
"""Between two looks: with it an alert is with the receiver in less than two seconds."""
COUNT_SECONDS: Final = 5.0
AT_ONCE_MAX: Final = 4
"""Messages on their way to one channel: one that hangs holds up three others at most."""
CLAIM_LEASE: Final = timedelta(seconds=3 * TOTAL_SECONDS)
"""A message that was claimed for so long is one whose sender died."""
FIRST_PAUSE_SECONDS: Final = 1.0
PAUSE_FACTOR: Final = 2.0
PAUSE_MAX_SECONDS: Final = 300.0
TRIES_MAX: Final = 20
"""Doubling from one second to five minutes: for about an hour."""

_log = get_logger(__name__)


class AlertPost:
    """The channels of one process."""

    def __init__(
        self,
        database: Database,
        channels: Sequence[AlertChannel],
        metrics: Metrics,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._channels = channels
        self._metrics = metrics
        self._now = now
        self._opened = False
        self.couriers = tuple(Courier(database, each, metrics, now=now) for each in channels)

    async def keep(self) -> None:
        """Say once which channels are told of what; then end silences that are over, and count what waits."""
        if not self._opened:
            await self._open()
            on = {each.channel for each in self._channels}
            self._metrics.set_channels({channel.value: channel in on for channel in Channel})
        async with self._database.connection() as connection:
            counts = await rows.count_unsent(connection)
            over = await over_silences(connection, self._now())
        for alert_id in over:
            await self._end_silence(alert_id)
        self._metrics.set_alert_deliveries(due=counts[DeliveryState.DUE], dead=counts[DeliveryState.DEAD])

    async def _end_silence(self, alert_id: str) -> None:
        async with self._database.transaction("alerts.silence_over") as connection:
            await end_silence(connection, alert_id, component="AlertPost", now=self._now())

    async def _open(self) -> None:
        wanted = {each.channel: each.severities for each in self._channels}
        async with self._database.transaction("alerts.delivery_channels") as connection:
            await rows.set_channels(connection, wanted, self._now())
        self._opened = True
        if not wanted:
            _log.warning("alerts are told in rows only: no channel is configured (docs/RUNBOOK.md)")
        for channel, severities in wanted.items():
            _log.info(
                "alerts are told", channel=channel.value, severities=[each.value for each in severities]
            )


class Courier:
    """Sends what is queued for one channel."""

    def __init__(
        self, database: Database, channel: AlertChannel, metrics: Metrics, *, now: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._channel = channel
        self._metrics = metrics
        self._now = now
        self._wanted_from: datetime | None = None
        """When the channel wants the next message, after it had too many."""

    async def deliver(self) -> None:
        """Send what is due, the most severe first, until nothing is."""
        while await self._some():
            pass

    async def _some(self) -> bool:
        now = self._now()
        if self._wanted_from is not None and now < self._wanted_from:
            return False
        async with self._database.connection() as connection:
            if not await rows.has_due(connection, self._channel.channel, now):
                return False
        async with self._database.transaction("alerts.delivery_claimed") as connection:
            claimed = await rows.claim(
                connection, self._channel.channel, now=now, until=now + CLAIM_LEASE, limit=AT_ONCE_MAX
            )
        await asyncio.gather(*(self._one(each) for each in claimed))
        return bool(claimed)

    async def _one(self, delivery: Delivery) -> None:
        outcome = await self._channel.send(delivery)
        now = self._now()
        if outcome.too_many:
            self._wanted_from = now + timedelta(seconds=max(outcome.wait_seconds, FIRST_PAUSE_SECONDS))
        again_at = _next_try(delivery, outcome, now)
        async with self._database.transaction("alerts.delivery_settled") as connection:
            if outcome.taken:
                await rows.mark_sent(connection, delivery, outcome.told, now)
                state: DeliveryState | None = DeliveryState.SENT
            else:
                state = await rows.mark_failed(connection, delivery, outcome.told, next_try_at=again_at)
        self._tell(delivery, outcome, state, again_at)

    def _tell(
        self, delivery: Delivery, outcome: Outcome, state: DeliveryState | None, again_at: datetime | None
    ) -> None:
        told = {
            "delivery_id": delivery.delivery_id, "channel": delivery.channel.value,
            "alert": delivery.alert_id, "change": delivery.change.value, "tries": delivery.tries,
        }  # fmt: skip
        if state is DeliveryState.SENT:
            seconds = (self._now() - delivery.changed_at).total_seconds()
            _log.info("alert told", seconds=round(seconds, 3), **told)
        elif state is DeliveryState.DUE:
            _log.warning("alert not told yet", reason=outcome.told, again_at=again_at, **told)
        elif state is DeliveryState.DEAD:
            _log.error(
                "alert not told: given up, see `trading alerts --deliveries`", reason=outcome.told, **told
            )
        if state is not None:
            self._metrics.alert_told(
                delivery.channel.value, "again" if state is DeliveryState.DUE else state.value
            )


def _next_try(delivery: Delivery, outcome: Outcome, now: datetime) -> datetime | None:
    """None: there is none any more."""
    if not outcome.again or delivery.tries >= TRIES_MAX:
        return None
    pause = min(FIRST_PAUSE_SECONDS * PAUSE_FACTOR ** (delivery.tries - 1), PAUSE_MAX_SECONDS)
    return now + timedelta(seconds=max(pause, outcome.wait_seconds))
