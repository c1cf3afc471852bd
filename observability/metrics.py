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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

from observability.readings import Readings

RATE_WINDOW_SECONDS: Final = 300
"""Width of the window of the two rate gauges."""

RATE_BUCKET_SECONDS: Final = 5
"""The window moves in steps of this size."""

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
LOOPBACK: Final = "127.0.0.1"

SERVER_STOP_SECONDS: Final = 5


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


class Metrics(Readings):
    """All metrics of one process. Every method is cheap, thread-safe and never raises on a number."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """``monotonic`` gives seconds that never run backwards; tests move it by hand."""
        # Activity modules import this one, and workflows import those: the library stays out of both.
        from observability.families import Families

        self._call_window = _Window(monotonic)
        self._signal_window = _Window(monotonic)
        self._alert_codes = set()
        self._monotonic = monotonic
        self._pages: list[Callable[[], bytes]] = []
        self._families = Families(
            error_share=self._call_window.share,
            rejected_share=self._signal_window.share,
            window_minutes=RATE_WINDOW_SECONDS // 60,
        )
        for signal_outcome in SignalOutcome:
            self._families.signals.labels(signal_outcome)
        for post_outcome in CallOutcome:
            self._families.order_posts.labels(post_outcome)

    def order_submitted(self, latency_ms: float) -> None:
        """An order got its first answer from the broker ``latency_ms`` after its signal was accepted."""
        self._families.submission_latency.observe(max(0.0, latency_ms))

    def broker_call(self, operation: str, outcome: CallOutcome, latency_ms: float) -> None:
        """One request to the broker ended. ``operation`` is the port's method name (``get_account``)."""
        self._families.broker_calls.labels(operation, outcome).inc()
        self._families.broker_latency.labels(operation).observe(max(0.0, latency_ms))
        self._call_window.add(hit=outcome.is_error)

    def order_post(self, outcome: CallOutcome) -> None:
        """One POST of an order was written to the broker (count it beside ``broker_call``)."""
        self._families.order_posts.labels(outcome).inc()

    def signal_decided(self, outcome: SignalOutcome, *, reason: str | None = None) -> None:
        """A signal was approved or rejected. ``reason`` is a check's name, never free text."""
        self._families.signals.labels(outcome).inc()
        if outcome is SignalOutcome.REJECTED and reason is not None:
            self._families.rejections.labels(reason).inc()
        self._signal_window.add(hit=outcome is SignalOutcome.REJECTED)

    def alert_told(self, channel: str, outcome: str) -> None:
        """One try to tell a channel of an alert ended: ``sent``, ``again`` or ``dead``."""
        self._families.alert_tries.labels(channel, outcome).inc()

    def keys_rotated(self, outcome: str) -> None:
        """New broker keys were found and tried: ``taken`` or ``refused``."""
        self._families.key_rotations.labels(outcome).inc()

    def token_asked(self, share: str, *, granted: bool) -> None:
        """A request asked our own budget for leave."""
        self._families.budget_tokens.labels(share, "granted" if granted else "none_left").inc()

    def events_published(self, count: int) -> None:
        """Events that this process has published to Redis."""
        self._families.events_published.inc(count)

    def events_numbered(self, topics: Mapping[str, int]) -> None:
        """This process' relay gave positions to so many events of each topic."""
        for topic, count in topics.items():
            self._families.events_numbered.labels(topic).inc(count)

    def audit_sealed(self, count: int) -> None:
        """This process' sealer gave ``count`` audit rows their leaves."""
        self._families.audit_sealed.inc(count)

    def quote_checked(self, provider: str, age_seconds: float) -> None:
        """A check used a quote of this age in market seconds."""
        self._families.quote_age.labels(provider).observe(max(0.0, age_seconds))

    def market_data_received(self, provider: str, latency_ms: float) -> None:
        """A quote arrived ``latency_ms`` after its exchange time."""
        self._families.market_data_latency.labels(provider).observe(max(0.0, latency_ms))

    def add_page(self, page: Callable[[], bytes]) -> None:
        """Have another page in the text format stand below ours: its names must be others. It may block."""
        self._pages.append(page)

    def render(self) -> bytes:
        """Everything in the text format; serve it as ``CONTENT_TYPE``. Blocks for some ms: call it in a thread."""
        from prometheus_client import generate_latest

        return b"".join((generate_latest(self._families.registry), *(page() for page in self._pages)))

    @contextmanager
    def served(self, port: int = 0, *, host: str = LOOPBACK) -> Iterator[int]:
        """Serve ``GET /metrics`` from a thread until the block ends; yields the port (0 chooses a free one).

        For processes without an HTTP server of their own. Port and thread are gone afterwards.

        Raises:
            OSError: the port is taken.
        """
        from prometheus_client import start_http_server

        server, thread = start_http_server(port, addr=host, registry=self._families.registry)
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join(SERVER_STOP_SECONDS)


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
