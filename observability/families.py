"""The name, labels, buckets and HELP text of every metric: what a dashboard or an alert rule relies on."""

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

from observability.states import States

LATENCY_BUCKETS_MS: Final = (
    5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 150.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 15_000.0, 60_000.0,
)  # fmt: skip
"""From an exchange on the same machine up to the POST's total deadline and beyond."""

QUOTE_AGE_BUCKETS_SECONDS: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 300.0)
"""15 s is the limit of the staleness check."""


class Families(States):
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
        self._make_all_states()

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
        self.events_numbered = self._counter(
            "events_numbered", "Events numbered by this process' relay, by topic.", ["topic"]
        )
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

    def _counter(self, name: str, text: str, labels: Iterable[str]) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, label: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, [label], buckets=buckets, registry=self.registry)
