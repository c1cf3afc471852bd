"""Counters, gauges and histograms of one process, in Prometheus' format.

Each process builds one ``Metrics`` and hands it down; nothing is global, so two in one test do not meet.
The three names of the specification are exported exactly: ``order_submission_latency_ms``,
``broker_api_error_rate``, ``signal_rejection_percentage``. The last two are computed here over the last
``RATE_WINDOW_SECONDS`` so that they can be read without a Prometheus server; alert rules should use the raw
counters beside them (``broker_api_calls_total``, ``signals_total``), which add up over processes.
Nothing is labelled by order, signal or account: a label value lives as long as the process.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, start_http_server

RATE_WINDOW_SECONDS: Final = 300
"""Width of the window of the two rate gauges."""

RATE_BUCKET_SECONDS: Final = 5
"""The window moves in steps of this size."""

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
LOOPBACK: Final = "127.0.0.1"

SERVER_STOP_SECONDS: Final = 5

LATENCY_BUCKETS_MS: Final = (
    5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 150.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 15_000.0, 60_000.0,
)  # fmt: skip
"""From an exchange on the same machine up to the POST's total deadline and beyond."""

QUOTE_AGE_BUCKETS_SECONDS: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 300.0)
"""15 s is the limit of the staleness check."""


class CallOutcome(StrEnum):
    """How a broker call ended, as a label."""

    OK = "ok"
    REFUSED = "refused"
    """A definite no to this request (funds, ticker, wash trade, not found): the API itself works."""
    RATE_LIMITED = "rate_limited"
    UNAUTHORIZED = "unauthorized"
    SERVER_ERROR = "server_error"
    """Any 5xx."""
    NO_ANSWER = "no_answer"
    """Timeout, dropped connection, or an answer nobody can read."""

    @property
    def is_error(self) -> bool:
        """Counts into ``broker_api_error_rate``."""
        return self not in (CallOutcome.OK, CallOutcome.REFUSED)


class SignalOutcome(StrEnum):
    """What was decided about a signal: by risk, by the pre-trade checks or by the kill switch."""

    APPROVED = "approved"
    REJECTED = "rejected"


def call_outcome(code: str | None, *, http_status: int | None = None) -> CallOutcome:
    """The label of a broker error's ``code`` (``ERR_…``). None is success; another code a refusal."""
    if code is None:
        return CallOutcome.OK
    if http_status is not None and http_status >= 500:
        return CallOutcome.SERVER_ERROR
    known = {
        "ERR_RATE_LIMIT": CallOutcome.RATE_LIMITED,
        "ERR_UNAUTHORIZED": CallOutcome.UNAUTHORIZED,
        "ERR_NETWORK": CallOutcome.NO_ANSWER,
        "ERR_UNKNOWN_OUTCOME": CallOutcome.NO_ANSWER,
    }
    return known.get(code, CallOutcome.REFUSED)


