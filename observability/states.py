"""The gauges: what was last read of rows, of the broker, of this machine. One is absent until its first reading."""

import threading
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge


class State:
    """A gauge that is absent until its first reading: a process that never looked must not claim 0."""

    def __init__(self, registry: CollectorRegistry, name: str, text: str) -> None:
        self.gauge = Gauge(name, text, registry=None)
        self._registry = registry
        self._lock = threading.Lock()
        self._known = False

    def set(self, value: float) -> None:
        """Store a reading."""
        self.gauge.set(value)
        self._show()

    def follow(self, reading: Callable[[], float]) -> None:
        """Take the reading anew whenever the page is."""
        self.gauge.set_function(reading)
        self._show()

    def _show(self) -> None:
        with self._lock:
            if not self._known:
                self._registry.register(self.gauge)
                self._known = True


class States:
    """Every gauge, in one registry. ``observability.readings.Readings`` is the way to change them."""

    registry: CollectorRegistry

    def _make_all_states(self) -> None:
        self._make_states()
        self._make_alerts()
        self._make_events()
        self._make_reconciliation()
        self._make_book()
        self._make_process()
        self._make_audit_states()

    def _make_states(self) -> None:
        self.open_orders = self._state("open_orders", "Orders that may still execute.")
        self.unknown_outcomes = self._state(
            "unknown_outcomes", "Orders of which nobody knows yet whether they landed."
        )
        self.kill_switch = self._state(
            "kill_switch_engaged", "1 while the kill switch blocks new orders, else 0."
        )
        self.losses = self._labelled(
            "equity_loss_pct",
            "What equity lies below the session's start and below its peak, in % of that, by the kill reason that "
            "exceeding the limit has; negative for a gain.",
            "kind",
        )
        self.strategies_disabled = self._state(
            "strategies_disabled", "Strategies that may open nothing until a named person enables them."
        )
        self.broker_halt = self._state(
            "broker_halt_open", "1 while no order leaves because the broker does not answer, else 0."
        )
        self.stream_mute = self._state(
            "update_stream_mute_seconds",
            "Seconds since somebody was last seen to hold the broker's update stream; above 60 new orders wait.",
        )

    def _make_alerts(self) -> None:
        self.open_alerts = self._labelled(
            "alerts_open",
            "Alerts that last, by code, as read from the database; 0 once they are over.",
            "code",
        )
        self.deliveries_due = self._state(
            "alert_deliveries_due", "Messages about alerts that wait to be sent."
        )
        self.deliveries_dead = self._state(
            "alert_deliveries_dead",
            "Messages about alerts that were given up, until a person has them sent again.",
        )
        self.channel_on = self._labelled(
            "alert_channel_on",
            "1 where this process itself tells of alerts by that channel, 0 where its secret is not set.",
            "channel",
        )

    def _make_events(self) -> None:
        self.outbox_events = self._state(
            "outbox_events_waiting", "Committed events that the relay has not numbered yet."
        )
        self.outbox_lag = self._state(
            "outbox_lag_seconds",
            "Seconds for which some event has always been waiting for its number: the oldest is no older.",
        )
        self.redis_events = self._state(
            "redis_events_waiting",
            "Numbered events that were not published to Redis yet; absent where nothing is.",
        )
        self.redis_lag = self._state(
            "redis_lag_seconds",
            "Seconds for which some numbered event has always been waiting to be published to Redis.",
        )

    def _make_reconciliation(self) -> None:
        self.drift = self._state(
            "state_drift_pct",
            "Drift that the last good reconciliation found, in % of equity; above 5 the kill switch engages.",
        )
        self.reconciliation_age = self._state(
            "reconciliation_age_seconds",
            "Seconds since the last good reconciliation; above 900 new orders wait.",
        )
        self.schedule_lag = self._state(
            "reconciliation_schedule_lag_seconds",
            "Seconds by which the run that Temporal's Schedule should have made of the reconciliation is late; 0 "
            "while it is in time.",
        )

    def _make_book(self) -> None:
        self.reservations = self._state(
            "reservations_open", "Approved orders that hold room in the limits: not filled, ended or lapsed."
        )
        self.reserved_usd = self._state(
            "reservations_usd", "US dollars that they hold, each at its worst price."
        )
        self.equity = self._state("account_equity_usd", "US dollars, of the last account snapshot.")
        self.exposure = self._labelled(
            "exposure_pct",
            "Held positions at their last quote in % of equity: gross, net, and the largest single ticker's and "
            "strategy's, gross.",
            "scope",
        )
        self.funds_streak = self._state(
            "insufficient_funds_streak",
            "Orders that the broker has refused as ERR_INSUFFICIENT_FUNDS since it last accepted one, of the last "
            "hour.",
        )

    def _make_process(self) -> None:
        self.build = Gauge(
            "trading_build_info",
            "Always 1. Of this process: its release, its name, and the mode of the account that it is bound to "
            "(unknown where it has no database).",
            ["version", "service", "mode"],
            registry=self.registry,
        )
        self.readings_age = self._state(
            "readings_age_seconds",
            "Seconds since operations last read from the database what other gauges show: they are as old.",
        )
        self.workers = self._labelled(
            "workers_present",
            "Processes that have polled a task queue of ours within its long poll, by queue, as Temporal tells.",
            "queue",
        )
        self.clock_offset = self._state(
            "clock_offset_seconds",
            "Seconds by which the true time is ahead of this machine's clock, by the median of its time servers; "
            "beyond 2 either way new orders wait.",
        )
        self.clock_halt = self._state(
            "clock_halt_open", "1 while this process stops new orders for its clock, else 0."
        )
        self.secrets_age = self._state(
            "secrets_read_age_seconds",
            "Seconds since the store last gave this process the broker's keys; absent where nobody asks again.",
        )

    def _make_audit_states(self) -> None:
        self.audit_lag = self._state(
            "audit_sealing_lag_seconds", "For how long the oldest audit row has been waiting to be sealed."
        )
        self.audit_size = self._state("audit_tree_size", "Audit rows that are sealed.")
        self.audit_checkpoint_age = self._state(
            "audit_checkpoint_age_seconds",
            "Seconds since the newest audit checkpoint was written outside the database.",
        )
        self.audit_check_age = self._state(
            "audit_check_age_seconds",
            "Seconds since the audit log was last found to be what was sealed; above 900 nobody checks it.",
        )
        self.audit_check_failed = self._state(
            "audit_check_failed", "1 while the last check of the audit log found it changed."
        )
        self.oldest_kept = self._labelled(
            "retention_oldest_seconds",
            "Age of the oldest row that has not gone to cold storage, by kind (audit, events).",
            "kind",
        )

    def _state(self, name: str, text: str) -> State:
        return State(self.registry, name, text)

    def _labelled(self, name: str, text: str, label: str) -> Gauge:
        return Gauge(name, text, [label], registry=self.registry)
