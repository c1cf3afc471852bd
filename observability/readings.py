"""What a process reads now and then, as gauges: `observability.metrics.Metrics` is one of these."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from observability.families import Families


class Readings:
    """Setters of the gauges. Each is cheap and thread-safe."""

    _families: "Families"
    _alert_codes: set[str]
    _monotonic: Callable[[], float]
    _read_at: float

    def mark_read(self) -> None:
        """The rows behind these gauges could be read just now."""
        self._read_at = self._monotonic()
        self._families.readings_age.follow(lambda: self._monotonic() - self._read_at)

    def set_open_orders(self, count: int) -> None:
        """Orders that are not final, read from the database."""
        self._families.open_orders.set(count)

    def set_unknown_outcomes(self, count: int) -> None:
        """Orders whose POST got no usable answer and that were not found or disproved yet."""
        self._families.unknown_outcomes.set(count)

    def set_kill_switch(self, *, engaged: bool) -> None:
        """The kill switch's row as last read."""
        self._families.kill_switch.set(1 if engaged else 0)

    def set_broker_halt(self, *, is_open: bool) -> None:
        """The broker halt's row as last read."""
        self._families.broker_halt.set(1 if is_open else 0)

    def set_losses(self, percents: Mapping[str, Decimal]) -> None:
        """What equity has lost, in %, by kind."""
        for kind, percent in percents.items():
            self._families.losses.labels(kind).set(float(percent))

    def set_strategies_disabled(self, count: int) -> None:
        """Strategies that are disabled, read from the database."""
        self._families.strategies_disabled.set(count)

    def set_stream_mute(self, seconds: float) -> None:
        """For how long nobody was seen to hold the broker's update stream."""
        self._families.stream_mute.set(max(0.0, seconds))

    def set_open_alerts(self, counts: Mapping[str, int]) -> None:
        """Alerts that last, by code, as last read. A code that is not among them is over."""
        for code in self._alert_codes - counts.keys():
            self._families.open_alerts.labels(code).set(0)
        for code, count in counts.items():
            self._families.open_alerts.labels(code).set(count)
        self._alert_codes |= counts.keys()

    def set_alert_deliveries(self, *, due: int, dead: int) -> None:
        """Messages about alerts that wait, and that were given up, as last read."""
        self._families.deliveries_due.set(due)
        self._families.deliveries_dead.set(dead)

    def set_channels(self, on: Mapping[str, bool]) -> None:
        """Which channels this process tells of alerts by, of all that there are."""
        for channel, is_on in on.items():
            self._families.channel_on.labels(channel).set(float(is_on))

    def set_outbox_lag(self, *, events: int, seconds: float) -> None:
        """Committed events without a position, and for how long there have always been some."""
        self._families.outbox_events.set(events)
        self._families.outbox_lag.set(seconds)

    def set_redis_lag(self, *, events: int, seconds: float) -> None:
        """Numbered events that are not in Redis yet, and for how long there have always been some."""
        self._families.redis_events.set(events)
        self._families.redis_lag.set(seconds)

    def set_drift(self, percent: Decimal) -> None:
        """Drift of the last good reconciliation, in % of equity."""
        self._families.drift.set(float(percent))

    def set_reconciliation_age(self, age_seconds: float) -> None:
        """Since the last good reconciliation."""
        self._families.reconciliation_age.set(max(0.0, age_seconds))

    def set_schedule_lag(self, seconds: float) -> None:
        """By how much the scheduled reconciliation is late."""
        self._families.schedule_lag.set(max(0.0, seconds))

    def set_reservations(self, count: int, dollars: Decimal) -> None:
        """How many approvals hold room in the limits, and how much."""
        self._families.reservations.set(count)
        self._families.reserved_usd.set(float(dollars))

    def set_exposure(self, equity: Decimal, percents: Mapping[str, Decimal]) -> None:
        """Equity in US dollars, and what is held in % of it, by scope."""
        self._families.equity.set(float(equity))
        for scope, percent in percents.items():
            self._families.exposure.labels(scope).set(float(percent))

    def set_funds_streak(self, count: int) -> None:
        """Refusals for want of funds since the last accepted order."""
        self._families.funds_streak.set(count)

    def set_build(self, *, version: str, service: str, mode: str) -> None:
        """What this process is. A later call replaces the former: an account is bound after the start."""
        self._families.build.clear()
        self._families.build.labels(version, service, mode).set(1)

    def set_workers(self, present: Mapping[str, int]) -> None:
        """How many poll each task queue of ours."""
        for queue, count in present.items():
            self._families.workers.labels(queue).set(count)

    def set_clock_offset(self, seconds: float) -> None:
        """How far the true time is ahead of this machine's clock, as its time servers say."""
        self._families.clock_offset.set(seconds)

    def set_clock_halt(self, *, is_open: bool) -> None:
        """Whether this process stops new orders for its clock."""
        self._families.clock_halt.set(1 if is_open else 0)

    def set_secrets_age(self, age_seconds: float) -> None:
        """Since the store last gave us the broker's keys."""
        self._families.secrets_age.set(max(0.0, age_seconds))

    def set_audit_sealing(self, *, lag_seconds: float, tree_size: int) -> None:
        """For how long the oldest audit row waits for its leaf, and how many have one."""
        self._families.audit_lag.set(lag_seconds)
        self._families.audit_size.set(tree_size)

    def set_audit_checkpoint_age(self, age_seconds: float) -> None:
        """Since the newest checkpoint of the audit log was written outside the database."""
        self._families.audit_checkpoint_age.set(max(0.0, age_seconds))

    def set_audit_check(self, *, age_seconds: float, failed: bool) -> None:
        """Since the audit log was last found to be what was sealed, and whether the last check found it changed."""
        self._families.audit_check_age.set(max(0.0, age_seconds))
        self._families.audit_check_failed.set(float(failed))

    def set_oldest_kept(self, kind: str, age_seconds: float) -> None:
        """How old the oldest row is that has not gone to cold storage; 0 while there is none."""
        self._families.oldest_kept.labels(kind).set(max(0.0, age_seconds))
