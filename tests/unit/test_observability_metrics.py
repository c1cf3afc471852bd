"""The names and the meaning of what /metrics says."""

import threading
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from observability.metrics import (
    RATE_WINDOW_SECONDS,
    CallOutcome,
    Metrics,
    SignalOutcome,
    call_outcome,
)

THREAD_SECONDS = 30.0
"""A thread is gone by then, or it stays."""


class Clock:
    """A monotonic clock moved by hand."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


def samples(metrics: Metrics) -> dict[str, float]:
    """Every sample under ``name{label=value,…}``, read by Prometheus' own parser."""
    found = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_the_three_specified_metrics_exist_from_the_start_under_exactly_their_names() -> None:
    families = {family.name: family for family in text_string_to_metric_families(Metrics().render().decode())}
    assert families["order_submission_latency_ms"].type == "histogram"
    assert families["broker_api_error_rate"].type == "gauge"
    assert families["signal_rejection_percentage"].type == "gauge"
    assert families["broker_api_error_rate"].samples[0].value == 0
    assert families["signal_rejection_percentage"].samples[0].value == 0


def test_submission_latency_falls_into_millisecond_buckets() -> None:
    metrics = Metrics()
    for latency_ms in (4, 60, 60, 70_000, -1):
        metrics.order_submitted(latency_ms)
    found = samples(metrics)
    assert found["order_submission_latency_ms_bucket{le=5.0}"] == 2
    assert found["order_submission_latency_ms_bucket{le=75.0}"] == 4
    assert found["order_submission_latency_ms_bucket{le=60000.0}"] == 4
    assert found["order_submission_latency_ms_count"] == 5
    assert found["order_submission_latency_ms_sum"] == 70_124


def test_error_rate_counts_failures_of_the_api_not_refusals() -> None:
    metrics = Metrics()
    for outcome in CallOutcome:
        metrics.broker_call("place_order", outcome, 10)
    found = samples(metrics)
    assert found["broker_api_error_rate"] == pytest.approx(4 / 6)
    assert found["broker_api_calls_total{operation=place_order,outcome=refused}"] == 1
    assert found["broker_api_latency_ms_count{operation=place_order}"] == 6


def test_rejection_percentage_and_reasons() -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.signal_decided(SignalOutcome.APPROVED)
    metrics.signal_decided(SignalOutcome.REJECTED, reason="PRICE_COLLAR")
    found = samples(metrics)
    assert found["signal_rejection_percentage"] == 25
    assert found["signals_total{outcome=approved}"] == 3
    assert found["signals_total{outcome=rejected}"] == 1
    assert found["signal_rejections_total{reason=PRICE_COLLAR}"] == 1


def test_rates_forget_what_left_the_window_and_counters_do_not() -> None:
    clock = Clock()
    metrics = Metrics(monotonic=clock)
    metrics.broker_call("get_account", CallOutcome.SERVER_ERROR, 10)
    clock.seconds += RATE_WINDOW_SECONDS / 2
    metrics.broker_call("get_account", CallOutcome.OK, 10)
    assert samples(metrics)["broker_api_error_rate"] == 0.5
    clock.seconds += RATE_WINDOW_SECONDS / 2
    assert samples(metrics)["broker_api_error_rate"] == 0
    metrics.broker_call("get_account", CallOutcome.NO_ANSWER, 10)
    assert samples(metrics)["broker_api_error_rate"] == 0.5
    clock.seconds += 10 * RATE_WINDOW_SECONDS
    found = samples(metrics)
    assert found["broker_api_error_rate"] == 0
    assert found["broker_api_calls_total{operation=get_account,outcome=server_error}"] == 1