class Metrics:
    """All metrics of one process. Every method is cheap, thread-safe and never raises on a number."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """``monotonic`` gives seconds that never run backwards; tests move it by hand."""
        # Creation times of every series would double the page; restarts show in the counters.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._call_window = _Window(monotonic)
        self._signal_window = _Window(monotonic)
        self._make_specified()
        self._make_broker()
        self._make_state()

    def _make_specified(self) -> None:
        self._submission_latency = Histogram(
            "order_submission_latency_ms",
            "Milliseconds from the signal's acceptance at the gateway to the broker's answer to its order.",
            buckets=LATENCY_BUCKETS_MS,
            registry=self._registry,
        )
        minutes = RATE_WINDOW_SECONDS // 60
        Gauge(
            "broker_api_error_rate",
            f"Share (0 to 1) of this process' broker calls of the last {minutes} minutes that failed: "
            "429, 401, 5xx or no answer. A refused order is an answer. 0 while there was no call.",
            registry=self._registry,
        ).set_function(self._call_window.share)
        Gauge(
            "signal_rejection_percentage",
            f"Per cent (0 to 100) of the signals decided in this process in the last {minutes} minutes that "
            "were rejected. 0 while none was decided.",
            registry=self._registry,
        ).set_function(lambda: 100 * self._signal_window.share())
        self._signals = Counter(
            "signals", "Signals decided, by outcome.", ["outcome"], registry=self._registry
        )
        self._rejections = Counter(
            "signal_rejections",
            "Signals rejected, by the check that failed.",
            ["reason"],
            registry=self._registry,
        )
        for outcome in SignalOutcome:
            self._signals.labels(outcome)

    def _make_broker(self) -> None:
        self._broker_calls = Counter(
            "broker_api_calls",
            "Broker calls, by operation and outcome.",
            ["operation", "outcome"],
            registry=self._registry,
        )
        self._order_posts = Counter(
            "order_posts",
            "Order requests written to the broker, by outcome; more than orders if one was repeated.",
            ["outcome"],
            registry=self._registry,
        )
        for outcome in CallOutcome:
            self._order_posts.labels(outcome)
        self._broker_latency = self._histogram(
            "broker_api_latency_ms", "Milliseconds a broker call took.", "operation", LATENCY_BUCKETS_MS
        )

    def _make_state(self) -> None:
        self._open_orders = _State("open_orders", "Orders that may still execute.", self._registry)
        self._unknown_outcomes = _State(
            "unknown_outcomes", "Orders of which nobody knows yet whether they landed.", self._registry
        )
        self._kill_switch = _State(
            "kill_switch_engaged", "1 while the kill switch blocks new orders, else 0.", self._registry
        )
        self._quote_age = self._histogram(
            "quote_age_seconds",
            "Age of the quote a check was made on.",
            "provider",
            QUOTE_AGE_BUCKETS_SECONDS,
        )
        self._market_data_latency = self._histogram(
            "market_data_latency_ms",
            "Milliseconds from a quote's exchange time to its arrival.",
            "provider",
            LATENCY_BUCKETS_MS,
        )

    def _histogram(self, name: str, text: str, label: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, [label], buckets=buckets, registry=self._registry)

    def order_submitted(self, latency_ms: float) -> None:
        """An order got its first answer from the broker ``latency_ms`` after its signal was accepted."""
        self._submission_latency.observe(max(0.0, latency_ms))

    def broker_call(self, operation: str, outcome: CallOutcome, latency_ms: float) -> None:
        """One request to the broker ended. ``operation`` is the port's method name (``get_account``)."""
        self._broker_calls.labels(operation, outcome).inc()
        self._broker_latency.labels(operation).observe(max(0.0, latency_ms))
        self._call_window.add(hit=outcome.is_error)

    def order_post(self, outcome: CallOutcome) -> None:
        """One POST of an order was written to the broker (count it beside ``broker_call``)."""
        self._order_posts.labels(outcome).inc()

    def signal_decided(self, outcome: SignalOutcome, *, reason: str | None = None) -> None:
        """A signal was approved or rejected. ``reason`` is a check's name, never free text."""
        self._signals.labels(outcome).inc()
        if outcome is SignalOutcome.REJECTED and reason is not None:
            self._rejections.labels(reason).inc()
        self._signal_window.add(hit=outcome is SignalOutcome.REJECTED)

    def set_open_orders(self, count: int) -> None:
        """Orders that are not final, read from the database."""
        self._open_orders.set(count)

    def set_unknown_outcomes(self, count: int) -> None:
        """Orders whose POST got no usable answer and that were not found or disproved yet."""
        self._unknown_outcomes.set(count)

    def set_kill_switch(self, *, engaged: bool) -> None:
        """The kill switch's row as last read."""
        self._kill_switch.set(1 if engaged else 0)

    def quote_checked(self, provider: str, age_seconds: float) -> None:
        """A check used a quote of this age in market seconds."""
        self._quote_age.labels(provider).observe(max(0.0, age_seconds))

    def market_data_received(self, provider: str, latency_ms: float) -> None:
        """A quote arrived ``latency_ms`` after its exchange time."""
        self._market_data_latency.labels(provider).observe(max(0.0, latency_ms))

    def render(self) -> bytes:
        """Everything in the text format; serve it as ``CONTENT_TYPE``."""
        return generate_latest(self._registry)

    @contextmanager
    def served(self, port: int = 0, *, host: str = LOOPBACK) -> Iterator[int]:
        """Serve ``GET /metrics`` from a thread until the block ends; yields the port (0 chooses a free one).

        For processes without an HTTP server of their own. Port and thread are gone afterwards.

        Raises:
            OSError: the port is taken.
        """
        server, thread = start_http_server(port, addr=host, registry=self._registry)
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join(SERVER_STOP_SECONDS)


class _State:
    """A gauge that is absent until its first reading: a process that never looked must not claim 0."""

    def __init__(self, name: str, text: str, registry: CollectorRegistry) -> None:
        self._gauge = Gauge(name, text, registry=None)
        self._registry = registry
        self._lock = threading.Lock()
        self._known = False

    def set(self, value: float) -> None:
        self._gauge.set(value)
        with self._lock:
            if not self._known:
                self._registry.register(self._gauge)
                self._known = True


class _Window:
    """Hits and totals of the last ``RATE_WINDOW_SECONDS``, in buckets: memory does not grow with traffic."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._buckets: deque[_Bucket] = deque()

    def add(self, *, hit: bool) -> None:
        with self._lock:
            number = self._forget_old()
            if not self._buckets or self._buckets[-1].number != number:
                self._buckets.append(_Bucket(number))
            self._buckets[-1].total += 1
            self._buckets[-1].hits += hit

    def share(self) -> float:
        with self._lock:
            self._forget_old()
            total = sum(bucket.total for bucket in self._buckets)
            return sum(bucket.hits for bucket in self._buckets) / total if total else 0.0

    def _forget_old(self) -> int:
        number = int(self._monotonic() // RATE_BUCKET_SECONDS)
        while (
            self._buckets and self._buckets[0].number <= number - RATE_WINDOW_SECONDS // RATE_BUCKET_SECONDS
        ):
            self._buckets.popleft()
        return number


class _Bucket:
    __slots__ = ("hits", "number", "total")

    def __init__(self, number: int) -> None:
        self.number = number
        self.total = 0
        self.hits = 0
