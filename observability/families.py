"""The name, labels, buckets and HELP text of every metric: what a dashboard or an alert rule relies on."""

import threading
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

LATENCY_BUCKETS_MS: Final = (
    5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 150.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 15_000.0, 60_000.0,
)  # fmt: skip
"""From an exchange on the same machine up to the POST's total deadline and beyond."""

QUOTE_AGE_BUCKETS_SECONDS: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 300.0)
"""15 s is the limit of the staleness check."""


class Families:
    """One registry with every metric in it. ``observability.metrics.Metrics`` is the way to change them."""

    def __init__(
        self, *, error_share: Callable[[], float], rejected_share: Callable[[], float], window_minutes: int
    ) -> None:
        # Creation times of every series would double the page; restarts show in the counters.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.submission_latency = Histogram(
            "order_submission_latency_ms",
            "Milliseconds from the signal's acceptance at the gateway to the broker's answer to its order.",
            buckets=LATENCY_BUCKETS_MS,
            registry=self.registry,
        )
        self._gauge(
            "broker_api_error_rate",
            f"Share (0 to 1) of this process' broker calls of the last {window_minutes} minutes that failed: "
            "429, 401, 5xx or no answer. A refused order is an answer. 0 while there was no call.",
        ).set_function(error_share)
        self._gauge(
            "signal_rejection_percentage",
            f"Per cent (0 to 100) of this process' risk decisions of the last {window_minutes} minutes "
            "that were rejections. 0 while none was decided. Refusals right before the broker are not in it.",
        ).set_function(lambda: 100 * rejected_share())
        self._make_counters()
        self._make_histograms()
        self._make_states()
        self._make_ages()
        self._make_audit_states()
        self._make_redis()

    def _make_states(self) -> None:
        self.open_orders = State(self.registry, "open_orders", "Orders that may still execute.")
        self.unknown_outcomes = State(
            self.registry, "unknown_outcomes", "Orders of which nobody knows yet whether they landed."
        )
        self.kill_switch = State(
            self.registry, "kill_switch_engaged", "1 while the kill switch blocks new orders, else 0."
        )
        self.losses = self._labelled(
            "equity_loss_pct",
            "What equity lies below the session's start and below its peak, in % of that, by the kill reason that "
            "exceeding the limit has; negative for a gain.",
            "kind",
        )
        self.strategies_disabled = State(
            self.registry,
            "strategies_disabled",
            "Strategies that may open nothing until a named person enables them.",
        )
        self.open_alerts = self._labelled(
            "alerts_open",
            "Alerts that last, by code, as read from the database; 0 once they are over.",
            "code",
        )
        self.deliveries_due = State(
            self.registry, "alert_deliveries_due", "Messages about alerts that wait to be sent."
        )
        self.deliveries_dead = State(
            self.registry,
            "alert_deliveries_dead",
            "Messages about alerts that were given up, until a person has them sent again.",
        )
        self.broker_halt = State(
            self.registry,
            "broker_halt_open",
            "1 while no order leaves because the broker does not answer, else 0.",
        )
        self.clock_offset = State(
            self.registry,
            "clock_offset_seconds",
            "How far the true time is ahead of this machine's clock, by the median of time servers; beyond 2 "
            "either way new orders wait. Absent while nobody is asked.",
        )
        self.clock_halt = State(
            self.registry, "clock_halt_open", "1 while this process stops new orders for its clock, else 0."
        )
        self.secrets_age = State(
            self.registry,
            "secrets_read_age_seconds",
            "Seconds since the store last gave this process the broker's keys; absent where nobody asks again.",
        )
        self.outbox_events = State(
            self.registry, "outbox_events_waiting", "Committed events that the relay has not numbered yet."
        )
        self.outbox_lag = State(
            self.registry,
            "outbox_lag_seconds",
            "Seconds for which some event has always been waiting for its number: the oldest is no older.",
        )
        self._make_reconciliation()

    def _make_redis(self) -> None:
        self.redis_events = State(
            self.registry,
            "redis_events_waiting",
            "Numbered events that were not published to Redis yet; absent where nothing is.",
        )
        self.redis_lag = State(
            self.registry,
            "redis_lag_seconds",
            "Seconds for which some numbered event has always been waiting to be published to Redis.",
        )

    def _make_reconciliation(self) -> None:
        self.drift = State(
            self.registry,
            "state_drift_pct",
            "Drift that the last good reconciliation found, in % of equity; above 5 the kill switch engages.",
        )
        self.reconciliation_age = State(
            self.registry,
            "reconciliation_age_seconds",
            "Seconds since the last good reconciliation; above 900 new orders wait.",
        )

    def _make_audit_states(self) -> None:
        self.audit_lag = State(
            self.registry,
            "audit_sealing_lag_seconds",
            "For how long the oldest audit row has been waiting to be sealed.",
        )
        self.audit_size = State(self.registry, "audit_tree_size", "Audit rows that are sealed.")
        self.audit_checkpoint_age = State(
            self.registry,
            "audit_checkpoint_age_seconds",
            "Seconds since the newest audit checkpoint was written outside the database.",
        )
        self.audit_check_age = State(
            self.registry,
            "audit_check_age_seconds",
            "Seconds since the audit log was last found to be what was sealed; above 900 nobody checks it.",
        )
        self.audit_check_failed = State(
            self.registry, "audit_check_failed", "1 while the last check of the audit log found it changed."
        )

    def _make_ages(self) -> None:
        self.oldest_kept = self._labelled(
            "retention_oldest_seconds",
            "Age of the oldest row that has not gone to cold storage, by kind (audit, events).",
            "kind",
        )

    def _make_counters(self) -> None:
        self.signals = self._counter("signals", "Signals decided, by outcome.", ["outcome"])
        self.rejections = self._counter(
            "signal_rejections", "Signals rejected, by the check that failed.", ["reason"]
        )
        self.broker_calls = self._counter(
            "broker_api_calls", "Broker calls, by operation and outcome.", ["operation", "outcome"]
        )
        self.order_posts = self._counter(
            "order_posts",
            "Order requests written to the broker, by outcome; more than orders if one was repeated.",
            ["outcome"],
        )
        self.budget_tokens = self._counter(
            "broker_budget_tokens",
            "Requests that asked our own budget for leave, by share and outcome (granted, none_left).",
            ["share", "outcome"],
        )
        self.alert_tries = self._counter(
            "alert_delivery_tries",
            "Tries to tell of an alert, by channel and outcome (sent, again, dead).",
            ["channel", "outcome"],
        )
        self.audit_sealed = self._counter(
            "audit_sealed_rows", "Audit rows sealed by this process' sealer.", []
        )
        self.key_rotations = self._counter(
            "broker_key_rotations", "New broker keys of the store, by outcome (taken, refused).", ["outcome"]
        )
        self.events_numbered = self._counter("events_numbered", "Events numbered by this process' relay.", [])
        self.events_published = self._counter(
            "redis_events_published", "Events that this process' relay has published to Redis.", []
        )

    def _make_histograms(self) -> None:
        self.broker_latency = self._histogram(
            "broker_api_latency_ms", "Milliseconds a broker call took.", "operation", LATENCY_BUCKETS_MS
        )
        self.quote_age = self._histogram(
            "quote_age_seconds",
            "Age of the quote a check was made on.",
            "provider",
            QUOTE_AGE_BUCKETS_SECONDS,
        )
        self.market_data_latency = self._histogram(
            "market_data_latency_ms",
            "Milliseconds from a quote's exchange time to its arrival.",
            "provider",
            LATENCY_BUCKETS_MS,
        )

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self.registry)

    def _labelled(self, name: str, text: str, label: str) -> Gauge:
        return Gauge(name, text, [label], registry=self.registry)

    def _counter(self, name: str, text: str, labels: Iterable[str]) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, label: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, [label], buckets=buckets, registry=self.registry)


class State:
    """A gauge that is absent until its first reading: a process that never looked must not claim 0."""

    def __init__(self, registry: CollectorRegistry, name: str, text: str) -> None:
        self._gauge = Gauge(name, text, registry=None)
        self._registry = registry
        self._lock = threading.Lock()
        self._known = False

    def set(self, value: float) -> None:
        """Store a reading."""
        self._gauge.set(value)
        with self._lock:
            if not self._known:
                self._registry.register(self._gauge)
                self._known = True