@pytest.mark.parametrize(
    ("code", "http_status", "outcome"),
    [
        (None, None, CallOutcome.OK),
        (None, 200, CallOutcome.OK),
        ("ERR_RATE_LIMIT", 429, CallOutcome.RATE_LIMITED),
        ("ERR_UNAUTHORIZED", 401, CallOutcome.UNAUTHORIZED),
        ("ERR_NETWORK", None, CallOutcome.NO_ANSWER),
        ("ERR_NETWORK", 503, CallOutcome.SERVER_ERROR),
        ("ERR_UNKNOWN_OUTCOME", 504, CallOutcome.SERVER_ERROR),
        ("ERR_UNKNOWN_OUTCOME", None, CallOutcome.NO_ANSWER),
        ("ERR_INSUFFICIENT_FUNDS", 403, CallOutcome.REFUSED),
        ("ERR_NOT_FOUND", 404, CallOutcome.REFUSED),
        ("ERR_OF_TOMORROW", 418, CallOutcome.REFUSED),
    ],
)
def test_every_error_code_has_an_outcome(
    code: str | None, http_status: int | None, outcome: CallOutcome
) -> None:
    assert call_outcome(code, http_status=http_status) is outcome


def test_state_is_absent_until_it_was_read() -> None:
    metrics = Metrics()
    before = samples(metrics)
    assert not {
        "open_orders", "unknown_outcomes", "kill_switch_engaged", "outbox_events_waiting", "outbox_lag_seconds",
    } & before.keys()  # fmt: skip
    metrics.set_outbox_lag(events=3, seconds=1.5)
    lag = samples(metrics)
    assert (lag["outbox_events_waiting"], lag["outbox_lag_seconds"]) == (3, 1.5)
    for engaged in (True, False):
        metrics.set_kill_switch(engaged=engaged)
        metrics.set_open_orders(7)
        metrics.set_unknown_outcomes(1)
        after = samples(metrics)
        assert (after["kill_switch_engaged"], after["open_orders"], after["unknown_outcomes"]) == (
            engaged,
            7,
            1,
        )


def test_market_data_and_posts() -> None:
    metrics = Metrics()
    metrics.quote_checked("primary", 14.9)
    metrics.market_data_received("secondary", 501)
    metrics.order_post(CallOutcome.NO_ANSWER)
    found = samples(metrics)
    assert found["quote_age_seconds_bucket{le=15.0,provider=primary}"] == 1
    assert found["market_data_latency_ms_bucket{le=500.0,provider=secondary}"] == 0
    assert found["order_posts_total{outcome=no_answer}"] == 1


def test_two_processes_worth_of_metrics_do_not_meet() -> None:
    first, second = Metrics(), Metrics()
    first.signal_decided(SignalOutcome.REJECTED, reason="SPREAD_TOO_WIDE")
    assert samples(second)["signals_total{outcome=rejected}"] == 0


def test_many_threads_lose_no_count() -> None:
    metrics = Metrics()

    def work() -> None:
        for _ in range(500):
            metrics.broker_call("get_account", CallOutcome.OK, 1)
            metrics.broker_call("get_account", CallOutcome.NO_ANSWER, 1)
            metrics.set_open_orders(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = samples(metrics)
    assert found["broker_api_calls_total{operation=get_account,outcome=ok}"] == 4_000
    assert found["broker_api_error_rate"] == 0.5


def test_no_label_can_grow_with_the_orders() -> None:
    """Labels hold operations, outcomes, providers and check names: sets that the code bounds."""
    metrics = Metrics()
    metrics.broker_call("place_order", CallOutcome.OK, 1)
    metrics.signal_decided(SignalOutcome.REJECTED, reason="SPREAD_TOO_WIDE")
    metrics.quote_checked("primary", 1)
    metrics.market_data_received("primary", 1)
    labels = {
        label
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        for label in sample.labels
    }
    assert labels == {"le", "operation", "outcome", "provider", "reason"}


def test_a_worker_serves_its_metrics_on_loopback_and_stops() -> None:
    metrics = Metrics()
    metrics.set_open_orders(3)
    threads_before = set(threading.enumerate())
    with metrics.served() as port:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert "open_orders 3.0" in answer.read().decode()
        with pytest.raises(OSError, match="already in use"), metrics.served(port):
            pass
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics")
    # The thread that answered ends by itself, soon after its answer was read.
    for thread in set(threading.enumerate()) - threads_before:
        thread.join(THREAD_SECONDS)
    assert set(threading.enumerate()) <= threads_before
